// The server writes times in the reader's time zone; this script keeps texts such as "12 min ago" current.
const STEPS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];

export function duration(seconds) {
  const [unit, size] = STEPS.find(([, size]) => seconds >= size) ?? STEPS[3];
  return `${Math.floor(seconds / size)} ${unit}`;
}

function update() {
  const now = Date.now() + skew;
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = Math.max(0, (now - Date.parse(element.dateTime)) / 1000);
    const text = element.dataset.ago === "left" ? "" : seconds < 5 ? "just now" : `${duration(seconds)} ago`;
    if (text && element.textContent !== text) element.textContent = text;
  }
}

// Correct for a wrong clock of the reader, which would otherwise make correct times look wrong.
const serverNow = Date.parse(document.documentElement.dataset.now ?? "");
const skew = Number.isNaN(serverNow) ? 0 : serverNow - Date.now();

export function updateTimes() {
  update();
  setInterval(update, 5000);
  document.addEventListener("htmx:afterSettle", update);
}

// The server uses this zone from the next response on, so the first page is requested again.
export function sendZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || zone === document.documentElement.dataset.zone) return;
  document.cookie = `feedzone_zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
  document.addEventListener("DOMContentLoaded", () => document.body.dispatchEvent(new Event("changed")));
}
