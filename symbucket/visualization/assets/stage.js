// The drawing: layout by Graphviz in a worker, pan, zoom, and groups that open and fold.

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const MARGIN = 16; // pixels
const page = { net: null, opened: new Set(), lines: new Map(), chosen: null, hits: [], hit: -1,
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

// Draws the network with these groups open. What has the id `anchor` keeps its place on the screen.
// With `svg` the layout is done already.
async function draw(opened, anchor = null, svg = null) {
  const count = shownItems(page.net, opened).size;
  if (count > page.net.large) {
    complain(`That would show ${count.toLocaleString("en-US")} boxes; ${page.net.large} are the most.`
      + " Open inner groups one by one, or search.");
    return false;
  }
  complain("");
  const before = anchor && place(anchor);
  if (!svg) {
    document.body.dataset.state = "busy";
    $("busy").hidden = false;
    const done = await layOut(toDot(page.net, opened));
    if (!done) return false;
    $("busy").hidden = true;
    if (!done.svg) {
      complain(`Graphviz could not lay this out: ${done.trouble}`);
      document.body.dataset.state = "failed";
      return false;
    }
    svg = new DOMParser().parseFromString(done.svg, "image/svg+xml").documentElement;
  }
  page.opened = opened;
  page.lines = shownLines(page.net, opened);
  insert(svg);
  const after = before && place(anchor);
  if (after) {
    // Of a group that is too large for the stage, its beginning shows.
    const dy = after.h > stage.clientHeight ? MARGIN + after.h / 2 - after.y : before.y - after.y;
    move(page.view.x + before.x - after.x, page.view.y + dy, page.view.k);
  }
  $("count").textContent = `${count.toLocaleString("en-US")} of `
    + `${page.net.boxes.length.toLocaleString("en-US")} nodes shown`;
  document.body.dataset.shown = count;
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
    const item = itemOf(node.id);
    const box = page.net.boxes[item];
    name(node, box ? `${box.name} ${box.outputs[0]?.[2] ?? ""}`.trim() : page.net.groups[~item].title);
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
  const [right, bottom] = [x + page.size.w * k, y + page.size.h * k];
  const beyond = { left: -x, top: -y, right: right - stage.clientWidth, bottom: bottom - stage.clientHeight };
  for (const side in beyond) stage.classList.toggle(`more-${side}`, beyond[side] > 8);
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

function isOpen(id) {
  return id[0] === "g" && page.opened.has(Number(id.slice(1)));
}

async function toggle(id) {
  const opened = new Set(page.opened);
  const number = Number(id.slice(1));
  if (!opened.delete(number)) opened.add(number);
  if (await draw(opened, id)) choose(id);
}

// Opens every group around a box or group and brings it to the middle.
async function reveal(id) {
  const opened = new Set([...page.opened, ...groupsAround(page.net, itemOf(id))]);
  if (opened.size > page.opened.size && !(await draw(opened))) return;
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
