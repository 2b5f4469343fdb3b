"use strict";
// The page: pan, zoom, search, folding. Layout is done by Graphviz in a worker.

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const MAX_HITS = 50;
const MARGIN = 16; // pixels
const page = { net: null, shown: { opened: new Set(), picked: new Set() }, lines: new Map(), chosen: null, hits: [], hit: -1,
  view: { x: 0, y: 0, k: 1 }, size: { w: 1, h: 1 } };

// Layout ----------------------------------------------------------------------------------------

const workerCode = $("graphviz").textContent + `
const ready = Graphviz.load();
onmessage = async (event) => {
  try {
    const svg = (await ready).dot(event.data.dot);
    postMessage({ number: event.data.number, svg, trouble: "" });
  } catch (error) {
    postMessage({ number: event.data.number, svg: null, trouble: String(error) });
  }
};`;
const workerUrl = URL.createObjectURL(new Blob([workerCode], { type: "text/javascript" }));
let worker = null;
let waiting = null;
let requests = 0;

function layOut(dot) {
  if (waiting) { // an answer that nobody wants any more may be far away
    worker.terminate();
    worker = null;
    waiting.give(null);
  }
  if (!worker) {
    worker = new Worker(workerUrl);
    worker.onmessage = (event) => {
      if (!waiting || event.data.number !== waiting.number) return;
      const { give } = waiting;
      waiting = null;
      give(event.data);
    };
    worker.onerror = (event) => {
      if (!waiting) return;
      const { give } = waiting;
      waiting = null;
      give({ svg: null, trouble: event.message || "the layout could not be started" });
    };
  }
  return new Promise((give) => {
    waiting = { number: ++requests, give };
    worker.postMessage({ number: requests, dot });
  });
}

function cancel() {
  if (!waiting) return;
  const { give } = waiting;
  waiting = null;
  worker.terminate();
  worker = null;
  $("busy").hidden = true;
  document.body.dataset.state = "ready";
  give(null);
}

// Draws the network with the sets opened and picked. What has the id `anchor` (before, after) keeps
// its place on the screen. With `svg` the layout is done already.
async function draw(view, anchor = null, svg = null) {
  const shown = shownCount(page.net, view);
  if (shown > page.net.large) {
    complain(`That would show ${shown.toLocaleString("en-US")} boxes; ${page.net.large} are the most.`
      + " Open inner groups one by one, or search.");
    return false;
  }
  complain("");
  const before = anchor && place(anchor[0]);
  const lines = makeLines(page.net, view);
  if (!svg) {
    document.body.dataset.state = "busy";
    $("busy").hidden = false;
    const done = await layOut(makeDot(page.net, view, lines));
    if (!done) return false;
    $("busy").hidden = true;
    if (!done.svg) {
      complain(`Graphviz could not lay this out: ${done.trouble}`);
      document.body.dataset.state = "failed";
      return false;
    }
    svg = new DOMParser().parseFromString(done.svg, "image/svg+xml").documentElement;
  }
  page.shown = view;
  page.lines = lines;
  insert(svg);
  const after = before && place(anchor[1]);
  if (after) {
    // Of a group that is too large for the stage, its beginning shows.
    const dy = after.h > stage.clientHeight ? MARGIN + after.h / 2 - after.y : before.y - after.y;
    move(page.view.x + before.x - after.x, page.view.y + dy, page.view.k);
  }
  $("count").textContent = `${shown.toLocaleString("en-US")} of `
    + `${page.net.boxes.length.toLocaleString("en-US")} nodes shown`;
  document.body.dataset.shown = shown;
  document.body.dataset.state = "ready";
  mark();
  return true;
}

function insert(svg) {
  const [, , w, h] = svg.getAttribute("viewBox").split(/\s+/).map(Number);
  page.size = { w, h };
  for (const name of ["viewBox", "width", "height"]) svg.removeAttribute(name);
  const view = document.createElementNS("http://www.w3.org/2000/svg", "g");
  view.id = "view";
  view.append(...svg.children);
  svg.append(view);
  stage.querySelector("svg")?.remove();
  stage.prepend(document.importNode(svg, true));
  for (const node of stage.querySelectorAll(".node")) {
    // Graphviz knows no fonts here: what it took for the width of a text is a guess.
    const shape = node.querySelector("path, ellipse, polygon").getBBox();
    for (const text of node.querySelectorAll("text")) {
      text.setAttribute("x", shape.x + shape.width / 2);
      text.setAttribute("text-anchor", "middle");
    }
    const box = node.id[0] === "b" && page.net.boxes[Number(node.id.slice(1))];
    name(node, box ? `${box.name} ${box.outputs[0]?.[2] ?? ""}`.trim() : "");
  }
  for (const edge of stage.querySelectorAll(".edge")) {
    name(edge, page.lines.get(edge.id)?.text.replace(/\n/g, ", ") ?? "");
  }
  apply();
}

