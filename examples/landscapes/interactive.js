"use strict";
/* global Plotly */
// What is chosen stands in `chosen`; `draw` draws all of it, `move` only how far the paths have come.

const element = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const phone = matchMedia("(max-width: 62rem)");
const DATA = JSON.parse(element("data").textContent);
const LAST = DATA.steps.length - 1;
const FIRST_RULES = 6;  // ticked at first

// Okabe and Ito's colours, which colour-blind readers can tell apart, brighter where the page is dark.
const COLOURS = {
  light: ["#0072B2", "#D55E00", "#007A5A", "#C2478F", "#000000", "#B87A00", "#3A9BD9"],
  dark: ["#56B4E9", "#FF8B3D", "#1FD6A0", "#F29AC8", "#FFFFFF", "#F0C929", "#A9A4FF"],
};
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SVG_DASHES = { solid: "", dash: "6 3", dot: "2 2", dashdot: "6 2 2 2" };
const MARKS = ["circle", "square", "diamond", "cross", "x"];  // those that plotly has in space, too

// What to try: words, function, start (0 is that of the pictures), and rates by rule (null is the best one).
const TRIES = [
  ["Give Adam a rate of 1 on Rosenbrock", "rosenbrock", 0, { Adam: 1, Descent: null, Momentum: null }],
  ["Ackley holds Adam in a hollow at 0.3. Does it at 1?", "ackley", 0, { Adam: 0.3, Descent: 0.01, AggMo: null }],
  ["Himmelblau has four minima. Which one does each find?", "himmelblau", 0,
    { Descent: null, Momentum: null, AdaGrad: null, Adam: null, Lion: null, RAdam: null }],
  ["Momentum overshoots on Booth. Does Descent?", "booth", 0, { Descent: null, Momentum: null, Nesterov: null }],
  ["Every step of Lion is equally long. Watch it settle", "booth", 0, { Lion: 1, Adam: 1 }],
];

const chosen = { name: "", start: 0, at: 0, ticked: new Set(), rate: {} };
const paths = {};  // of each function that was looked at, an Int16Array
let playing = 0;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

// The numbers that were written as differences, lower bytes first.
function summed(buffer) {
  const bytes = new Uint8Array(buffer), count = bytes.length / 2, numbers = new Int16Array(count);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const zigzag = bytes[i] | (bytes[count + i] << 8);
    sum = (i % (LAST + 1) ? sum : 0) + ((zigzag >> 1) ^ -(zigzag & 1));
    numbers[i] = sum;
    sum = numbers[i];
  }
  return numbers;
}

const facts = () => DATA.functions[chosen.name];
const names = () => Object.keys(facts().rules);
const ticked = () => names().filter((rule) => chosen.ticked.has(rule));
const theme = () => (dark.matches ? "dark" : "light");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rateText = (rate) => String(rate);
const valueText = (value) => (value < 2e-10 ? "0" : value < 1e-3 ? value.toExponential(1).replace("-", "−") : String(Number(value.toPrecision(2))));

function look(rule) {
  const i = names().indexOf(rule), colours = COLOURS[theme()];
  return { color: colours[i % colours.length], dash: DASHES[Math.floor(i / colours.length)], symbol: MARKS[i % MARKS.length] };
}

// A path from the start: x, y, the value, and the height on the surface, each as an array over the steps shown.
function path(rule) {
  const { rules, starts, region: [[left, right], [bottom, top]] } = facts();
  const place = (names().indexOf(rule) * rules[rule].rates.length + chosen.rate[rule]) * starts.length + chosen.start;
  const part = (k) => Array.from(paths[chosen.name].subarray((3 * place + k) * (LAST + 1), (3 * place + k + 1) * (LAST + 1)));
  const x = part(0).map((n) => left + (n / DATA.places) * (right - left));
  const y = part(1).map((n) => bottom + (n / DATA.places) * (top - bottom));
  const value = part(2).map((n) => 10 ** (n / DATA.decade));
  const lift = 0.012 * scaled(Math.max(...facts().surface.flat()));  // above the surface, to be seen; the lowest value is 0
  return { x, y, value, z: x.map((_, i) => { const z = height(x[i], y[i]); return z === null ? null : z + lift; }) };
}

const scaled = (z) => (facts().steep ? Math.log10(1 + z) : z);

