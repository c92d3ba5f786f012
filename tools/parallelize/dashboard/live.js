// Replaces the view of the run every few seconds, while the page is visible.
"use strict";
const SECONDS = 3;
const place = document.getElementById("live"), note = document.getElementById("note");
let shown = "";

function show(main) {
  const summary = one => one.querySelector("summary").textContent;
  const open = new Set([...place.querySelectorAll("details[open]")].map(summary));
  place.innerHTML = shown = main;
  for (const one of place.querySelectorAll("details")) one.open = open.has(summary(one));
}

async function renew() {
  // A new view would lose the selection that somebody is about to copy.
  if (document.hidden || !getSelection().isCollapsed) return;
  try {
    const picture = await (await fetch("live.json")).json();
    const { what, why, fix } = picture.error ?? {};
    note.textContent = [what, why, fix].filter(Boolean).join(" · ");
    if (!picture.error && picture.main !== shown) show(picture.main);
  } catch {
    note.textContent = "No answer: the dashboard has stopped, or cannot be reached.";
  }
}

(async () => {
  for (;;) {
    await new Promise(resume => setTimeout(resume, 1000 * SECONDS));
    await renew();
  }
})();
document.addEventListener("visibilitychange", renew);
