// htmx requests changed parts of the page; Idiomorph merges them and keeps focus, selection and open menus.
import htmx from "htmx.org";
import { Idiomorph } from "idiomorph";

window.htmx = htmx; // htmx extensions and the tests expect this global

Object.assign(htmx.config, {
  allowEval: false, // the content security policy forbids eval
  includeIndicatorStyles: false, // it forbids inline styles, too
  historyEnabled: false,
  defaultSettleDelay: 0,
  timeout: 20_000,
});

const callbacks = {
  beforeNodeMorphed: (old, fresh) => !isDrawn(old, fresh) && !isEdited(old),
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
};

// Keep an element into which a script has drawn, unless its data changed.
function isDrawn(old, fresh) {
  return Boolean(old.dataset?.kept) && old.dataset.kept === fresh.dataset?.kept;
}

function isEdited(old) {
  return old.localName === "form" && "begun" in old.dataset;
}

// Do not replace a form that the user has started to fill in, until it is submitted.
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

// Show errors, too: an error response contains its own notice.
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
