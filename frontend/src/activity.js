// The page of an activity: its curves, and the track they lead along. Both are there without scripts, too, and
// keep still; here they are drawn anew in the same places, and follow a cursor.
import { drawCurves } from "./curves.js";
import { drawMap } from "./map.js";

let drawn = null;

async function draw() {
  document.title = `${document.querySelector("main h1").textContent} · feedzone`;
  const places = ["map", "curves"].map((id) => document.getElementById(id));
  const [map, curves] = places;
  const wanted = (map ?? curves)?.dataset.kept ?? null;
  if (drawn?.version === wanted && places.every((place) => !place || drawn.places.includes(place))) return;
  drawn?.clear();
  drawn = wanted === null ? null : { version: wanted, places, clear() {} };
  if (!drawn) return;
  const mine = drawn;
  const answer = await fetch((map ?? curves).dataset.curves);
  if (!answer.ok || drawn !== mine) return; // what is there without scripts stays
  const plot = await answer.json();
  if (drawn !== mine) return;
  const track = map && plot.track.length > 1 ? drawMap(map, plot.track) : null;
  const plots = curves && plot.curves.length ? drawCurves(curves, plot, (index) => track?.show(index)) : null;
  mine.clear = () => {
    plots?.clear();
    track?.clear();
  };
}

draw();
document.addEventListener("htmx:afterSwap", draw);
