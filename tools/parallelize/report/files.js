// The table of all files: searches, sorts, and draws only the visible rows.
"use strict";

function size(bytes) {
  if (bytes === null) return "";
  if (bytes < 1024) return bytes === 1 ? "1 Byte" : `${bytes} Bytes`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes / 1024, unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(1)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds === null) return "";
  if (seconds < 100) return `${seconds.toFixed(seconds >= 10 ? 0 : seconds >= 1 ? 1 : seconds >= 0.1 ? 2 : 3)} s`;
  const two = number => String(number).padStart(2, "0");
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(whole / 3600);
  if (minutes < 60) return minutes < 10 ? `${minutes}m${two(whole % 60)}s` : `${minutes}m`;
  if (hours < 24) return `${hours}h${two(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}

// `link` returns the address of a file's page from its key; without it, names are plain text.
function showFiles(root, data, link) {
  const find = root.querySelector(".find"), box = root.querySelector(".rows");
  const heads = [...root.querySelectorAll("th")], body = root.querySelector("tbody");
  const field = name => find.querySelector(`[name=${name}]`);
  const all = data.names.map((_, place) => place);
  const MARGIN = 20, PRINTED = 100, LONG = 24, END = 14;
  let lower = null, shown = all, height = 29, sorted = { by: null, down: false };

  const cells = place => [
    ["name", data.names[place]],
    [`state-${data.states[data.state[place]]}`, data.states[data.state[place]]],
    ["n", (data.attempts[place] || "") + (data.back[place] ? ` +${data.back[place]}` : "")],
    ["id", data.workers[data.worker[place]] ?? ""],
    ["n", time(data.seconds[place])],
    ["n", size(data.in[place])],
    ["n", size(data.out[place])],
    ["because", data.reasons[data.reason[place]] ?? ""],
  ];

  // Names in one folder often differ only at the end, so a long name is cut before its last part.
  function name(place) {
    const text = data.names[place], letters = [...text];
    const made = document.createElement(link ? "a" : "span");
    if (link) made.href = link(data.raw[place] ?? text);
    if (letters.length > LONG) {
      made.className = "ends";
      for (const part of [letters.slice(0, -END), letters.slice(-END)])
        made.append(Object.assign(document.createElement("span"), { textContent: part.join("") }));
    } else made.textContent = text;
    return made;
  }

  function row(place) {
    const made = document.createElement("tr");
    for (const [kind, text] of cells(place)) {
      const cell = made.insertCell();
      cell.className = kind;
      cell.textContent = cell.title = text;
    }
    made.cells[0].replaceChildren(name(place));
    return made;
  }

  function space(rows) {
    const made = document.createElement("tr");
    made.className = "space";
    made.insertCell().colSpan = heads.length;
    made.style.height = `${rows * height}px`;
    return made;
  }

  function draw() {
    const first = Math.max(0, Math.floor(box.scrollTop / height) - MARGIN);
    const last = Math.min(shown.length, first + Math.ceil(box.clientHeight / height) + 2 * MARGIN);
    body.replaceChildren(space(first), ...shown.slice(first, last).map(row), space(shown.length - last));
  }

  function order() {
    const { by, down } = sorted;
    if (by === null) return;
    const column = data[by], lists = { state: data.states, worker: data.workers, reason: data.reasons };
    const value = lists[by] ? place => lists[by][column[place]] ?? "" : place => column[place];
    const words = new Intl.Collator("en", { numeric: true }).compare;
    const text = by === "names" || by in lists;
    // Unknown values come last in both directions.
    const compare = (a, b) => {
      const one = value(a), two = value(b);
      if (one === null || two === null) return (one === null) - (two === null);
      return (down ? -1 : 1) * (text ? words(one, two) : one - two) || a - b;
    };
    shown = [...shown].sort(compare);
  }

  function choose() {
    const words = field("words").value.toLowerCase();
    if (words) lower ??= data.names.map(name => name.toLowerCase());
    const wanted = ["state", "worker", "reason"].map(name => [data[name], field(name).value]).filter(([, value]) => value !== "");
    shown = all.filter(place => (!words || lower[place].includes(words)) && wanted.every(([column, value]) => column[place] === Number(value)));
    order();
    const count = number => number.toLocaleString("en");
    const files = `${count(all.length)} ${all.length === 1 ? "file" : "files"}`;
    find.querySelector("output").textContent = shown.length === all.length
      ? files : `${count(shown.length)} of ${files}`;
    box.scrollTop = 0;
    draw();
  }

  function sort(head) {
    const by = head.dataset.by;
    sorted = { by, down: sorted.by === by && !sorted.down };
    for (const one of heads) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    choose();
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.onclick = () => sort(head);
    head.replaceChildren(button);
  }
  for (const [name, list] of [["state", data.states], ["worker", data.workers], ["reason", data.reasons]]) {
    list.forEach((text, place) => field(name).add(new Option(text, place)));
    field(name).onchange = choose;
    field(name).parentElement.hidden = !list.length;
  }
  field("words").oninput = choose;
  box.onscroll = draw;
  addEventListener("resize", draw);
  addEventListener("beforeprint", () => body.replaceChildren(...shown.slice(0, PRINTED).map(row)));
  addEventListener("afterprint", draw);
  root.classList.add("drawn");
  find.hidden = false;
  choose();
  height = body.rows[1]?.offsetHeight || height;
  draw();
}
