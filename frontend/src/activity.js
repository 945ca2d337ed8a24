// The activity page: its curves, and its track on a map, with a shared cursor. Without scripts the page shows the track
// as SVG and the range of each channel as text. Boxes have a fixed size, so that nothing moves.
import { drawCurves } from "./curves.js";
import { drawMap } from "./map.js";

let drawn = null;

async function draw() {
  document.title = `${document.querySelector("main h1").textContent} · feedzone`;
  const places = ["map", "curves"].map((id) => document.getElementById(id));
  const [map, curves] = places;
  const version = (map ?? curves)?.dataset.kept ?? null;
  if (drawn?.version === version && places.every((place) => !place || drawn.places.includes(place))) return;
  drawn?.clear();
  drawn = version === null ? null : { version, places, clear() {} };
  if (!drawn) return;
  const current = drawn;
  const response = await fetch((map ?? curves).dataset.curves);
  if (!response.ok || drawn !== current) return; // keep the page as it is without scripts
  const plot = await response.json();
  if (drawn !== current) return;
  const track = map && plot.track.length > 1 ? drawMap(map, plot.track) : null;
  const plots = curves && plot.curves.length ? drawCurves(curves, plot, (index) => track?.show(index)) : null;
  current.clear = () => {
    plots?.clear();
    track?.clear();
  };
}

draw();
document.addEventListener("htmx:afterSwap", draw);
