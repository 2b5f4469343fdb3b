// The pane: what is chosen, or the whole network; and search.

const MAX_HITS = 50;
const SVG = "http://www.w3.org/2000/svg";

function element(tag, text = "", ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function link(text, id) {
  const anchor = element("a", text);
  anchor.href = "#";
  anchor.addEventListener("click", (event) => {
    event.preventDefault();
    reveal(id);
  });
  return anchor;
}

function list(title, items) {
  if (!items.length) return [];
  return [element("h2", title), element("ul", "", ...items)];
}

function valueText([, dtype, shape]) {
  return [dtype, shape || "shape unknown"].filter(Boolean).join(" ");
}

function folders(item) {
  return groupsAround(page.net, item).reverse().map((i) => page.net.groups[i].title).join(" / ");
}

function facts(pairs = []) {
  const rows = pairs.map(([name, text]) => element("tr", "", element("th", name), element("td", text)));
  return rows.length ? [element("table", "", ...rows)] : [];
}

// Bars over the values from the least to the most, the highest as high as the picture.
function histogram(counts = []) {
  if (!counts.length) return [];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${counts.length} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.classList.add("histogram");
  counts.forEach((count, i) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = (10 * count) / Math.max(...counts);
    const sizes = { x: i + 0.1, y: 10 - height, width: 0.8, height };
    for (const [name, size] of Object.entries(sizes)) bar.setAttribute(name, size);
    svg.append(bar);
  });
  return [svg];
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
  const attributes = Object.entries(box.attributes ?? {}).map(([name, value]) =>
    element("li", `${name} = ${value}`));
  return [
    element("h2", box.name), element("p", [box.op, box.kind].filter(Boolean).join(", ")),
    element("p", folders(number)), ...facts(box.facts), ...histogram(box.histogram),
    ...list("Attributes", attributes),
    ...list("Inputs", inputs), ...list("Outputs", outputs), ...list("Read by", readers),
  ];
}

function button(text, name, act) {
  const node = element("button", text);
  node.id = name;
  node.addEventListener("click", act);
  return node;
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
  const item = itemOf(id);
  const { boxes, groups, title, ...group } = page.net.groups[~item];
  const inner = [...groups.map((i) => element("li", "", link(page.net.groups[i].title, `g${i}`))),
    ...boxes.map((i) => element("li", "", link(page.net.boxes[i].name, `b${i}`)))];
  return [element("h2", title), element("p", folders(item)),
    button(isOpen(id) ? "Fold" : "Open", "toggle", () => toggle(id)), ...facts(group.facts),
    ...list("Inside", inner.slice(0, 2 * MAX_HITS)),
    ...list("Operators", operatorRows(boxesInside(page.net, item)))];
}

function lineDetails({ source, target }) {
  const values = valuesBetween(page.net, source, target);
  const items = values.slice(0, 2 * MAX_HITS).map(([box, output]) => {
    const value = page.net.boxes[box].outputs[output] ?? [page.net.boxes[box].name, "", ""];
    return element("li", "", link(value[0] || page.net.boxes[box].name, `b${box}`),
      element("small", valueText(value)));
  });
  const count = values.length;
  return [element("h2", count === 1 ? "One value" : `${count.toLocaleString("en-US")} values`),
    element("ul", "", ...items)];
}

function summaryDetails() {
  const { groups, ...network } = page.net.summary;
  const rows = groups.slice(0, 2 * MAX_HITS).map(([id, title, text, share]) => {
    const row = element("li", "", link(title, id), element("small", text));
    if (share) {
      const bar = element("i", "");
      bar.style.width = `${100 * share}%`;
      row.append(element("span", "", bar), element("b", `${(100 * share).toFixed(1)} %`));
    }
    return row;
  });
  const shares = list("Groups", rows);
  if (rows.length) shares[1].classList.add("shares");
  return [element("h2", "Network"), ...facts(network.facts), ...shares];
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
  for (const box of page.hits) {
    document.getElementById(itemId(shownFor(page.net, page.opened, box)))?.classList.add("found");
  }
  const chosen = page.chosen && !page.chosen.includes("-") && !isOpen(page.chosen);
  stage.classList.toggle("focused", Boolean(chosen));
  if (!page.chosen) return;
  document.getElementById(page.chosen)?.classList.add("chosen");
  if (!chosen) return;
  markPath("source", "target");
  markPath("target", "source");
}

// Marks what leads away from what is chosen (or to it), the next lines more than the others.
function markPath(from, to) {
  const reached = new Set([itemOf(page.chosen)]);
  for (const item of reached) { // a set also yields what is added meanwhile
    document.getElementById(itemId(item))?.classList.add("path");
    for (const line of page.lines.values()) {
      if (line[from] !== item) continue;
      const mark = itemId(item) === page.chosen ? "near" : "path";
      document.getElementById(line.id)?.classList.add(mark);
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

