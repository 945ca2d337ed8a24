// The script of all pages. Without it pages work the same, but do not update while they are open.
import "./swap.js";
import { localize, sendZone } from "./times.js";
import { follow } from "./live.js";
import "./preferences.js";
import "./dialogs.js";

sendZone();
localize();
follow();