// What is said where the pointer rests: Graphviz puts ids there.
function name(element, text) {
  for (const title of element.querySelectorAll("title")) title.textContent = text;
}

// Pan and zoom ----------------------------------------------------------------------------------

function apply() {
  const { x, y, k } = page.view;
  document.getElementById("view")?.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
}

function move(x, y, k) {
  page.view = { x, y, k: Math.min(8, Math.max(0.02, k)) };
  apply();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const old = page.view;
  const k = Math.min(8, Math.max(0.02, old.k * factor));
  move(x - ((x - old.x) * k) / old.k, y - ((y - old.y) * k) / old.k, k);
}

function fit(least = 0) {
  const [w, h] = [stage.clientWidth, stage.clientHeight];
  const k = Math.max(Math.min(w / page.size.w, h / page.size.h, 1.5), least);
  move((w - page.size.w * k) / 2, Math.max(0, (h - page.size.h * k) / 2), k);
}

// All of the network, or as much of it from the top as can be read: at this scale the smallest text,
// of 9 points, has 9 pixels.
function begin() {
  fit(1);
  const room = stage.clientWidth - page.size.w * page.view.k;
  const data = room < 0 && stage.querySelector(`#b${page.net.boxes.findIndex((b) => b.kind === "data")}`);
  if (!data) return; // else begin where the data enter
  const x = page.view.x + stage.clientWidth / 2 - place(data.id).x;
  move(Math.min(0, Math.max(room, x)), page.view.y, page.view.k);
}

// The centre and the height of something shown, in pixels of the stage.
function place(id) {
  const element = document.getElementById(id);
  if (!element) return null;
  const [box, frame] = [element.getBoundingClientRect(), stage.getBoundingClientRect()];
  return { x: box.x + box.width / 2 - frame.x, y: box.y + box.height / 2 - frame.y, h: box.height };
}

function centre(id) {
  if (page.view.k < 0.7) zoom(1 / page.view.k);
  const at = place(id);
  if (!at) return;
  move(page.view.x + stage.clientWidth / 2 - at.x, page.view.y + stage.clientHeight / 2 - at.y,
    page.view.k);
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - frame.x, event.clientY - frame.y);
}, { passive: false });

let drag = null;
stage.addEventListener("pointerdown", (event) => {
  if (event.button === 0) drag = { x: event.clientX, y: event.clientY, view: page.view, far: false };
});
window.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.far && Math.hypot(dx, dy) < 4) return;
  drag.far = true;
  stage.querySelector("svg")?.classList.add("moving");
  move(drag.view.x + dx, drag.view.y + dy, drag.view.k);
});
window.addEventListener("pointerup", () => {
  stage.querySelector("svg")?.classList.remove("moving");
  const moved = drag?.far;
  drag = null;
  if (moved) window.addEventListener("click", (e) => e.stopPropagation(), { capture: true, once: true });
});

// Folding ---------------------------------------------------------------------------------------

function copyOfView() {
  return { opened: new Set(page.shown.opened), picked: new Set(page.shown.picked) };
}

function isOpen(id) {
  return id[0] === "g" && page.shown.opened.has(Number(id.slice(1)));
}

// Opens or folds a group; opens a run of steps. Of many steps only the first ones and the last show:
// the others stay in a run, which can be opened again.
async function toggle(id) {
  const view = copyOfView();
  const number = Number(id.slice(1));
  let now = id;
  if (id[0] === "r") {
    const steps = runSteps(page.net, representatives(page.net, page.shown), id);
    pick(view, steps);
    now = `g${steps[0]}`;
  } else if (view.opened.delete(number)) {
    if (inSteps(page.net, number)) view.picked.add(number);
  } else {
    view.opened.add(number);
    const group = page.net.groups[number];
    if (group.kind === "steps" && !group.groups.some((i) => view.picked.has(i))) {
      pick(view, group.groups);
    }
  }
  if (await draw(view, [id, now])) choose(now);
}

function pick(view, steps) {
  const few = steps.length <= 4 ? steps : [...steps.slice(0, 2), ...steps.slice(-1)];
  for (const i of few) view.picked.add(i);
}

// Puts a step back into the run beside it.
async function unpick(number) {
  const view = copyOfView();
  view.opened.delete(number);
  view.picked.delete(number);
  const now = representatives(page.net, view)[number];
  if (await draw(view, [`g${number}`, now])) choose(now);
}

