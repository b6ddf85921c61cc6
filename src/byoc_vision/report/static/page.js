"use strict";
// Curves, sortable tables, galleries and copying. Without JavaScript the page has all of its content but the curves.

const dark = matchMedia("(prefers-color-scheme: dark)");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const matter = (id) => document.getElementById(id).textContent;

// Curves: in the dark scheme each colour is replaced by its counterpart.

function draw() {
  document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
  const shades = dark.matches ? JSON.parse(matter("shades")) : {};
  const charts = JSON.parse(matter("charts"), (_, value) => (Object.hasOwn(shades, value) ? shades[value] : value));
  for (const [id, item] of Object.entries(charts)) {
    document.getElementById(id).replaceChildren();
    Bokeh.embed.embed_item(item, id);
  }
}

if (typeof Bokeh !== "undefined") {
  Bokeh.logger.set_level("error");
  draw();
  dark.addEventListener("change", draw);
}

// Tables

const valueOf = (cell) => {
  const number = Number((cell.dataset.value ?? cell.textContent).replaceAll(",", ""));
  return Number.isNaN(number) ? cell.textContent : number;
};

const compare = (one, other) => {
  if (typeof one === typeof other) return typeof one === "number" ? one - other : one.localeCompare(other);
  return typeof one === "number" ? 1 : -1; // "–", what is not known, below all numbers
};

function sort(table, header) {
  const column = header.cellIndex;
  const ascending = header.getAttribute("aria-sort") === "descending" || !header.hasAttribute("aria-sort") && !header.matches(".number");
  all("th[aria-sort]", table.tHead).forEach((cell) => cell.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([one], [other]) => (ascending ? 1 : -1) * compare(one, other));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of all("table.sortable")) {
  table.tHead.addEventListener("click", ({target}) => {
    const header = target.closest("th");
    if (target.closest("button")) sort(table, header);
  });
}

for (const filter of all("input.filter")) {
  filter.hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of filter.closest(".card").querySelector("tbody").rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    }
  });
}

// Galleries: one at a time, by pointer or arrow keys; an enlarged image

for (const tabs of all(".tabs")) {
  const buttons = all("[role=tab]", tabs);
  const show = (chosen) => {
    for (const button of buttons) {
      const isChosen = button === chosen;
      button.setAttribute("aria-selected", isChosen);
      button.tabIndex = isChosen ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = !isChosen;
    }
  };
  tabs.querySelector("[role=tablist]").hidden = false;
  tabs.classList.add("live");
  show(buttons[0]);
  buttons.forEach((button, place) => {
    button.addEventListener("click", () => show(button));
    button.addEventListener("keydown", ({key}) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[key];
      if (!step) return;
      const next = buttons[(place + step + buttons.length) % buttons.length];
      show(next);
      next.focus();
    });
  });
}

const zoom = document.getElementById("zoom");
let enlarged = null;

function enlarge(item) {
  if (!item) return;
  enlarged = item;
  const copies = [...item.querySelector(".enlarge").cloneNode(true).childNodes];
  document.getElementById("enlarged").replaceChildren(...copies, item.querySelector(".caption").cloneNode(true));
  if (!zoom.open) zoom.showModal();
}

all(".enlarge").forEach((button) => button.addEventListener("click", () => enlarge(button.closest(".item"))));
zoom.addEventListener("click", ({target}) => target === zoom && zoom.close());
zoom.addEventListener("keydown", ({key}) => {
  if (key === "ArrowRight") enlarge(enlarged.nextElementSibling);
  if (key === "ArrowLeft") enlarge(enlarged.previousElementSibling);
});
zoom.addEventListener("close", () => enlarged?.querySelector(".enlarge").focus());

// Copying. Not every browser gives a file access to the clipboard; a selection can always be copied.

for (const button of all("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.from);
    getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      document.execCommand("copy");
    }
    button.textContent = document.getElementById("copied").textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

// Mark the section that is being read

const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "true");
  }
}, {rootMargin: "-25% 0px -70% 0px"});
all("main > section").forEach((section) => seen.observe(section));
