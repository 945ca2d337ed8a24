// htmx requests the changed part; Idiomorph merges it and preserves focus, selection and open menus.
import htmx from "htmx.org";
import { Idiomorph } from "idiomorph";

window.htmx = htmx; // for its extensions and our tests

Object.assign(htmx.config, {
  allowEval: false, // the content policy forbids it
  includeIndicatorStyles: false, // and inline styles
  historyEnabled: false,
  defaultSettleDelay: 0,
  timeout: 20_000,
});

const callbacks = {
  beforeNodeMorphed: (old, fresh) => !isDrawn(old, fresh) && !isBeingFilled(old),
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
};

// An element with a drawing stays unchanged until there is another version to draw.
function isDrawn(old, fresh) {
  return Boolean(old.dataset?.kept) && old.dataset.kept === fresh.dataset?.kept;
}

function isBeingFilled(old) {
  return old.localName === "form" && "begun" in old.dataset;
}

// A form that is being filled in stays unchanged until it is sent.
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

// An error response carries its own notice.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status >= 400 && detail.xhr.getResponseHeader("hx-retarget")) detail.shouldSwap = true;
});

for (const failure of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => {
    if (detail.requestConfig.verb === "get") return;
    const notices = document.getElementById("notices");
    notices.textContent = "feedzone did not respond. The action may not have run. Try again.";
    notices.dataset.level = "bad";
  });
}
