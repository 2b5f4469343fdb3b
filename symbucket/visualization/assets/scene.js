"use strict";
// What a network shows with some groups open, in Graphviz's language: symbucket/visualization/scene.py
// and dot.py once more, for the page. Texts and styles come ready with the data.

function htmlEscape(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;").replace(/'/g, "&#x27;");
}

function inSteps(net, i) {
  const parent = net.groups[i].parent;
  return parent >= 0 && net.groups[parent].kind === "steps";
}

// For each group the id of what hides it: the outermost closed group (g3), or the run of steps that
// begins with a group (r7). An open group has "". `view` has the sets opened and picked.
function representatives(net, view) {
  const found = [];
  let run = "";
  net.groups.forEach((group, i) => {
    const above = group.parent >= 0 ? found[group.parent] : "";
    if (above) {
      found.push(above);
    } else if (inSteps(net, i) && !view.picked.has(i)) {
      const steps = net.groups[group.parent].groups;
      const at = steps.indexOf(i);
      run = at > 0 && !view.picked.has(steps[at - 1]) ? run : `r${i}`;
      found.push(run);
    } else {
      found.push(view.opened.has(i) ? "" : `g${i}`);
    }
  });
  return found;
}

function shownCount(net, view) {
  const hidden = representatives(net, view);
  const closed = new Set(hidden.filter((by) => by)).size;
  return closed + net.boxes.filter((b) => b.parent < 0 || !hidden[b.parent]).length;
}

// Id of what shows for a box: itself, or what hides it.
function shownId(net, hidden, box) {
  const parent = net.boxes[box].parent;
  return (parent >= 0 && hidden[parent]) || `b${box}`;
}

function memberOf(net, group, box) {
  let inner = net.boxes[box].parent;
  while (net.groups[inner].parent !== group) inner = net.groups[inner].parent;
  return inner;
}

function crosses(net, id, source, target) {
  if (id[0] === "b") return false;
  const number = Number(id.slice(1));
  const steps = id[0] === "r" ? net.groups[number].parent : number;
  if (net.groups[steps].kind !== "steps") return false;
  return memberOf(net, steps, source) !== memberOf(net, steps, target);
}

function phaseOf(net, id) {
  const number = Number(id.slice(1));
  if (id[0] !== "b") return net.groups[number].phase;
  const parent = net.boxes[number].parent;
  return parent >= 0 ? net.groups[parent].phase : "forward";
}

// The steps of the run that begins with a group.
function runSteps(net, hidden, id) {
  const parent = net.groups[Number(id.slice(1))].parent;
  return net.groups[parent].groups.filter((j) => hidden[j] === id);
}

function runTexts(net, steps) {
  const [first, last] = [net.groups[steps[0]], net.groups[steps[steps.length - 1]]];
  const name = steps.length === 1 ? first.label
    : `${first.label} \u2026 ${last.label}  \u00d7 ${steps.length}`;
  const size = steps.reduce((sum, j) => sum + net.groups[j].size, 0);
  return [name, `${size.toLocaleString("en-US")} nodes`];
}

function makeLines(net, view) {
  const hidden = representatives(net, view);
  const lines = new Map();
  for (let i = 0; i < net.edges.length; i += 3) {
    const [from, to, output] = [net.edges[i], net.edges[i + 1], net.edges[i + 2]];
    const source = shownId(net, hidden, from);
    const target = shownId(net, hidden, to);
    if (source === target && !crosses(net, source, from, to)) continue;
    const id = `${source}-${target}`;
    if (!lines.has(id)) lines.set(id, { id, source, target, values: new Map() });
    lines.get(id).values.set(`${from}:${output}`, [from, output]);
  }
  for (const line of lines.values()) {
    line.values = [...line.values.values()];
    line.text = lineText(net, line.values);
    line.kind = lineKind(net, line);
  }
  return lines;
}