// The height of the surface that is drawn, so that paths lie on it; null beside it.
function height(x, y) {
  const { surface, region: [[left, right], [bottom, top]] } = facts();
  const n = surface.length - 1, u = ((x - left) / (right - left)) * n, v = ((y - bottom) / (top - bottom)) * n;
  if (!(u >= 0 && u <= n && v >= 0 && v <= n)) return null;
  const i = Math.min(Math.floor(u), n - 1), j = Math.min(Math.floor(v), n - 1), a = u - i, b = v - j;
  const [low, high] = [surface[j], surface[j + 1]];
  return (1 - b) * ((1 - a) * scaled(low[i]) + a * scaled(low[i + 1])) + b * ((1 - a) * scaled(high[i]) + a * scaled(high[i + 1]));
}

// Drawing

const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: true };
const shades = () => (dark.matches ? [[0, "#0b1a2b"], [0.5, "#33475b"], [1, "#75879a"]] : [[0, "#6f93b8"], [0.5, "#bcd0e2"], [1, "#f7f1e3"]]);

function layout(more) {
  const font = { color: css("--ink"), family: "system-ui, sans-serif", size: 12 };
  return { font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, ...more };
}

const axis = (more) => ({ gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--faint"), ...more });
const grid = () => {
  const { surface, region: [x, y] } = facts(), n = surface.length - 1;
  const along = ([low, high]) => surface.map((_, i) => low + (i / n) * (high - low));
  return { x: along(x), y: along(y), z: surface };
};

const EYE = { x: -1.05, y: -1.35, z: 1.3 };
let shown = [];  // the paths of the ticked rules
let camera = { eye: EYE, center: { x: 0, y: 0, z: -0.2 } };

// The camera as fingers may have left it, of which plotly tells nobody.
const seenFrom = () => element("space")._fullLayout?.scene._scene.getCamera() ?? camera;

function draw(kept = true) {
  if (kept) camera = seenFrom();
  const rules = ticked(), { minima, starts, region, steep, surface } = facts();
  shown = rules.map((rule) => ({ rule, ...path(rule), ...look(rule) }));
  const [x0, y0] = starts[chosen.start], ink = css("--ink"), paper = css("--paper"), { x, y, z } = grid();
  const across = (points, k) => points.map((p) => p[k]);
  const log = z.map((row) => row.map((f) => Math.log10(Math.max(f, 1e-10))));
  const flat = log.flat().sort((a, b) => a - b), least = flat[Math.floor(0.002 * flat.length)], most = flat[flat.length - 1];
  const lines3 = shown.map(({ rule, color, dash }) => ({ type: "scatter3d", mode: "lines", name: rule, line: { color, dash, width: 6 }, hoverinfo: "name", x: [], y: [], z: [] }));
  const heads3 = { type: "scatter3d", mode: "markers", hoverinfo: "skip", x: [], y: [], z: [],
    marker: { color: across(shown, "color"), symbol: across(shown, "symbol"), size: 6, line: { color: paper, width: 1 } } };
  const stars3 = { type: "scatter3d", mode: "text", text: minima.map(() => "★"), textfont: { size: 22, color: ink }, hoverinfo: "skip",
    x: across(minima, 0), y: across(minima, 1), z: minima.map(([a, b]) => height(a, b)) };
  const start3 = { type: "scatter3d", mode: "markers+text", text: ["start"], textposition: "top center", textfont: { color: ink, size: 13 }, hoverinfo: "skip",
    x: [x0], y: [y0], z: [height(x0, y0)], marker: { color: paper, size: 7, line: { color: ink, width: 3 } } };
  const ground = { type: "surface", x, y, z: z.map((row) => row.map(scaled)), colorscale: shades(), showscale: false, hoverinfo: "skip",
    lighting: { ambient: 0.75, diffuse: 0.5, specular: 0.05, roughness: 0.9 },
    contours: { z: { show: false } }, opacity: 1 };
  const scene = { camera, aspectmode: "manual", aspectratio: { x: 1.25, y: 1.25, z: 0.75 }, dragmode: "turntable",
    xaxis: axis({ title: { text: "x" }, nticks: 5, range: region[0] }), yaxis: axis({ title: { text: "y" }, nticks: 5, range: region[1] }),
    zaxis: axis({ title: { text: steep ? "log₁₀(1 + f)" : "f" }, nticks: 4 }) };
  Plotly.react("space", [ground, stars3, start3, ...lines3, heads3], layout({ margin: { l: 0, r: 0, t: 0, b: 0 }, scene }), CONFIG);

  const fixed = { fixedrange: true, showgrid: false, zeroline: false };
  const hills = { type: "contour", x, y, z: log, colorscale: shades(), zmin: least, zmax: most, hoverinfo: "skip", showscale: false,
    contours: { start: least, end: most, size: (most - least) / 13 }, line: { width: 0.5, color: css("--faint") } };
  const dots = { mode: "markers", hoverinfo: "skip", x: across(starts, 0), y: across(starts, 1), marker: { color: ink, size: 5, opacity: 0.55 } };
  const stars = { mode: "markers", hoverinfo: "skip", x: across(minima, 0), y: across(minima, 1), marker: { symbol: "star", size: 15, color: paper, line: { color: ink, width: 1.5 } } };
  const begin = { mode: "markers", hoverinfo: "skip", x: [x0], y: [y0], marker: { color: paper, size: 12, line: { color: ink, width: 2.5 } } };
  const lines = shown.map(({ rule, color, dash }) => ({ mode: "lines", name: rule, line: { color, dash, width: 2.2 }, hoverinfo: "name", x: [], y: [] }));
  // The marks are the smaller the later they are drawn, so that several at one place are seen as rings.
  const heads = shown.map(({ color, symbol }, i) => ({ mode: "markers", hoverinfo: "skip", x: [], y: [],
    marker: { color, symbol, size: Math.max(8, 16 - 8 * i / Math.max(shown.length - 1, 1)), line: { color: paper, width: 1 } } }));
  // In two plots, one upon the other: contours take long to draw, and stay as they are while paths grow.
  const [wide, tall] = region.map(([low, high]) => high - low), room = element("map").clientWidth - 42;
  const width = Math.min(room, Math.max(0.46 * innerHeight, 240) * (wide / tall)), spare = (room - width) / 2;  // equal scales
  element("map").style.height = `${width * (tall / wide) + 32}px`;
  const map = layout({ margin: { l: 34 + spare, r: 8 + spare, t: 6, b: 26 }, dragmode: false,
    xaxis: axis({ ...fixed, range: region[0] }), yaxis: axis({ ...fixed, range: region[1] }) });
  Plotly.react("hills", [hills, dots], map, CONFIG);
  const bare = { showticklabels: false, showline: false, ticks: "" };
  const over = { ...map, xaxis: { ...map.xaxis, ...bare }, yaxis: { ...map.yaxis, ...bare } };
  Plotly.react("trails", [begin, ...lines, stars, ...heads], over, CONFIG);
  element("bar").style.background = `linear-gradient(to right, ${shades().map(([, colour]) => colour)})`;
  [element("least").textContent, element("most").textContent] = [least, most].map((n) => Number((10 ** n).toPrecision(2)).toLocaleString("en"));

  const values = shown.flatMap(({ value }) => value), floor = Math.max(Math.min(...values, 1), 1e-8), begun = shown.length ? shown[0].value[0] : 1;
  const curves = shown.map(({ rule, color, dash }) => ({ mode: "lines", name: rule, line: { color, dash, width: 2 }, hoverinfo: "name", x: [], y: [] }));
  Plotly.react("loss", curves, layout({ margin: { l: 56, r: 8, t: 6, b: 40 }, dragmode: false, hovermode: "closest",
    xaxis: axis({ title: { text: "step" }, range: [0, DATA.steps[LAST]], fixedrange: true }),
    yaxis: axis({ title: { text: "f(x, y)" }, type: "log", fixedrange: true, exponentformat: "power", dtick: 1, nticks: 8,
      tickmode: "auto", range: [Math.log10(floor) - 0.3, Math.log10(begun) + 0.8] }) }), CONFIG);
  fillTable();
  element("space").dataset.drawn = `${chosen.name} ${rules.length}`;
  move();
}

// Show the paths as far as they have come.
function move() {
  const to = chosen.at + 1, n = shown.length;
  const cut = (key) => shown.map((each) => each[key].slice(0, to)), heads = (key) => shown.map((each) => each[key][chosen.at]);
  const range = (from) => Array.from({ length: n }, (_, i) => from + i);
  if (n) {
    const all = { x: [...cut("x"), heads("x")], y: [...cut("y"), heads("y")], z: [...cut("z"), heads("z")] };
    element("space").layout.scene.camera = seenFrom();
    Plotly.restyle("space", all, range(3).concat(3 + n));
    const ends = [heads("x").map((x) => [x]), heads("y").map((y) => [y])];
    Plotly.restyle("trails", { x: [...cut("x"), ...ends[0]], y: [...cut("y"), ...ends[1]] }, [...range(1), ...range(2 + n)]);
    Plotly.restyle("loss", { x: shown.map(() => DATA.steps.slice(0, to)), y: cut("value") }, range(0));
  }
  element("step").value = chosen.at;
  element("step").setAttribute("aria-valuetext", `step ${DATA.steps[chosen.at]}`);
  element("step-text").textContent = `step ${DATA.steps[chosen.at]} of ${DATA.steps[LAST]}`;
  // For whoever looks at the page from outside.
  element("map").dataset.heads = shown.map(({ x, y }) => `${x[chosen.at].toFixed(3)},${y[chosen.at].toFixed(3)}`).join(" ");
}

const swatch = ({ color, dash }) => `<svg width="30" height="10" aria-hidden="true"><path d="M1 5H29" stroke="${color}" stroke-width="3" stroke-dasharray="${SVG_DASHES[dash]}"/></svg>`;

function fillTable() {
  const { rules, outcomes } = facts(), rank = (text) => (/\d/.test(text) ? +text.replace(",", "") : text === "–" ? 1e9 : 1e10);
  const rows = shown.map((each) => ({ ...each, steps: outcomes[names().indexOf(each.rule)][chosen.rate[each.rule]][chosen.start] }));
  rows.sort((a, b) => rank(a.steps) - rank(b.steps));
  element("table").innerHTML = rows.map((row) => `<tr><td>${swatch(row)} ${row.rule}</td><td>${rateText(rules[row.rule].rates[chosen.rate[row.rule]])}</td>` +
    `<td>${row.steps}</td><td>${row.steps === "diverged" ? "" : valueText(row.value[LAST])}</td></tr>`).join("");
}

// Choices

const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });

