// Draws the figures as they come near, in the colors of the page, and serves their numbers as CSV.
"use strict";

const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)");
const NARROW = 600; // pixels of a plot below which it gets smaller letters and margins
const PAPER = 680; // pixels of a printed plot: the width of A4 between its margins

// --- light and dark --------------------------------------------------------------------------

// A page from a file may be refused its storage; then the choice lasts as long as the page.
const storage = {
  get() {
    try { return localStorage.getItem("neuronlab-theme"); } catch { return null; }
  },
  set(theme) {
    try {
      if (theme) localStorage.setItem("neuronlab-theme", theme);
      else localStorage.removeItem("neuronlab-theme");
    } catch { /* refused */ }
  },
};
let chosen = storage.get(); // "light" or "dark", null where it follows the system

function systemTheme() {
  return prefersDark.matches ? "dark" : "light";
}

function setTheme(theme) {
  root.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) button.textContent = theme === "dark" ? "light" : "dark"; // where a click leads
  return Promise.all([...drawn].map((plot) => Plotly.relayout(plot, themed(plot.layout))));
}

function toggleTheme() {
  const theme = root.dataset.theme === "dark" ? "light" : "dark";
  chosen = theme === systemTheme() ? null : theme;
  storage.set(chosen);
  return setTheme(theme);
}

// --- figures ---------------------------------------------------------------------------------

const drawn = new Set(); // plots that are on the page
const drawing = new Map(); // plot → promise, from the moment it is asked for

// What a figure's layout must say for the theme, as plotly's relayout takes it: "xaxis.gridcolor".
function themed(layout) {
  const style = getComputedStyle(root);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const clear = "rgba(0,0,0,0)";
  const axis = {
    gridcolor: of("line"), zerolinecolor: of("zero"), linecolor: of("zero"), tickcolor: of("zero"),
  };
  const box = { bgcolor: of("raised"), bordercolor: of("line"), "font.color": of("ink") };
  const given = {
    paper_bgcolor: clear, plot_bgcolor: clear, "font.color": of("ink"),
    "legend.bgcolor": clear, "hoverlabel.bgcolor": of("raised"),
    "hoverlabel.bordercolor": of("zero"), "hoverlabel.font.color": of("ink"),
    "modebar.bgcolor": clear, "modebar.color": of("zero"), "modebar.activecolor": of("accent"),
  };
  const put = (path, values) => {
    for (const [key, value] of Object.entries(values)) given[`${path}.${key}`] = value;
  };
  put("xaxis", axis);
  put("yaxis", axis);
  for (const [key, value] of Object.entries(layout)) {
    if (/^[xy]axis\d+$/.test(key)) put(key, axis);
    if (/^scene\d*$/.test(key)) {
      put(key, { bgcolor: clear });
      const side = { ...axis, color: of("ink"), showbackground: false };
      for (const name of ["xaxis", "yaxis", "zaxis"]) put(`${key}.${name}`, side);
    }
    if (key === "sliders") {
      const slider = {
        ...box, bordercolor: of("soft"), activebgcolor: of("accent"), tickcolor: of("zero"),
      };
      value.forEach((_, index) => put(`sliders[${index}]`, slider));
    }
    if (key === "updatemenus") value.forEach((_, index) => put(`updatemenus[${index}]`, box));
  }
  return given;
}

// The same settings as nested objects, for a figure that is yet to be drawn.
function setPaths(layout, given) {
  for (const [path, value] of Object.entries(given)) {
    const names = path.match(/[^.[\]]+/g);
    const last = names.pop();
    let node = layout;
    for (const name of names) node = node[name] ??= {};
    node[last] = value;
  }
}

