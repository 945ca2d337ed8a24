// Everything the pages need in the browser. Without it they read the same, as of when they were opened.
import "./swap.js";
import { localize, tellZone } from "./times.js";
import { follow } from "./live.js";
import "./preferences.js";
import "./dialogs.js";

tellZone();
localize();
follow();
