// Clicks on what the server rendered: actions go to the page as events, rows lead to their page, codes are copied.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) {
    emitEvent("yinqi_action", { action: button.dataset.action, subject: button.dataset.subject });
    return;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    copyText(copy.dataset.copy).then(() => {
      const before = copy.textContent;
      copy.textContent = copy.dataset.copied;
      setTimeout(() => (copy.textContent = before), 1500);
    });
    return;
  }
  if (event.target.closest("a, button, input") || String(window.getSelection())) return;
  const row = event.target.closest("tr[data-href]");
  if (row) window.location.assign(row.dataset.href);
});

async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // plain http on another host has no clipboard API
  field.value = text;
  field.style.position = "fixed";
  field.style.opacity = "0";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
