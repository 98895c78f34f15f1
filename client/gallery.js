"use strict";

const MOST_LABELS = 100; // in the list of labels; others are found by their name
const MOST_PRINTED = 1000; // a browser takes some 15 ms for each
const DECISIONS = ["confident", "unsure", "unknown", "undecided", "failed"];
const element = (id) => document.getElementById(id);
const list = element("tiles"), details = element("details"), form = element("filters");
const numbers = new Intl.NumberFormat("en"), names = new Intl.Collator(undefined, { numeric: true });
const percent = (score) => `${(100 * score).toFixed(1)}%`;
const plain = (text) => text.normalize("NFC").toLowerCase();

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Photos: what is known of each, and its picture, decoded when it is wanted.

const pictures = [...document.querySelectorAll("script.pictures")];
const photos = [...document.querySelectorAll("script.facts")].flatMap((block, group) =>
  JSON.parse(block.textContent).map((facts, place) => prepared(facts, group, place)));

function prepared(facts, group, place) {
  const [label = "", id = "", score = -1] = facts.predictions[0] ?? [];
  const words = [facts.name, label, id, facts.failure?.[0] ?? ""];
  return { ...facts, label, score, text: plain(words.join("\n")), group, place };
}

function picture(photo) {
  if (pictures[photo.group] instanceof Element) pictures[photo.group] = pictures[photo.group].textContent.split("\n");
  const data = pictures[photo.group][photo.place];
  return data ? make("img", { className: "thumbnail", alt: photo.name, src: `data:image/webp;base64,${data}` })
    : make("span", { className: "missing" }, photo.failure ? "no picture" : photo.note ?? "no picture");
}

// Orders, each made once; photos without labels come last.

const failedLast = (a, b) => Boolean(a.failure) - Boolean(b.failure);
const byName = (a, b) => names.compare(a.name, b.name);
const ORDERS = {
  given: null,
  name: byName,
  best: (a, b) => b.score - a.score,
  worst: (a, b) => failedLast(a, b) || a.score - b.score,
  label: (a, b) => failedLast(a, b) || names.compare(a.label, b.label) || b.score - a.score,
};
const ordered = new Map();

function inOrder(order) {
  if (!ordered.has(order)) ordered.set(order, ORDERS[order] ? [...photos].sort(ORDERS[order]) : photos);
  return ordered.get(order);
}

// Filters. Of decisions and labels none chosen means all.

const chosen = { decision: new Set(), label: new Set() };
const boxes = { decision: new Map(), label: new Map() }; // by value: its line in the panel and its count
const totals = new Map();
for (const photo of photos) if (photo.label) totals.set(photo.label, (totals.get(photo.label) ?? 0) + 1);
const labels = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a) || names.compare(a, b));

function box(kind, value) {
  const input = make("input", { type: "checkbox", checked: chosen[kind].has(value) });
  const number = make("span", { className: "number" });
  input.addEventListener("change", () => {
    chosen[kind][input.checked ? "add" : "delete"](value);
    update();
  });
  const line = make("li", {}, make("label", {}, input, make("bdi", { textContent: value }), number));
  boxes[kind].set(value, { line, number });
  return line;
}

function listLabels() {
  const wanted = plain(element("find").value);
  const found = labels.filter((label) => chosen.label.has(label) || plain(label).includes(wanted));
  const shown = found.filter((label, place) => place < MOST_LABELS || chosen.label.has(label));
  boxes.label.clear();
  element("labels").replaceChildren(...shown.map((label) => box("label", label)));
  const rest = found.length - shown.length;
  element("others").textContent = rest ? `and ${numbers.format(rest)} more: find them by name` : found.length ? "" : "none";
}

function count(kind, passing) {
  const found = new Map();
  for (const photo of passing) found.set(photo[kind], (found.get(photo[kind]) ?? 0) + 1);
  for (const [value, { line, number }] of boxes[kind]) {
    number.textContent = numbers.format(found.get(value) ?? 0);
    line.classList.toggle("none", !found.has(value));
  }
}

let shown = [];

function update() {
  const words = plain(element("search").value), least = element("least").valueAsNumber / 100;
  const has = (kind) => (photo) => !chosen[kind].size || chosen[kind].has(photo[kind]);
  const others = inOrder(element("order").value).filter((photo) =>
    photo.text.includes(words) && (!least || photo.score >= least));
  shown = others.filter(has("decision")).filter(has("label"));
  count("decision", others.filter(has("label")));
  count("label", others.filter(has("decision")));
  element("percent").value = `${element("least").value}%`;
  element("least").setAttribute("aria-valuetext", element("percent").value);
  const all = `${numbers.format(photos.length)} ${photos.length === 1 ? "photo" : "photos"}`;
  element("count").textContent = shown.length === photos.length ? all : `${numbers.format(shown.length)} of ${all}`;
  list.replaceChildren();
  layOut();
}

// Tiles: only those in the window, and a window more on each side, are in the document.

