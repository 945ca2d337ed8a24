// All scripts of the pages. Without scripts the pages show the same content, but do not update.
import "./swap.js";
import { sendZone, updateTimes } from "./times.js";
import { followUpdates } from "./live.js";
import "./preferences.js";
import "./dialogs.js";

sendZone();
updateTimes();
followUpdates();
