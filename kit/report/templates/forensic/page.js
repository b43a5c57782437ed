addEventListener("beforeprint", () => document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.relayout(plot, {width: 1120})));
addEventListener("afterprint", () => document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.relayout(plot, {width: null, autosize: true})));
addEventListener("hashchange", show);
addEventListener("DOMContentLoaded", show);
function show() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (target) target.scrollIntoView();
}