async function choose(name, start = 0, wanted = null) {
  pause();
  const known = DATA.functions[name];
  paths[name] ??= summed(await unpacked(known.paths));
  Object.assign(chosen, { name, start, at: LAST });
  camera = { ...camera, eye: EYE };
  const rules = known.rules;
  for (const rule of names()) {
    const place = wanted?.[rule] == null ? -1 : rules[rule].rates.indexOf(wanted[rule]);
    chosen.rate[rule] = place < 0 ? rules[rule].best : place;
  }
  if (wanted) chosen.ticked = new Set(Object.keys(wanted));
  element("function").value = name;
  element("about").textContent = `${known.trait[0].toUpperCase()}${known.trait.slice(1)}. f(x, y) = ${known.formula}`;
  const place = ([x, y]) => `(${[x, y].map((c) => +c.toFixed(2)).join(", ")})`.replaceAll("-", "−");
  element("start").replaceChildren(...known.starts.map((point, i) => option(i, place(point))));
  element("start").value = start;
  listRules();
  draw(false);
}

function listRules() {
  element("rules").replaceChildren(...names().map((rule) => {
    const { rates, best } = facts().rules[rule], row = Object.assign(document.createElement("div"), { className: "rule" });
    row.innerHTML = `<label><input type="checkbox"> ${swatch(look(rule))} <span>${rule}</span></label>`;
    const tick = row.querySelector("input"), select = document.createElement("select");
    select.append(...rates.map((rate, i) => option(i, rateText(rate) + (i === best ? " ★" : ""))));
    select.setAttribute("aria-label", `Learning rate of ${rule}`);
    Object.assign(select, { value: chosen.rate[rule], onchange: () => { chosen.rate[rule] = +select.value; chosen.ticked.add(rule); tick.checked = true; draw(); } });
    Object.assign(tick, { checked: chosen.ticked.has(rule), onchange: () => { chosen.ticked[tick.checked ? "add" : "delete"](rule); draw(); } });
    row.append(select);
    return row;
  }));
}

