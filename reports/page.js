
"use strict";
(() => {
  const root = document.documentElement;
  const make = (tag, words, where) => {
    const found = document.createElement(tag);
    found.textContent = words;
    where.append(found);
    return found;
  };

  // Light or dark: the system's choice until the reader makes another.
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const item = make("li", "", document.querySelector("nav ul"));
  const theme = make("button", "", item);
  theme.type = "button";
  const name = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  // Tables sort by a column whose head is pressed: by number where its cells have one, else by their words.
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim().toLowerCase() : cell.dataset.v === "" ? Infinity : +cell.dataset.v;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.ariaSort === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = sign > 0 ? "ascending" : "descending";
        const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
        rows.sort(([a], [b]) => sign * (a < b ? -1 : a > b ? 1 : 0));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // The table of instances shows those with all the words that are typed, and with one answer.
  const table = document.getElementById("all");
  const words = document.getElementById("words"), standing = document.getElementById("standing");
  const count = document.getElementById("count");
  const rows = [...table.tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const answer = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "answer");
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = wanted.every((word) => texts[place].includes(word))
        && (!standing.value || row.cells[answer].textContent.trim().endsWith(standing.value));
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length}`;
  };
  words.addEventListener("input", filter);
  standing.addEventListener("input", filter);
  words.form.addEventListener("submit", (event) => event.preventDefault());
  words.form.hidden = false;
  filter();
  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.addEventListener("click", () => { words.value = link.dataset.filter; standing.value = ""; filter(); });
  }

  // A link into something folded opens it, and printing opens everything.
  const unfold = () => {
    const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (place) {
      for (let at = place; at; at = at.parentElement) { if (at.tagName === "DETAILS") { at.open = true; } }
      place.scrollIntoView();
    }
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
