// The page: its buttons, keys and menu.

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
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  anchor.download = `${document.title}.svg`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

async function drawAll(opened) {
  choose(null);
  if (await draw(new Set(opened))) begin();
}

async function show(index, svg = null) {
  page.net = JSON.parse($(`network-${index}`).textContent);
  page.hits = [];
  choose(null);
  if (await draw(new Set(page.net.open), null, svg)) begin();
  search();
}

$("cancel").addEventListener("click", cancel);
$("fit").addEventListener("click", () => fit());
$("larger").addEventListener("click", () => zoom(1.3));
$("smaller").addEventListener("click", () => zoom(1 / 1.3));
$("save").addEventListener("click", save);
$("fold-all").addEventListener("click", () => drawAll([]));
$("start").addEventListener("click", () => drawAll(page.net.open));
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
