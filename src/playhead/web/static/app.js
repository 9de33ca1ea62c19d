// Theme, times, copying, keys and live numbers. The pages can be read and used without it.
// Only the theme, the form of times and the switch of the keys are kept in the browser. Filters are in the URL.
const root = document.documentElement;
const kept = (name) => { try { return localStorage.getItem(`playhead.${name}`); } catch { return null; } };
const keep = (name, value) => { try { localStorage.setItem(`playhead.${name}`, value); } catch { /* private mode */ } };
const $ = (selector) => document.querySelector(selector);
const all = (selector, under = document) => under.querySelectorAll(selector);

// -- theme and times
if (kept("theme")) root.dataset.theme = kept("theme");
const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
let times = kept("times") === "local" ? "local" : "utc";
const two = (value) => String(value).padStart(2, "0");
function clock(element) {
  const moment = new Date(element.dateTime);
  if (isNaN(moment)) return;
  const get = (part) => moment[`get${times === "utc" ? "UTC" : ""}${part}`]();
  const day = `${get("FullYear")}-${two(get("Month") + 1)}-${two(get("Date"))}`;
  const time = `${two(get("Hours"))}:${two(get("Minutes"))}:${two(get("Seconds"))}`;
  const text = { full: `${day} ${time}`, time, hour: time.slice(0, 5), day }[element.dataset.form] ?? `${day} ${time}`;
  if (element.textContent !== text) element.textContent = text;
}
function showTimes() {
  for (const one of all("[data-act=utc], [data-act=local]")) one.setAttribute("aria-pressed", one.dataset.act === times);
  for (const one of all("time[datetime]")) clock(one);
}
new MutationObserver((changes) => {
  if (times === "utc") return;
  for (const change of changes) for (const node of change.addedNodes)
    if (node.nodeType === 1) { if (node.matches("time[datetime]")) clock(node); all("time[datetime]", node).forEach(clock); }
}).observe(document.body, { childList: true, subtree: true });
// htmx changes the text of an element in place.
document.addEventListener("htmx:after:settle", showTimes);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act], [data-copy]");
  if (!button) return;
  if (button.dataset.act === "theme") keep("theme", root.dataset.theme = isDark() ? "light" : "dark");
  if (button.dataset.act === "utc" || button.dataset.act === "local") { keep("times", times = button.dataset.act); showTimes(); }
  if (button.dataset.act === "keys") { keep("keys", kept("keys") === "off" ? "on" : "off"); showKeys(); }
  if (button.dataset.copy !== undefined) {
    const text = button.dataset.copy || $(button.dataset.copyFrom)?.textContent || "";
    try { await navigator.clipboard.writeText(text); say("Copied"); } catch { say("Copying is not allowed here"); }
  }
});
function say(text) { const spot = $("#said"); if (spot) { spot.textContent = ""; spot.textContent = text; } }