// Opens every group around a box or group and brings it to the middle.
async function reveal(id) {
  const view = copyOfView();
  const number = Number(id.slice(1));
  let around = id[0] === "b" ? page.net.boxes[number].parent : page.net.groups[number].parent;
  if (id[0] === "g" && inSteps(page.net, number)) view.picked.add(number);
  for (; around >= 0; around = page.net.groups[around].parent) {
    view.opened.add(around);
    if (inSteps(page.net, around)) view.picked.add(around);
  }
  const { opened, picked } = page.shown;
  const changed = view.opened.size > opened.size || view.picked.size > picked.size;
  if (changed && !(await draw(view))) return;
  choose(id);
  centre(id);
}

stage.addEventListener("click", (event) => {
  const hit = event.target.closest?.(".node, .cluster, .edge");
  choose(hit ? hit.id : null);
});
stage.addEventListener("dblclick", (event) => {
  const hit = event.target.closest?.(".node, .cluster");
  if (hit && hit.id[0] !== "b") toggle(hit.id);
});

// Details ---------------------------------------------------------------------------------------

function element(tag, text = "", ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function link(text, id) {
  const made = element("a", text);
  made.href = "#";
  made.addEventListener("click", (event) => {
    event.preventDefault();
    reveal(id);
  });
  return made;
}

function list(title, items) {
  if (!items.length) return [];
  return [element("h2", title), element("ul", "", ...items)];
}

function valueText([, dtype, shape]) {
  return [dtype, shape || "shape unknown"].filter(Boolean).join(" ");
}

function folders(group) {
  const labels = [];
  for (; group >= 0; group = page.net.groups[group].parent) labels.unshift(page.net.groups[group].first);
  return labels.join(" / ");
}

function boxDetails(number) {
  const box = page.net.boxes[number];
  const [inputs, readers] = [[], []];
  for (let i = 0; i < page.net.edges.length; i += 3) {
    const [from, to, output] = page.net.edges.slice(i, i + 3);
    const value = page.net.boxes[from].outputs[output] ?? ["", "", ""];
    if (to === number) {
      inputs.push(element("li", "", link(value[0] || page.net.boxes[from].name, `b${from}`),
        element("small", valueText(value))));
    }
    if (from === number && readers.length < MAX_HITS) {
      readers.push(element("li", "", link(page.net.boxes[to].name, `b${to}`)));
    }
  }
  const outputs = box.outputs.map((value) =>
    element("li", value[0], element("small", valueText(value))));
  const attributes = Object.entries(box.attributes).map(([name, value]) =>
    element("li", `${name} = ${value}`));
  return [
    element("h2", box.name), element("p", [box.op, box.kind].filter(Boolean).join(", ")),
    element("p", folders(box.parent)), ...list("Attributes", attributes),
    ...list("Inputs", inputs), ...list("Outputs", outputs), ...list("Read by", readers),
  ];
}

function insideOf(number) {
  const group = page.net.groups[number];
  return [...group.boxes, ...group.groups.flatMap(insideOf)];
}

function button(text, name, act) {
  const made = element("button", text);
  made.id = name;
  made.addEventListener("click", act);
  return made;
}

function operatorRows(boxes) {
  const counts = new Map();
  for (const i of boxes) {
    const what = page.net.boxes[i].op || page.net.boxes[i].kind;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([op, n]) =>
    element("li", `${n.toLocaleString("en-US")} ${op}`));
}

function groupDetails(id) {
  const number = Number(id.slice(1));
  const group = page.net.groups[number];
  let [groups, boxes, title, size] = [group.groups, group.boxes, group.first, group.second];
  const buttons = [button(isOpen(id) ? "Fold" : "Open", "toggle", () => toggle(id))];
  if (id[0] === "r") {
    groups = runSteps(page.net, representatives(page.net, page.shown), id);
    boxes = [];
    [title, size] = runTexts(page.net, groups);
  } else if (inSteps(page.net, number)) {
    buttons.push(button("Back among the others", "unpick", () => unpick(number)));
  }
  const inner = [...groups.map((i) => element("li", "", link(page.net.groups[i].first, `g${i}`))),
    ...boxes.map((i) => element("li", "", link(page.net.boxes[i].name, `b${i}`)))];
  return [element("h2", title), element("p", folders(group.parent)), element("p", size), ...buttons,
    ...list("Inside", inner.slice(0, 2 * MAX_HITS)),
    ...list("Operators", operatorRows([...boxes, ...groups.flatMap(insideOf)]))];
}

function lineDetails(line) {
  const items = line.values.slice(0, 2 * MAX_HITS).map(([box, output]) => {
    const value = page.net.boxes[box].outputs[output] ?? [page.net.boxes[box].name, "", ""];
    return element("li", "", link(value[0] || page.net.boxes[box].name, `b${box}`),
      element("small", valueText(value)));
  });
  const count = line.values.length;
  return [element("h2", count === 1 ? "One value" : `${count.toLocaleString("en-US")} values`),
    element("ul", "", ...items)];
}

function summaryDetails() {
  const { total, groups } = page.net.summary;
  const rows = groups.slice(0, 2 * MAX_HITS).map(([id, label, text]) =>
    element("li", "", link(label, id), element("small", text)));
  return [element("h2", "Network"), element("p", total), ...list("Groups", rows)];
}

function choose(id) {
  page.chosen = id;
  let parts = id ? [] : summaryDetails();
  if (id && id.includes("-")) {
    parts = page.lines.has(id) ? lineDetails(page.lines.get(id)) : [];
  } else if (id) {
    parts = id[0] === "b" ? boxDetails(Number(id.slice(1))) : groupDetails(id);
  }
  $("details").replaceChildren(...parts);
  mark();
}

// Outlines what is chosen, and what is found or hides something found.
function mark() {
  const marks = ["found", "chosen", "near", "path"];
  for (const old of stage.querySelectorAll(marks.map((m) => `.${m}`))) old.classList.remove(...marks);
  const hidden = representatives(page.net, page.shown);
  for (const box of page.hits) {
    document.getElementById(shownId(page.net, hidden, box))?.classList.add("found");
  }
  if (!page.chosen) return;
  document.getElementById(page.chosen)?.classList.add("chosen");
  markPath("source", "target");
  markPath("target", "source");
}

// Marks the edges that lead away from what is chosen (or to it), the next ones more than the others.
function markPath(from, to) {
  const reached = new Set([page.chosen]);
  for (const item of reached) { // a set also yields what is added meanwhile
    for (const line of page.lines.values()) {
      if (line[from] !== item) continue;
      document.getElementById(line.id)?.classList.add(item === page.chosen ? "near" : "path");
      reached.add(line[to]);
    }
  }
}

// Search ----------------------------------------------------------------------------------------

function search() {
  page.hits = findBoxes(page.net, $("search").value);
  page.hit = -1;
  const items = page.hits.slice(0, MAX_HITS).map((i) => {
    const box = page.net.boxes[i];
    const what = [box.op || box.kind, box.outputs[0]?.[2]].filter(Boolean).join("  ");
    return element("li", "", link(box.name, `b${i}`), element("small", what));
  });
  const said = $("search").value.trim()
    ? [element("p", `${page.hits.length.toLocaleString("en-US")} found`)] : [];
  $("hits").replaceChildren(...said, element("ul", "", ...items));
  mark();
}

$("search").addEventListener("input", search);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && page.hits.length) {
    page.hit = (page.hit + 1) % page.hits.length;
    reveal(`b${page.hits[page.hit]}`);
  }
  if (event.key === "Escape") {
    $("search").value = "";
    search();
    $("search").blur();
  }
});