let columns = 1, pitch = 1, whole = false;

function layOut() {
  const style = getComputedStyle(list), gap = parseFloat(style.rowGap);
  columns = style.gridTemplateColumns.split(" ").length;
  pitch = parseFloat(style.gridAutoRows) + gap;
  list.style.height = `${Math.max(0, Math.ceil(shown.length / columns) * pitch - gap)}px`;
  mount();
}

function mount() {
  const top = -list.getBoundingClientRect().top;
  const first = whole ? 0 : Math.max(0, Math.floor((top - innerHeight) / pitch)) * columns;
  const last = whole ? Math.min(shown.length, MOST_PRINTED) : Math.min(shown.length, Math.ceil((top + 2 * innerHeight) / pitch) * columns);
  for (const tile of [...list.children]) if (tile.place < first || tile.place >= last) tile.remove();
  for (let place = first; place < last; place += 1) {
    const there = list.children[place - first];
    if (there?.place !== place) list.insertBefore(tile(place), there ?? null);
  }
  list.style.paddingTop = `${(Math.min(first, shown.length) / columns) * pitch}px`;
}

function tile(place) {
  const photo = shown[place];
  const button = make("button", { type: "button", className: photo.decision, title: photo.name },
    picture(photo),
    make("bdi", { className: "label", textContent: photo.failure?.[0] ?? photo.label }),
    make("span", { className: "score", textContent: photo.failure ? "failed" : `${percent(photo.score)} ${photo.decision}` }),
    make("bdi", { className: "file", ariaHidden: true, textContent: photo.name.split("/").pop() })); // the picture says it
  button.addEventListener("click", () => show(place));
  const made = make("li", { place }, button);
  made.setAttribute("aria-posinset", place + 1);
  made.setAttribute("aria-setsize", shown.length);
  return made;
}

function goTo(place) {
  const row = Math.floor(place / columns), at = list.getBoundingClientRect().top + row * pitch;
  if (at < 0 || at + pitch > innerHeight) scrollBy(0, at < 0 ? at - 8 : at + pitch - innerHeight);
  mount();
  [...list.children].find((tile) => tile.place === place)?.firstChild.focus({ preventScroll: true });
}

// One photo and all that is known of it.

let current = 0;

function show(place) {
  current = place;
  const photo = shown[place], [code, ...why] = photo.failure ?? [];
  const texts = { title: code ?? photo.label, name: photo.name, note: photo.note, failure: why.join(" "),
    model: photo.model, more: photo.more && `and ${numbers.format(photo.more)} labels more` };
  for (const [id, text] of Object.entries(texts)) {
    element(id).hidden = !text;
    element(id).replaceChildren(make("bdi", { textContent: text ?? "" }));
  }
  element("place").textContent = `${numbers.format(place + 1)} of ${numbers.format(shown.length)}`;
  element("picture").replaceChildren(picture(photo));
  element("address").hidden = !photo.address;
  element("address").href = photo.address ?? "";
  element("predictions").hidden = !photo.predictions.length;
  element("predictions").tBodies[0].replaceChildren(...photo.predictions.map(([label, id, score]) =>
    make("tr", {}, ...[label, id].map((text) => make("td", {}, make("bdi", { textContent: text }))),
      make("td", {}, make("meter", { value: score }), percent(score)))));
  element("before").disabled = place === 0;
  element("after").disabled = place === shown.length - 1;
  if (!details.open) details.showModal();
}

const step = (by) => { if (shown[current + by]) show(current + by); };
element("before").addEventListener("click", () => step(-1));
element("after").addEventListener("click", () => step(1));
element("close").addEventListener("click", () => details.close());
details.addEventListener("close", () => goTo(current));
details.addEventListener("click", (event) => { if (event.target === details) details.close(); });
details.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) step(by);
});

list.addEventListener("keydown", (event) => {
  const place = event.target.closest("li").place, end = shown.length - 1;
  const to = { ArrowLeft: place - 1, ArrowRight: place + 1, ArrowUp: place - columns, ArrowDown: place + columns,
    Home: 0, End: end }[event.key];
  if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (to >= 0 && to <= end) goTo(to);
});

// Begin.

for (const id of ["search", "order", "least"]) element(id).addEventListener("input", update);
element("find").addEventListener("input", () => { listLabels(); update(); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => {
  chosen.decision.clear();
  chosen.label.clear();
  listLabels();
  update();
}));
addEventListener("scroll", mount, { passive: true });
addEventListener("resize", layOut);
function print(begins) {
  whole = begins;
  element("cut").hidden = !whole || shown.length <= MOST_PRINTED;
  mount();
}
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));

const narrow = matchMedia("(max-width: 50rem)");
const fold = () => { element("panel").open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
element("decisions").replaceChildren(...DECISIONS.filter((decision) =>
  photos.some((photo) => photo.decision === decision)).map((decision) => box("decision", decision)));
form.reset(); // also what a browser remembers of the last time