function setRates(next) {
  for (const rule of names()) {
    const { rates, best } = facts().rules[rule];
    chosen.rate[rule] = Math.min(Math.max(next(chosen.rate[rule], best), 0), rates.length - 1);
  }
  listRules();
  draw();
}

function startAt(i) {
  chosen.start = i;
  element("start").value = i;
  draw();
}

// The start nearest to a tap on the map.
function tapped(event) {
  const box = document.querySelector("#trails .nsewdrag").getBoundingClientRect(), { region: [[left, right], [bottom, top]], starts } = facts();
  const u = (event.clientX - box.left) / box.width, v = 1 - (event.clientY - box.top) / box.height;
  if (u < 0 || u > 1 || v < 0 || v > 1) return;
  const far = starts.map(([x, y]) => Math.hypot((x - left) / (right - left) - u, (y - bottom) / (top - bottom) - v));
  startAt(far.indexOf(Math.min(...far)));
}

// The player

let begun, from;  // since when it plays, and from which step

// By a timer, which leaves a slow machine time to hear the reader between two pictures.
function frame() {
  const at = Math.min(from + Math.floor(((performance.now() - begun) / 1000) * +element("speed").value), LAST);
  if (at !== chosen.at) { chosen.at = at; move(); }
  if (at === LAST) pause();
  else playing = setTimeout(frame, 16);
}

