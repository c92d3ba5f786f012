// Asks for the picture of the run while somebody looks at it, and puts it in the place of the last.
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
  // What is selected is about to be copied.
  if (document.hidden || !getSelection().isCollapsed) return;
  try {
    const picture = await (await fetch("live.json")).json();
    const { what, why, fix } = picture.error ?? {};
    note.textContent = [what, why, fix].filter(Boolean).join(" · ");
    if (!picture.error && picture.main !== shown) show(picture.main);
  } catch {
    note.textContent = "No answer: the dashboard has ended, or cannot be reached.";
  }
}

(async () => {
  for (;;) {
    await new Promise(resume => setTimeout(resume, 1000 * SECONDS));
    await renew();
  }
})();
document.addEventListener("visibilitychange", renew);