// -- keys: / find, g then a letter, j and k along rows, e the errors, ? help
const GO = { n: "/", e: "/executions", r: "/replays", d: "/dead-letters", c: "/configs", q: "/queues", p: "/datasets" };
let isGoing = false;
const keysOn = () => kept("keys") !== "off";
function showKeys() { for (const one of all("[data-act=keys]")) one.setAttribute("aria-pressed", keysOn()); }
function step(by) {
  const rows = [...all("[data-rows] tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  if (rows.length) rows[Math.min(Math.max(rows.indexOf(document.activeElement) + by, 0), rows.length - 1)].focus();
}
document.addEventListener("keydown", (event) => {
  if (!keysOn() || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const go = isGoing && GO[event.key];
  isGoing = !isGoing && event.key === "g";
  if (go) location.assign(go);
  else if (event.key === "/") { event.preventDefault(); $(".find input")?.focus(); }
  else if (event.key === "?") location.assign("/help");
  else if ($(`[data-key="${CSS.escape(event.key)}"]`)) {
    event.preventDefault(); // the click may focus a field, which would get the letter
    $(`[data-key="${CSS.escape(event.key)}"]`).click();
  }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "e") $("[data-errors] a, a[data-errors]")?.focus();
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && $(":is(.menu, .confirm)[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});

// -- forms: a second click sends nothing
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => { for (const form of all("form[data-sent]")) delete form.dataset.sent; });

// -- live numbers. A browser has six connections to a server, so at most four of its tabs have a stream.
const SLOTS = 4, POLL = 5000;
const live = $("main")?.dataset.liveUrl;
let source = null, release = null, timer = 0, shape = $("main")?.dataset.shape, isOver = !live, wanted = 0;
function status(word, kind) {
  const spot = $(".live");
  if (!spot) return;
  spot.hidden = !word;
  spot.dataset.kind = kind;
  const text = spot.querySelector("span");
  if (text.textContent !== word) text.textContent = word;
}
function write({ cells, shape: next }) {
  for (const element of all("[data-live]")) {
    const value = cells[element.dataset.live];
    if (value === undefined) continue;
    if (element.tagName === "TIME") { if (element.dateTime !== value) { element.dateTime = value; clock(element); } }
    else if (element.tagName === "PROGRESS" || element.tagName === "METER") element.value = Number(value);
    else if (element.dataset.attr) element.setAttribute(element.dataset.attr, value);
    else if (element.dataset.show !== undefined) element.hidden = !value;
    else if (element.textContent !== value) element.textContent = value;
    if (element.parentNode.matches("tspan.g-num")) element.parentNode.toggleAttribute("hidden", value === "0");
  }
  if (next !== shape) { shape = next; document.body.dispatchEvent(new Event("shape")); }
}
// The numbers do not show everything: a part whose state has changed is drawn again, unless the focus is in it.
// Pages with forms have no such part: htmx draws them again, so that open panels and inputs stay.
document.body.addEventListener("shape", async () => {
  if (!$("[data-part]")) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  const parts = new Map([...all("[data-part]", drawn)].map((part) => [part.dataset.part, part]));
  for (const part of all("[data-part]")) {
    const next = parts.get(part.dataset.part);
    if (next && next.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) part.replaceWith(next);
  }
});
// The server ends a stream whose caller may not read it any more, and refuses the next one.
function isRefused(answer) {
  if (![401, 403].includes(answer?.status)) return false;
  isOver = true;
  free();
  status("Signed out", "off");
  return true;
}
function free() { source?.close(); source = null; clearTimeout(timer); release?.(); release = null; }
async function poll(turn) {
  if (turn !== wanted || isOver) return;
  try {
    const answer = await fetch(live, { headers: { Accept: "application/json" } });
    if (turn !== wanted || isRefused(answer)) return;
    if (answer.ok) { write(await answer.json()); status("Every 5 s", "poll"); } else status("Unavailable", "off");
  } catch { status("Reconnecting", "off"); }
  if (turn === wanted) timer = setTimeout(() => start(turn), POLL);
}
function stream(turn) {
  source = new EventSource(live);
  source.onopen = () => status("Live", "on");
  source.addEventListener("cells", (event) => write(JSON.parse(event.data)));
  source.addEventListener("end", (event) => { write(JSON.parse(event.data)); isOver = true; free(); status("Ended", "off"); });
  source.onerror = async () => {
    status("Reconnecting", "off");
    // After an error response, a browser gives up; after a lost connection, it connects again by itself.
    if (source?.readyState !== EventSource.CLOSED) return;
    free();
    const answer = await fetch(live, { headers: { Accept: "application/json" } }).catch(() => null);
    if (turn === wanted && !isRefused(answer)) timer = setTimeout(() => start(turn), 2000);
  };
}
async function start(turn) {
  if (turn !== wanted || isOver || document.hidden) return;
  for (let slot = 0; slot < SLOTS && navigator.locks; slot++) {
    const got = await new Promise((done) => navigator.locks.request(`playhead-${slot}`, { ifAvailable: true }, (lock) => {
      if (!lock) { done(false); return null; }
      return new Promise((unlock) => { done(unlock); });
    }));
    if (!got) continue;
    if (turn !== wanted || document.hidden) { got(); return; }
    release = got;
    stream(turn);
    return;
  }
  poll(turn);
}
function begin() { free(); wanted += 1; if (!isOver && !document.hidden) start(wanted); }
document.addEventListener("visibilitychange", begin);
addEventListener("pagehide", () => { wanted += 1; free(); });
addEventListener("pageshow", (event) => { if (event.persisted) begin(); });

// -- what is wider than the window begins at what is chosen
for (const one of all(".graph, .lin, .tabs")) {
  const chosen = one.querySelector("[aria-current]") ?? one.querySelector("[data-layer]");
  const box = chosen?.getBoundingClientRect(), view = one.getBoundingClientRect();
  if (box && one.matches(".graph") && box.bottom > view.bottom - 8) one.scrollTop += box.top - view.top - view.height / 3;
  // The names of the rows of a lineage map are at its left, so it is scrolled as little as possible.
  if (box && box.right > view.right - 8) one.scrollLeft += one.matches(".lin") ? box.right - view.right + 8 : box.left - view.left - 16;
}

showTimes();
showKeys();
begin();
