// One stream notifies the page of changes; the page then requests its changing part. Hidden pages disconnect:
// a browser allows six connections to a host, so open tabs would block each other.
let source = null;

function showState(state) {
  const sign = document.getElementById("connection");
  if (sign) sign.dataset.state = state;
}

function changed() {
  document.body.dispatchEvent(new Event("changed"));
}

function connect(address) {
  if (source || document.hidden) return;
  source = new EventSource(address);
  let version = null;
  source.addEventListener("open", () => showState("live"));
  source.addEventListener("changed", (message) => {
    // The first message gives the current version, which the page may have missed while disconnected.
    if (version !== message.data) changed();
    version = message.data;
  });
  source.addEventListener("error", () => {
    showState("lost");
    if (source?.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(connect, 5000, address);
    }
  });
}

function disconnect() {
  source?.close();
  source = null;
}

export function follow() {
  const address = document.body.dataset.live;
  if (!address) return;
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect(address)));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", ({ persisted }) => persisted && connect(address));
  connect(address);
}
