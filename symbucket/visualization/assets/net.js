"use strict";
// A network as Python sends it. Every box, group and line comes as a piece of Graphviz's language;
// `opened`, a set of groups, says which pieces show. An item is a box (3) or a group (-4, i.e. ~3).

function itemId(item) {
  return item >= 0 ? `b${item}` : `g${~item}`;
}

function itemOf(id) {
  const number = Number(id.slice(1));
  return id[0] === "b" ? number : ~number;
}

// What shows: boxes and closed groups, as they lie in the open ones.
function shownItems(net, opened, group = net.top, items = new Set()) {
  for (const i of group.boxes) items.add(i);
  for (const i of group.groups) {
    if (opened.has(i)) shownItems(net, opened, net.groups[i], items);
    else items.add(~i);
  }
  return items;
}

function shownLines(net, opened) {
  const items = shownItems(net, opened);
  const lines = new Map();
  for (let i = 0; i < net.lines.length; i += 3) {
    const [source, target, style] = net.lines.slice(i, i + 3);
    if (!items.has(source) || !items.has(target)) continue;
    const id = `${itemId(source)}-${itemId(target)}`;
    lines.set(id, { id, source, target, ...net.lineStyles[style] });
  }
  return lines;
}

function toDot(net, opened) {
  const text = ["digraph {", ...net.header];
  const members = (group) => {
    for (const i of group.boxes) text.push(`b${i} [id="b${i}", ${net.boxes[i].dot}]`);
    for (const i of group.groups) {
      if (opened.has(i)) {
        text.push(`subgraph cluster_g${i} {\nid="g${i}"; ${net.groups[i].frame}`);
        members(net.groups[i]);
        text.push("}");
      } else {
        text.push(`g${i} [id="g${i}", ${net.groups[i].dot}]`);
      }
    }
  };
  members(net.top);
  for (const { id, source, target, dot, up } of shownLines(net, opened).values()) {
    const ends = up ? [target, source] : [source, target];
    text.push(`${itemId(ends[0])} -> ${itemId(ends[1])} [id="${id}", ${dot}]`);
  }
  text.push("}");
  return text.join("\n") + "\n";
}

// The groups around an item, outwards.
function groupsAround(net, item) {
  const groups = [];
  let i = item >= 0 ? net.boxes[item].parent : net.groups[~item].parent;
  for (; i >= 0; i = net.groups[i].parent) groups.push(i);
  return groups;
}

// What shows for an item: itself, or the outermost closed group around it.
function shownFor(net, opened, item) {
  return groupsAround(net, item).reduce((at, i) => (opened.has(i) ? at : ~i), item);
}

function boxesInside(net, item) {
  if (item >= 0) return [item];
  const group = net.groups[~item];
  return [...group.boxes, ...group.groups.flatMap((i) => boxesInside(net, ~i))];
}

// The values, as [box, output], that run from one item to another.
function valuesBetween(net, source, target) {
  const [from, to] = [source, target].map((item) => new Set(boxesInside(net, item)));
  const values = new Map();
  for (let i = 0; i < net.edges.length; i += 3) {
    const [box, reader, output] = net.edges.slice(i, i + 3);
    if (from.has(box) && to.has(reader)) values.set(`${box}:${output}`, [box, output]);
  }
  return [...values.values()];
}

// The boxes whose name, operator, values or shapes contain the text; best first.
function findBoxes(net, text) {
  const sought = text.trim().toLowerCase().replace(/(\d)\s*[x*]\s*(?=\d)/g, "$1\u00d7");
  if (!sought) return [];
  const ranked = [];
  net.boxes.forEach((box, i) => {
    const name = box.name.toLowerCase();
    let rank = -1;
    if (name === sought) rank = 0;
    else if (name.startsWith(sought)) rank = 1;
    else if (name.includes(sought)) rank = 2;
    else if (box.op.toLowerCase().includes(sought)) rank = 3;
    else if (box.outputs.some((o) => o[2] === sought || o[0].toLowerCase().includes(sought))) rank = 4;
    if (rank >= 0) ranked.push([rank, i]);
  });
  return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((r) => r[1]);
}
