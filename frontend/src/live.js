// One stream tells that something changed; what is on the page then asks for itself. Hidden pages hang up:
// a browser allows six connections to a host, and seven open tabs would starve the eighth.
let source = null;

function shown(state) {
  const sign = document.getElementById("connection");
  if (sign) sign.dataset.state = state;
}

function changed() {
  document.body.dispatchEvent(new Event("changed"));
}

function listen(address) {
  if (source || document.hidden) return;
  source = new EventSource(address);
  let version = null;
  source.addEventListener("open", () => shown("live"));
  source.addEventListener("changed", (message) => {
    // The first one only tells where we are, unless the page was away meanwhile.
    if (version !== message.data) changed();
    version = message.data;
  });
  source.addEventListener("error", () => {
    shown("lost");
    if (source?.readyState === EventSource.CLOSED) {
      hangUp();
      setTimeout(listen, 5000, address);
    }
  });
}

function hangUp() {
  source?.close();
  source = null;
}

export function follow() {
  const address = document.body.dataset.live;
  if (!address) return;
  document.addEventListener("visibilitychange", () => (document.hidden ? hangUp() : listen(address)));
  addEventListener("pagehide", hangUp);
  addEventListener("pageshow", ({ persisted }) => persisted && listen(address));
  listen(address);
}