function play() {
  if (chosen.at === LAST) { chosen.at = 0; move(); }
  [begun, from] = [performance.now(), chosen.at];
  element("play").textContent = "⏸ Pause";
  playing = setTimeout(frame, 16);
}

function pause() {
  clearTimeout(playing);
  playing = 0;
  element("play").textContent = "▶ Play";
}

function go(at) {
  pause();
  chosen.at = Math.min(Math.max(at, 0), LAST);
  move();
}

// The camera

function turn(way, by = 1) {
  const { eye } = seenFrom(), r = Math.hypot(eye.x, eye.y, eye.z);
  const around = Math.atan2(eye.y, eye.x) + 0.2 * by * ((way === "right") - (way === "left"));
  const up = Math.min(Math.max(Math.asin(eye.z / r) + 0.15 * by * ((way === "up") - (way === "down")), -0.2), 1.5);
  const far = Math.min(Math.max(r * (way === "nearer" ? 1 / (1 + 0.15 * by) : way === "farther" ? 1 + 0.15 * by : 1), 0.6), 5);
  camera = { ...camera, eye: { x: far * Math.cos(up) * Math.cos(around), y: far * Math.cos(up) * Math.sin(around), z: far * Math.sin(up) } };
  Plotly.relayout("space", { "scene.camera": camera });
}

// Two fingers zoom.
function pinch(box) {
  let apart = 0;
  const distance = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  box.addEventListener("touchstart", (e) => { apart = e.touches.length === 2 ? distance(e.touches) : 0; }, { passive: true });
  box.addEventListener("touchmove", (e) => {
    if (e.touches.length !== 2 || !apart) return;
    e.preventDefault();
    const now = distance(e.touches);
    turn(now > apart ? "nearer" : "farther", Math.abs(now / apart - 1) / 0.15);
    apart = now;
  }, { passive: false });
}

const TURNS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "nearer", "=": "nearer", "-": "farther" };

function wire() {
  element("function").append(...Object.entries(DATA.functions).map(([name, { title }]) => option(name, title)));
  element("function").onchange = (event) => choose(event.target.value);
  element("start").onchange = (event) => startAt(+event.target.value);
  element("slower").onclick = () => setRates((at) => at - 1);
  element("faster").onclick = () => setRates((at) => at + 1);
  element("best").onclick = () => setRates((_, best) => best);
  element("none").onclick = () => { chosen.ticked.clear(); listRules(); draw(); };
  for (const [words, name, start, rules] of TRIES.filter(([, name]) => name in DATA.functions)) {
    const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    button.onclick = async () => { await choose(name, start, rules); element("space").scrollIntoView({ block: "nearest" }); chosen.at = 0; play(); };
    item.append(button);
    element("tries").append(item);
  }
  element("step").max = LAST;
  element("step").oninput = (event) => go(+event.target.value);
  element("play").onclick = () => (playing ? pause() : play());
  element("back").onclick = () => go(chosen.at - 1);
  element("forward").onclick = () => go(chosen.at + 1);
  element("speed").onchange = () => { [begun, from] = [performance.now(), chosen.at]; };
  for (const button of document.querySelectorAll("[data-turn]")) button.onclick = () => turn(button.dataset.turn);
  element("space").addEventListener("keydown", (event) => {
    if (TURNS[event.key]) { turn(TURNS[event.key]); event.preventDefault(); }
  });
  pinch(element("space"));
  let pressed;
  element("map").addEventListener("pointerdown", (event) => { pressed = event; }, true);
  element("map").addEventListener("pointerup", (event) => {
    if (pressed && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < 10) tapped(event);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !event.target.closest("button, input, select, summary")) { playing ? pause() : play(); event.preventDefault(); }
    if (event.key === "," || event.key === ".") go(chosen.at + (event.key === "." ? 1 : -1));
  });
  dark.addEventListener("change", () => { listRules(); draw(); });
  addEventListener("resize", () => draw());
}

async function begin() {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpacked(element("plotly").textContent));
  document.head.append(script);
  const name = "himmelblau" in DATA.functions ? "himmelblau" : Object.keys(DATA.functions)[0];
  chosen.ticked = new Set(Object.keys(DATA.functions[name].rules).slice(0, FIRST_RULES));
  wire();
  element("rules-box").open = !phone.matches;
  await choose(name);
  document.body.dataset.ready = "yes";
}

begin().catch((error) => {
  Object.assign(element("failure"), { hidden: false, textContent: `The page could not be drawn: ${error.message}` });
  throw error;
});
