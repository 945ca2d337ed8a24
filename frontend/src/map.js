// The track on a map. There are no tiles by default: their host would learn where athletes live.
import { CircleMarker, Control, LatLngBounds, Map, Polyline, TileLayer } from "leaflet";

const PADDING = 24; // the same as .sketch, so that nothing moves

export function drawMap(box, track) {
  const sheet = document.createElement("div");
  sheet.className = "sheetmap";
  sheet.setAttribute("role", "application");
  sheet.setAttribute("aria-label", "Map of the track. Arrow keys move it, plus and minus zoom.");
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
    // Tile hosts require a referrer; they get the origin of this installation without a path.
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
    // Show the place of a sample; hide the marker if it is unknown.
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

// Split the track at samples without a place.
function stretches(track) {
  const parts = [[]];
  for (const place of track) {
    if (place) parts.at(-1).push(place);
    else if (parts.at(-1).length) parts.push([]);
  }
  return parts.filter((stretch) => stretch.length > 1);
}
