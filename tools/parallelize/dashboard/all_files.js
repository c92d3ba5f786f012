
(async () => {
  const note = document.getElementById("note");
  try {
    const { files, error } = await (await fetch("files.json")).json();
    note.textContent = error ? [error.what, error.why, error.fix].filter(Boolean).join(" · ") : "";
    if (!error) showFiles(document.getElementById("files-table"), files, key => `log?key=${encodeURIComponent(key)}`);
  } catch {
    note.textContent = "No answer: the dashboard has stopped, or cannot be reached.";
  }
})();
