// Runs before the first paint, so that the chosen theme does not flash.
document.documentElement.classList.add("js");
try { const theme = localStorage.getItem("playhead.theme"); if (theme) document.documentElement.dataset.theme = theme; } catch { /* private mode */ }
