// Choosing a stage, a route or a view changes the main part of the page only: its place and the focus stay.
const address = () => location.pathname + location.search;
let shown = address();
async function show(href) {
  const answer = await fetch(href).catch(() => null);
  const next = answer?.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!next) return location.assign(href);
  const main = document.querySelector("main"), graph = main.querySelector(".graph");
  const from = main.contains(document.activeElement) ? document.activeElement : null;
  main.replaceChildren(...next.childNodes);
  main.querySelector(".graph")?.scrollTo(graph?.scrollLeft ?? 0, graph?.scrollTop ?? 0);
  const isSame = (one) => from.id ? one.id === from.id : one.getAttribute("href") === from.getAttribute("href");
  if (from) [...main.querySelectorAll("a")].find(isSame)?.focus({ preventScroll: true });
}
document.addEventListener("click", (event) => {
  const href = event.target.closest?.("main a[href^='?']:not([href*='#'])")?.getAttribute("href");
  if (!href || event.button || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", href);
  show(shown = address());
});
addEventListener("popstate", () => { if (address() !== shown) show(shown = address()); });

// Arrow keys in the drawing of a pipeline: left and right along edges, up and down within a column.
// Boxes are links, so everything also works without this script.
const links = (box) => [...box.closest("[data-graph]").querySelectorAll("a[data-layer]")];
let from = null; // the box that the last step left, so that a step back returns to it

document.addEventListener("keydown", (event) => {
  const here = event.target.closest?.("[data-graph] a[data-layer]");
  if (!here || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  let to = null;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    const ids = here.dataset[event.key === "ArrowRight" ? "next" : "prev"].split(" ").filter(Boolean);
    to = document.getElementById(from && ids.includes(from) ? from : ids[0]);
    from = here.parentNode.querySelector("a").id;
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const column = links(here).filter((one) => one.dataset.layer === here.dataset.layer);
    to = column[column.indexOf(here) + (event.key === "ArrowDown" ? 1 : -1)];
  } else if (event.key === "Home" || event.key === "End") {
    to = links(here).at(event.key === "Home" ? 0 : -1);
  } else return;
  event.preventDefault();
  if (!to) return;
  to.focus({ preventScroll: true });
  to.scrollIntoView({ block: "nearest", inline: "nearest" });
});
