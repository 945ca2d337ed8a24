// The track on a map. Without tiles it is drawn alone: whoever delivers tiles would learn where people live.
import { CircleMarker, Control, LatLngBounds, Map, Polyline, TileLayer } from "leaflet";

const PADDING = 24; // as .sketch has it, so that nothing moves

export function drawMap(box, track) {
  const sheet = document.createElement("div");
  sheet.className = "sheetmap";
  sheet.setAttribute("role", "application");
  sheet.setAttribute("aria-label", "Map of the track: arrows move it, plus and minus change its size");
  box.append(sheet);
  const { tiles, units } = box.dataset;
  const places = track.filter(Boolean);
  const map = new Map(sheet, {
    attributionControl: false,
    dragging: !matchMedia("(pointer: coarse)").matches, // one finger scrolls the page, two move the map
    maxZoom: 18,
    scrollWheelZoom: false,
    zoomSnap: 0,
    zoomDelta: 1,
    zoomAnimation: false,
    fadeAnimation: false,
  });
  if (tiles) {
    // Hosts of tiles want to know who asks; they learn this installation's name, and no path.
    new TileLayer(tiles, { maxZoom: 18, referrerPolicy: "strict-origin-when-cross-origin" }).addTo(map);
    box.classList.add("tiled");
  }
  const bounds = new LatLngBounds(places);
  map.fitBounds(bounds, { padding: [PADDING, PADDING], maxZoom: 17 });
  new Control.Scale({ metric: units !== "imperial", imperial: units === "imperial" }).addTo(map);
  for (const stretch of stretches(track)) {
    if (tiles) new Polyline(stretch, { className: "track under", interactive: false }).addTo(map);
    new Polyline(stretch, { className: "track", interactive: false, smoothFactor: 0.5 }).addTo(map);
  }
  new CircleMarker(places[0], { className: "spot begin", radius: 5, interactive: false }).addTo(map);
  new CircleMarker(places.at(-1), { className: "spot end", radius: 5, interactive: false }).addTo(map);
  const cursor = new CircleMarker(places[0], { className: "spot here", radius: 7, interactive: false });
  const resized = new ResizeObserver(() => map.invalidateSize({ animate: false }));
  resized.observe(sheet);
  box.classList.add("drawn");

  return {
    // Where it was at this sample; nowhere, when nobody knows.
    show(index) {
      const place = index === null ? null : track[index];
      if (!place) cursor.remove();
      else cursor.setLatLng(place).addTo(map);
    },
    clear() {
      resized.disconnect();
      box.classList.remove("drawn", "tiled");
      map.remove();
      sheet.remove();
    },
  };
}

// Where the device did not know the place, the line has a gap.
function stretches(track) {
  const found = [[]];
  for (const place of track) {
    if (place) found.at(-1).push(place);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((stretch) => stretch.length > 1);
}