// The rest --------------------------------------------------------------------------------------

function complain(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function save() {
  const svg = stage.querySelector("svg").cloneNode(true);
  svg.setAttribute("viewBox", `0 0 ${page.size.w} ${page.size.h}`);
  svg.setAttribute("width", page.size.w);
  svg.setAttribute("height", page.size.h);
  svg.querySelector("#view").removeAttribute("transform");
  const text = new XMLSerializer().serializeToString(svg);
  const made = document.createElement("a");
  made.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  made.download = `${document.title}.svg`;
  made.click();
  setTimeout(() => URL.revokeObjectURL(made.href), 1000);
}

function firstView() {
  return { opened: new Set(page.net.open), picked: new Set() };
}

async function drawAll(view) {
  choose(null);
  if (await draw(view)) begin();
}

async function show(index, svg = null) {
  page.net = JSON.parse($(`network-${index}`).textContent);
  page.hits = [];
  choose(null);
  if (await draw(firstView(), null, svg)) begin();
  search();
}

$("cancel").addEventListener("click", cancel);
$("fit").addEventListener("click", () => fit());
$("larger").addEventListener("click", () => zoom(1.3));
$("smaller").addEventListener("click", () => zoom(1 / 1.3));
$("save").addEventListener("click", save);
$("fold-all").addEventListener("click", () => drawAll({ opened: new Set(), picked: new Set() }));
$("start").addEventListener("click", () => drawAll(firstView()));
window.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey) return;
  const keys = { "/": () => $("search").focus(), f: () => fit(), "+": () => zoom(1.3), "-": () => zoom(1 / 1.3) };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

const networks = document.querySelectorAll('script[type="application/json"]');
networks.forEach((node, i) => $("network").append(new Option(node.dataset.name, i)));
$("network").hidden = networks.length < 2;
$("network").addEventListener("change", () => show($("network").value));
show(0, stage.querySelector("svg")); // the page may come with the first picture
