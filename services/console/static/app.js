"use strict";
// What the pages do beside what they say: all of them work without this file, except the live drawing on Now.

document.documentElement.classList.add("script");

// Keys: a button with data-key is pressed by that key, unless something is being typed.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const at = event.target;
  if (at instanceof HTMLTextAreaElement || (at instanceof HTMLInputElement && at.type !== "radio")) return;
  const key = event.key.toLowerCase();
  if (!document.querySelector(`[data-key="${CSS.escape(key)}"]`)) return;
  event.preventDefault();
  if (pressed.length || document.querySelector(".htmx-request")) {
    if ("su".includes(key)) pressed.push(key);
    else say("That key came before the next pair was there, so it was not counted.");
    return;
  }
  pressed.push(key);
  pressNext();
});

// While a vote is under way, skip and undo wait. A vote does not: it would be on a pair that nobody has seen, and the page says so.
const pressed = [];
let again = 0;
function pressNext() {
  const working = document.querySelector(".htmx-request");
  document.getElementById("desk")?.classList.toggle("busy", Boolean(working));
  if (working) {
    clearTimeout(again);
    again = setTimeout(pressNext, 50);
    return;
  }
  if (!pressed.length) return;
  const button = document.querySelector(`[data-key="${CSS.escape(pressed.shift())}"]`);
  if (button && !button.disabled) button.click();
  else pressNext();
}
document.addEventListener("htmx:beforeRequest", () => setTimeout(pressNext));
document.addEventListener("htmx:afterSettle", () => setTimeout(pressNext));
document.addEventListener("htmx:responseError", () => { pressed.length = 0; });
document.addEventListener("htmx:sendError", () => { pressed.length = 0; });

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  event.target.querySelector("button").disabled = true;
  event.target.querySelector(".working").textContent = "being described, embedded, assigned…";
});

document.addEventListener("click", (event) => {
  if (event.target.matches(".example")) {
    const prompt = document.getElementById("prompt");
    prompt.value = event.target.textContent;
    prompt.focus();
  }
});

// A page that is shown again from the browser's memory has its buttons back.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-once] button")) button.disabled = false;
});

// htmx: what went wrong is shown where the answer would have been.
document.addEventListener("htmx:responseError", (event) => {
  const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  const text = page.querySelector("[role=alert]");
  say(text ? text.textContent : `The console answered ${event.detail.xhr.status}.`);
});
document.addEventListener("htmx:sendError", () => say("The console does not answer. Your vote was not recorded; try again."));

function say(text) {
  document.querySelector("main > .wrong.floating")?.remove();
  const line = document.createElement("p");
  line.className = "wrong floating";
  line.setAttribute("role", "alert");
  line.textContent = text;
  document.querySelector("main").prepend(line);
}

// Now: decisions come several at a time and are drawn in one frame.
const list = document.getElementById("latest");
if (list) live(list);

function live(list) {
  const numbers = document.getElementById("numbers");
  const pause = document.getElementById("pause");
  const drawn = charts(JSON.parse(document.getElementById("series").textContent));
  const source = new EventSource("/now/events");
  let waiting = null;
  let paused = false;
  let held = []; // the newest first; each has at least one row, and 25 are shown

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) rows();
  });
  source.onmessage = (event) => {
    const news = JSON.parse(event.data);
    drawn.add(news.series);
    if (waiting && !news.whole) {
      news.rows += waiting.rows;
      news.whole = waiting.whole;
    }
    const first = waiting === null;
    waiting = news;
    if (first) requestAnimationFrame(draw);
  };
  source.onerror = () => numbers.classList.add("stale");
  source.onopen = () => numbers.classList.remove("stale");
  window.addEventListener("pagehide", () => source.close());

  function draw() {
    const news = waiting;
    waiting = null;
    numbers.innerHTML = news.numbers;
    drawn.draw();
    if (news.rows) held = news.whole ? [news] : [news, ...held].slice(0, 25);
    if (!paused) rows();
  }

  function rows() {
    const parts = held;
    held = [];
    if (!parts.length) return;
    document.getElementById("nothing")?.remove();
    // The server has written these rows and escaped what is foreign in them, as it does for a page.
    for (const news of parts.reverse()) {
      if (news.whole) list.innerHTML = news.rows;
      else list.insertAdjacentHTML("afterbegin", news.rows);
    }
    while (list.rows.length > 25) list.deleteRow(-1);
  }
}

function charts(series) {
  const keep = 120;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const made = [];
  const make = (id, keys, names) => {
    const place = document.getElementById(id);
    const clock = (_plot, at) => at.map((s) => new Date(1000 * s).toISOString().slice(11, 19));
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const size = () => ({ width: Math.max(200, place.clientWidth), height: 170 });
    const plot = new uPlot(
      {
        ...size(),
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high ?? 1) * 1.1)] } },
        axes: [{ ...axis, values: clock, space: 90 }, { ...axis, size: 56 }],
        series: [{}, ...names.map((name) => ({ stroke: colour(name), width: 2, points: { show: false } }))],
      },
      [series.at, ...keys.map((key) => series[key])],
      place,
    );
    new ResizeObserver(() => plot.setSize(size())).observe(place);
    made.push(() => plot.setData([series.at, ...keys.map((key) => series[key])]));
  };
  make("rate", ["rate"], ["--first"]);
  make("latency", ["p50", "p99"], ["--first", "--second"]);
  let changed = false;
  return {
    add(news) {
      news.at.forEach((at, i) => {
        if (series.at.length && at <= series.at[series.at.length - 1]) return;
        for (const key of Object.keys(series)) series[key].push(news[key][i]);
        changed = true;
      });
      for (const key of Object.keys(series)) series[key].splice(0, series[key].length - keep);
    },
    draw() {
      if (changed) made.forEach((one) => one());
      changed = false;
    },
  };
}
