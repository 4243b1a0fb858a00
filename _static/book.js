// The theme takes a first visitor's unset choice of colours for an error; the system's are meant.
if (!document.documentElement.dataset.mode) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.mode = "auto";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

// A figure opens large; Escape, or a click anywhere, closes it.
function zoomable(image, dialog) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "lrnb-zoom";
  button.title = "Enlarge";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = image.cloneNode();
    large.style.setProperty("--width", image.naturalWidth);
    large.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    dialog.querySelector("img")?.remove();
    dialog.append(large);
    dialog.showModal();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const dialog = document.createElement("dialog");
  dialog.className = "lrnb-zoomed";
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.innerHTML = '<button type="button" aria-label="Close">×</button>';
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  for (const image of document.querySelectorAll(".bd-article figure > img")) {
    zoomable(image, dialog);
  }

  // Sphinx puts entries in a list that assistive technology does not take for its items.
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem");
  }
});
