"use strict";
// Values under the pointer: a line in the chart, and a tip with the nearest point of each curve.
const tip = document.createElement("div");
tip.id = "tip";
document.body.append(tip);

function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][2] < x) low = middle; else high = middle;
  }
  return Math.abs(points[low][2] - x) < Math.abs(points[high][2] - x) ? points[low] : points[high];
}

for (const chart of document.querySelectorAll("svg.chart")) {
  if (!chart.dataset.chart) continue;
  const data = JSON.parse(chart.dataset.chart);
  const marks = document.createElementNS("http://www.w3.org/2000/svg", "g");
  chart.append(marks);
  const hide = () => { tip.style.display = "none"; marks.replaceChildren(); };
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("pointermove", (event) => {
    const place = chart.getScreenCTM().inverse();
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(place).x;
    const lines = [];
    marks.replaceChildren();
    let first = null;
    for (const curve of data.curves) {
      const point = nearest(curve.points, x);
      if (first === null) {
        first = point;
        const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
        line.setAttribute("d", `M${point[2]} ${data.top}V${data.bottom}`);
        line.style.stroke = "var(--faint)";
        line.style.strokeDasharray = "3 3";
        marks.append(line);
      }
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      dot.setAttribute("cx", point[2]);
      dot.setAttribute("cy", point[3]);
      dot.setAttribute("r", 4);
      dot.style.fill = curve.colour;
      marks.append(dot);
      const row = document.createElement("div");
      const value = document.createElement("b");
      value.textContent = point[1].toLocaleString(undefined, {maximumSignificantDigits: 5});
      row.append(`${curve.name} `, value, ` at ${point[0].toLocaleString()}`);
      lines.push(row);
    }
    tip.replaceChildren(...lines);
    tip.style.display = "block";
    const right = event.clientX + tip.offsetWidth + 24 > innerWidth;
    tip.style.left = `${event.clientX + (right ? -tip.offsetWidth - 14 : 14)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
}
