// The form of a replay: after a change, its plan does not count any more until the server has counted again.
// htmx sends the form 0.4 s after a change; without it, or without this file, "Count" does.
let edits = 0, sent = 0;
function mark() {
  const button = document.querySelector("#replay-button"), note = document.querySelector("#stale");
  if (button) button.disabled = true;
  if (note) note.hidden = false;
}
document.addEventListener("input", (event) => {
  if (!event.target.closest("#choices")) return;
  edits += 1;
  mark();
});
// While workers run old code, this box decides whether the replay would be refused.
document.addEventListener("change", (event) => {
  const button = document.querySelector("#replay-button[data-waits-for-code]");
  if (button && event.target.name === "require_code" && edits === sent) button.disabled = event.target.checked;
});
document.addEventListener("htmx:before:request", (event) => { if (event.target.closest?.("#choices")) sent = edits; });
document.addEventListener("htmx:after:swap", () => {
  if (edits !== sent) mark();
  // The plan of a large stage takes longer than the answer: its page has live numbers.
  else if (document.querySelector("#plan")?.dataset.state === "listing" && edits) location.reload();
});
// The browser may restore the fields of an earlier visit, but not those of the plan.
addEventListener("pageshow", (event) => { if (event.persisted && edits) location.reload(); });
