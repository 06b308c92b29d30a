"use strict";
// Sorts and filters the tables of a report, and reloads it while its sweep runs. That keeps what the
// reader had chosen; a page that is opened or reloaded by hand begins with the order of the grid.

const KEY = `sweep report ${location.pathname}`;
const collator = new Intl.Collator(undefined, { numeric: true });
const kept = recall();
const views = {};

for (const section of document.querySelectorAll("[data-table]")) enhance(section);
for (const note of document.querySelectorAll("[data-refresh]")) watch(note);
for (const id of kept.open ?? []) document.getElementById(id)?.setAttribute("open", "");
for (const note of document.querySelectorAll("[data-framed]")) note.hidden = window === top;
printUnfolded();
if (kept.scroll !== undefined) addEventListener("load", () => scrollTo(0, kept.scroll));

// A sandboxed frame, as MLflow shows artifacts in, has no storage: then nothing is kept.
function recall() {
  try {
    const text = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function remember() {
  const open = Array.from(document.querySelectorAll("details[open]"), (details) => details.id);
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ views, open, scroll: scrollY }));
  } catch {}
}

// Paper cannot be asked for what is folded; after print it is folded again.
function printUnfolded() {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
}

function enhance(section) {
  const table = section.querySelector("table");
  const bodies = Array.from(table.tBodies, (body) => ({ body, heading: body.querySelector(".group") }));
  const rows = bodies.flatMap(({ body, heading }) =>
    Array.from(body.querySelectorAll("tr:not(.group)"), (row) => ({ row, body, heading })));
  const headings = Array.from(table.tHead.rows[0].cells);
  const [words, grouped] = section.querySelectorAll(".tools input");
  const view = { words: "", grouped: true, column: -1, order: "", ...kept.views?.[section.dataset.table] };
  views[section.dataset.table] = view;

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      view.order = { ascending: "descending", descending: "" }[ariaSort(column)] ?? "ascending";
      view.column = view.order ? column : -1;
      arrange();
    });
  });
  words.value = view.words;
  words.addEventListener("input", () => {
    view.words = words.value;
    filter();
  });
  if (grouped) {
    grouped.checked = view.grouped;
    grouped.addEventListener("change", () => {
      view.grouped = grouped.checked;
      arrange();
    });
  }
  section.querySelector(".tools").hidden = rows.length < 2;
  arrange();

  function ariaSort(column) {
    return column === view.column ? view.order : "none";
  }

  function arrange() {
    headings.forEach((heading, column) => heading.setAttribute("aria-sort", ariaSort(column)));
    const placed = new Map(bodies.map(({ body }) => [body, []]));
    for (const { row, body } of sorted(rows, view.column, view.order)) {
      placed.get(view.grouped ? body : bodies[0].body).push(row);
    }
    for (const [body, members] of placed) body.append(...members);
    filter();
  }

  function filter() {
    const wanted = view.words.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = new Set();
    let shown = 0;
    for (const entry of rows) {
      entry.text ??= `${entry.row.textContent} ${entry.heading?.textContent ?? ""}`.toLowerCase();
      entry.row.hidden = !wanted.every((word) => entry.text.includes(word));
      if (!entry.row.hidden) groups.add(entry.heading);
      shown += !entry.row.hidden;
    }
    for (const { heading } of bodies) {
      if (heading) heading.hidden = !view.grouped || !groups.has(heading);
    }
    const by = view.order ? `, ${view.order} by ${headings[view.column].textContent}` : "";
    section.querySelector("output").value = shown < rows.length
      ? `${shown} of ${rows.length} rows${by}`
      : `${shown} rows${by}`;
  }
}

// Returns the rows in order; what has no value comes last either way, equals keep their place.
function sorted(rows, column, order) {
  if (!order) return rows;
  const keyed = rows.map((entry) => {
    const cell = entry.row.cells[column];
    return { ...entry, key: cell.dataset.sort ?? cell.textContent.trim() };
  });
  const present = keyed.filter(({ key }) => key !== "");
  const missing = keyed.filter(({ key }) => key === "");
  const numeric = present.every(({ key }) => !Number.isNaN(Number(key)));
  const sign = order === "ascending" ? 1 : -1;
  const compare = numeric ? (a, b) => a - b : collator.compare;
  present.sort((a, b) => sign * compare(a.key, b.key));
  return [...present, ...missing];
}

function watch(note) {
  const [words, button] = [note.querySelector("span"), note.querySelector("button")];
  button.hidden = false;
  button.addEventListener("click", () => pause(note.dataset.paused !== "yes"));
  pause(false);
  setInterval(() => {
    const typing = document.activeElement?.matches("input[type=search]");
    if (note.dataset.paused === "yes" || typing) return;
    remember();
    location.reload();
  }, 1000 * note.dataset.refresh);

  function pause(paused) {
    note.dataset.paused = paused ? "yes" : "no";
    button.textContent = paused ? "Resume" : "Pause";
    const written = new Date(document.lastModified).toLocaleTimeString();
    words.textContent = paused
      ? `The page does not reload; it is of ${written}.`
      : `The page reloads every ${note.dataset.refresh} s; it is of ${written}.`;
  }
}
