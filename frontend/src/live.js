// One event stream reports changes; the parts of the page then reload themselves. Hidden pages close the stream,
// because a browser allows six connections per host, and a seventh open tab would get none.
let source = null;

function showConnection(state) {
  const indicator = document.getElementById("connection");
  if (indicator) indicator.dataset.state = state;
}

function notifyChanged() {
  document.body.dispatchEvent(new Event("changed"));
}

function connect(address) {
  if (source || document.hidden) return;
  source = new EventSource(address);
  let version = null;
  source.addEventListener("open", () => showConnection("live"));
  source.addEventListener("changed", (message) => {
    // The first message also counts as a change: the page may have missed changes while disconnected.
    if (version !== message.data) notifyChanged();
    version = message.data;
  });
  source.addEventListener("error", () => {
    showConnection("lost");
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

export function followUpdates() {
  const address = document.body.dataset.live;
  if (!address) return;
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect(address)));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", ({ persisted }) => persisted && connect(address));
  connect(address);
}
