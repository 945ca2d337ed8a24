// Apply the theme at once and store it in a cookie for the server. Without scripts the form is submitted.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-preference]");
  if (!form || form.dataset.preference !== "theme") return;
  event.preventDefault();
  const { value } = event.submitter;
  document.documentElement.dataset.theme = value;
  document.cookie = `feedzone_theme=${value}; path=/; max-age=31536000; samesite=lax`;
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.value === value));
  }
});
