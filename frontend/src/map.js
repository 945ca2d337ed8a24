// The track on a map. By default there are no tiles: a tile server would learn where athletes live.
import { CircleMarker, Control, LatLngBounds, Map, Polyline, TileLayer } from "leaflet";

const PADDING = 24; // the same as .sketch, so that the page does not shift

export function drawMap(box, track) {
  const container = document.createElement("div");
  container.className = "sheetmap";
  container.setAttribute("role", "application");
  container.setAttribute("aria-label", "Map of the track. Arrow keys move it, plus and minus zoom.");
  box.append(container);
  const { tiles, units } = box.dataset;
  const places = track.filter(Boolean);
  const map = new Map(container, {
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
    // Tile servers require a referrer; they get the host of this installation, but no path.
    new TileLayer(tiles, { maxZoom: 18, referrerPolicy: "strict-origin-when-cross-origin" }).addTo(map);
    box.classList.add("tiled");
  }
  const bounds = new LatLngBounds(places);
  map.fitBounds(bounds, { padding: [PADDING, PADDING], maxZoom: 17 });
  new Control.Scale({ metric: units !== "imperial", imperial: units === "imperial" }).addTo(map);
  for (const segment of segments(track)) {
    if (tiles) new Polyline(segment, { className: "track under", interactive: false }).addTo(map);
    new Polyline(segment, { className: "track", interactive: false, smoothFactor: 0.5 }).addTo(map);
  }
  new CircleMarker(places[0], { className: "spot begin", radius: 5, interactive: false }).addTo(map);
  new CircleMarker(places.at(-1), { className: "spot end", radius: 5, interactive: false }).addTo(map);
  const cursor = new CircleMarker(places[0], { className: "spot here", radius: 7, interactive: false });
  const resized = new ResizeObserver(() => map.invalidateSize({ animate: false }));
  resized.observe(container);
  box.classList.add("drawn");

  return {
    // Show the position at this sample; hide the cursor if the position is unknown.
    show(index) {
      const place = index === null ? null : track[index];
      if (!place) cursor.remove();
      else cursor.setLatLng(place).addTo(map);
    },
    clear() {
      resized.disconnect();
      box.classList.remove("drawn", "tiled");
      map.remove();
      container.remove();
    },
  };
}

// The line has a gap where the device recorded no position.
function segments(track) {
  const result = [[]];
  for (const place of track) {
    if (place) result.at(-1).push(place);
    else if (result.at(-1).length) result.push([]);
  }
  return result.filter((segment) => segment.length > 1);
}