function lineKind(net, line) {
  if (line.source === line.target) return "loop";
  const [source, target] = [phaseOf(net, line.source), phaseOf(net, line.target)];
  if (source !== target) return "stash";
  return source === "backward" ? "backward" : "plain";
}

function lineText(net, values) {
  const counts = new Map();
  for (const [box, output] of values) {
    const shape = net.boxes[box].outputs[output]?.[2] ?? "";
    counts.set(shape, (counts.get(shape) ?? 0) + 1);
  }
  if (counts.has("")) return values.length === 1 ? "" : `${values.length} values`;
  if (counts.size > net.shownShapes) return `${values.length} values`;
  return [...counts].map(([shape, n]) => (n > 1 ? `${n} of ${shape}` : shape)).join("\n");
}

function boxLabel(net, first, second) {
  const text = `<b>${htmlEscape(first)}</b>`;
  if (!second) return text;
  return `${text}<br/><font point-size="9" color="${net.faint}">${htmlEscape(second)}</font>`;
}

function tooltip(text) {
  return htmlEscape(text.replace(/\n/g, ", ").replace(/\\/g, "\\\\")) || " ";
}

function edgeDot(net, line) {
  const attributes = [`id="${line.id}"`];
  if (line.kind === "stash") {
    attributes.push(`tooltip="${tooltip(line.text)}"`);
  } else if (line.text) {
    const parts = line.text.split("\n").map((t) => `&#160;${htmlEscape(t)}&#160;`);
    attributes.push(`label=<${parts.join("<br/>")}>`);
  }
  if (net.edgeStyles[line.kind]) attributes.push(net.edgeStyles[line.kind]);
  const ends = [line.source, line.target];
  if (line.kind === "backward") ends.reverse();
  return `${ends[0]} -> ${ends[1]} [${attributes.join(", ")}]`;
}

function makeDot(net, view, lines) {
  const hidden = representatives(net, view);
  const text = ["digraph {", ...net.header];
  const members = (group) => {
    for (const i of group.boxes) {
      const box = net.boxes[i];
      const label = boxLabel(net, box.first, box.second);
      text.push(`b${i} [id="b${i}", label=<${label}>, ${net.styles[box.style]}]`);
    }
    for (const i of group.groups) {
      const inner = net.groups[i];
      const by = hidden[i];
      if (!by) {
        text.push(`subgraph cluster_g${i} {`);
        text.push(`id="g${i}"; label=<<b>${htmlEscape(inner.first)}</b>>; ${net.styles[inner.frame]}`);
        members(inner);
        text.push("}");
      } else if (by === `g${i}` || by === `r${i}`) {
        const texts = by[0] === "r" ? runTexts(net, runSteps(net, hidden, by))
          : [inner.first, inner.second];
        text.push(`${by} [id="${by}", label=<${boxLabel(net, ...texts)}>, ${net.styles[inner.style]}]`);
      }
    }
  };
  members(net.top);
  for (const line of lines.values()) text.push(edgeDot(net, line));
  text.push("}");
  return text.join("\n") + "\n";
}

// The boxes whose name, operator, values or shapes contain the text; best first.
function findBoxes(net, text) {
  const wanted = text.trim().toLowerCase().replace(/(\d)\s*[x*]\s*(?=\d)/g, "$1\u00d7");
  if (!wanted) return [];
  const ranked = [];
  net.boxes.forEach((box, i) => {
    const name = box.name.toLowerCase();
    let rank = -1;
    if (name === wanted) rank = 0;
    else if (name.startsWith(wanted)) rank = 1;
    else if (name.includes(wanted)) rank = 2;
    else if (box.op.toLowerCase().includes(wanted)) rank = 3;
    else if (box.outputs.some((o) => o[2] === wanted || o[0].toLowerCase().includes(wanted))) rank = 4;
    if (rank >= 0) ranked.push([rank, i]);
  });
  return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((r) => r[1]);
}