// Text is as large as the page's; on a phone a little smaller, with less around the plot.
function fitted(layout, width) {
  const narrow = width < NARROW;
  const margin = layout.margin ?? {};
  const given = {
    "font.family": getComputedStyle(document.body).fontFamily,
    "font.size": narrow ? 11 : 13,
    "margin.l": Math.min(margin.l ?? 64, narrow ? (layout.scene ? 8 : 44) : Infinity),
    "margin.r": Math.min(margin.r ?? 16, narrow ? 8 : Infinity),
    "margin.t": margin.t ?? 28,
    "legend.title.font.size": narrow ? 11 : 13,
  };
  if (touch.matches) given.dragmode = false; // a finger on a figure scrolls the page
  for (const [key, value] of Object.entries(layout)) {
    if (/^[xy]axis\d*$/.test(key)) {
      given[`${key}.automargin`] = true;
      given[`${key}.exponentformat`] = value.exponentformat ?? "power"; // no 1μ for 0.000001
      given[`${key}.minorloglabels`] = value.minorloglabels ?? "complete"; // 0.02, not 2
      if (value.title) {
        given[`${key}.title.font.size`] = given["font.size"];
        given[`${key}.title.standoff`] = 12;
      }
    }
    if (/^scene\d*$/.test(key) && narrow) { // from further away, so that it fits
      const eye = { x: 1.25, y: 1.25, z: 1.25, ...value.camera?.eye };
      for (const axis of "xyz") given[`${key}.camera.eye.${axis}`] = 1.7 * eye[axis];
    }
  }
  return given;
}

function fitColorbars(figure) {
  const holders = [
    ...figure.data, ...figure.data.map((trace) => trace.marker ?? {}),
    ...Object.entries(figure.layout).filter(([key]) => /^coloraxis/.test(key)).map(([, v]) => v),
  ];
  for (const { colorbar } of holders) {
    const title = colorbar?.title;
    if (title?.text) title.font = { size: figure.layout.font.size, ...title.font };
  }
}

function draw(plot) {
  if (drawing.has(plot)) return drawing.get(plot);
  const figure = JSON.parse(plot.parentElement.querySelector("script.figure").textContent);
  figure.layout ??= {};
  setPaths(figure.layout, fitted(figure.layout, plot.clientWidth));
  setPaths(figure.layout, themed(figure.layout));
  fitColorbars(figure);
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { filename: plot.parentElement.id, scale: 2 },
  };
  const promise = Plotly.newPlot(plot, { ...figure, config }).then(() => drawn.add(plot));
  drawing.set(plot, promise);
  return promise;
}

function plots() {
  return [...document.querySelectorAll(".plot")];
}

window.renderAll = () => Promise.all(plots().map(draw));

// --- CSV -------------------------------------------------------------------------------------

function download(button) {
  const text = JSON.parse(button.parentElement.querySelector("script.data").textContent);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = button.dataset.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// --- paper -----------------------------------------------------------------------------------

let before = null; // the theme to go back to

function toPaper() {
  before ??= root.dataset.theme;
  setTheme("light");
  for (const plot of plots()) {
    draw(plot);
    Plotly.relayout(plot, { width: PAPER });
  }
}

function fromPaper() {
  if (before === null) return;
  for (const plot of plots()) Plotly.relayout(plot, { width: null, autosize: true });
  setTheme(before);
  before = null;
}

// ---------------------------------------------------------------------------------------------

setTheme(chosen ?? systemTheme()); // now, before anything is shown

document.addEventListener("DOMContentLoaded", () => {
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "600px" });
  plots().forEach((plot) => near.observe(plot));
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", toggleTheme);
  setTheme(root.dataset.theme);
  prefersDark.addEventListener("change", () => { if (!chosen) setTheme(systemTheme()); });
  for (const csv of document.querySelectorAll(".csv")) {
    csv.addEventListener("click", () => download(csv));
  }
  // Plotly rejects the promise of an animation that pause interrupts, with nothing; no error is that.
  addEventListener("unhandledrejection", (event) => {
    if (event.reason === undefined) event.preventDefault();
  });
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
});
