"use strict";
// Keeps parts of a page true without a reload. Without it the page reads the same, as of when it was opened.

for (const place of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(place.dataset.live);
  const lost = document.getElementById("connection");
  source.onmessage = (message) => {
    place.innerHTML = message.data;
  };
  source.onopen = () => {
    lost.hidden = true;
  };
  source.onerror = () => {
    lost.hidden = false;
  };
  addEventListener("pagehide", () => source.close());
}

async function follow(place) {
  for (;;) {
    if (place.querySelector("[data-finished]")) return;
    await new Promise((resolve) => setTimeout(resolve, 2000));
    try {
      const answer = await fetch(place.dataset.poll);
      if (answer.status === 404) return;
      if (answer.ok) place.innerHTML = await answer.text();
    } catch {
      // The server restarts, or the network is away: ask again.
    }
  }
}

for (const place of document.querySelectorAll("[data-poll]")) follow(place);
