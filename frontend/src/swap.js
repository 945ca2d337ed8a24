// htmx asks for what changed; Idiomorph puts it in place and leaves alone what stayed: focus, selection, what is open.
import htmx from "htmx.org";
import { Idiomorph } from "idiomorph";

window.htmx = htmx; // its extensions and our tests look for it here

Object.assign(htmx.config, {
  allowEval: false, // the content policy forbids it
  includeIndicatorStyles: false, // and inline styles
  historyEnabled: false,
  defaultSettleDelay: 0,
  timeout: 20_000,
});

const callbacks = {
  beforeNodeMorphed: (old, fresh) => !isDrawn(old, fresh) && !isBegun(old),
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
};

// What a script has drawn into stays as it is, unless there is something else to draw.
function isDrawn(old, fresh) {
  return Boolean(old.dataset?.kept) && old.dataset.kept === fresh.dataset?.kept;
}

function isBegun(old) {
  return old.localName === "form" && "begun" in old.dataset;
}

// What somebody has begun to fill in is theirs until it is sent.
document.addEventListener("input", ({ target }) => {
  if (target.form) target.form.dataset.begun = "";
});

htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap(style, target, fragment) {
    if (style !== "morph") return false;
    return Idiomorph.morph(target, fragment.children, { morphStyle: "outerHTML", callbacks, ignoreActiveValue: true });
  },
});

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const { verb, headers, elt } = detail;
  if (verb !== "get") headers["x-csrftoken"] = document.querySelector('meta[name="csrf"]').content;
  else if (elt.dataset.digest) headers["x-seen"] = elt.dataset.digest;
});

// What went wrong is said, too: an answer with an error carries its own notice.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status >= 400 && detail.xhr.getResponseHeader("hx-retarget")) detail.shouldSwap = true;
});

for (const failure of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => {
    if (detail.requestConfig.verb === "get") return;
    const notices = document.getElementById("notices");
    notices.textContent = "feedzone did not answer. Nothing is known to have changed: try again.";
    notices.dataset.level = "bad";
  });
}
