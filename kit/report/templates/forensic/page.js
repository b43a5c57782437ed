const NARROW = matchMedia("(max-width: 1000px)");
addEventListener("beforeprint", () => {
  document.querySelectorAll("details.block").forEach(box => { box.dataset.was = box.open; box.open = true; });
  document.querySelectorAll(".js-plotly-plot").forEach(plot => {
    const labels = (plot.layout.annotations || []).map((_, place) => [`annotations[${place}].visible`, true]);
    Plotly.relayout(plot, {width: 1120, ...Object.fromEntries(labels)});
  });
});
addEventListener("afterprint", () => {
  document.querySelectorAll("details[data-was]").forEach(box => { box.open = box.dataset.was === "true"; });
  document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.relayout(plot, {width: null, autosize: true}));
});
addEventListener("hashchange", show);
addEventListener("DOMContentLoaded", () => { fit(); show(); });
NARROW.addEventListener("change", fit);
function fit() {
  document.querySelectorAll("nav > details, details.narrow").forEach(box => { box.open = !NARROW.matches; });
}
function show() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (target) target.scrollIntoView();
}
