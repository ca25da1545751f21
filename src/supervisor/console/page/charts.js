// The last two minutes in four lines, with faults and elections as marks on the same time axis.

import { byId, draw, make, millis, rate, setAttribute, setAttributes, setText } from "./dom.js";

const LASTS = 120_000;
const EVERY = 500;
const HEIGHT = 40;

// Between samples that are further apart nothing was known: the line has a gap.
const GAP = 3000;

const LINES = [
  { name: "writes", title: "Writes", unit: "/s", words: rate, of: (sample) => sample.writes },
  { name: "reads", title: "Reads", unit: "/s", words: rate, of: (sample) => sample.reads },
  { name: "failed", title: "Failures", unit: "/s", words: rate, of: (sample) => sample.failed },
  { name: "latency", title: "Commit", unit: "", words: millis, of: (sample) => sample.latency },
];

const MARKS = {
  "leader-changed": "election",
  "leader-lost": "election lost",
  "fault-began": "fault",
  "fault-ended": "fault over",
};

export class Charts {
  constructor() {
    this.samples = [];
    this.events = [];
    this.charts = LINES.map((line) => chart(line));
    const key = [["election", "election"], ["fault", "fault begins"], ["fault over", "and ends"]];
    byId("charts").append(
      make("h2", {}, "The last two minutes"),
      make("div", { class: "charts" }, ...this.charts.map((one) => one.element)),
      make("p", { class: "chart-key" },
        ...key.map(([name, words]) => make("span", { class: name }, words)),
        make("span", { class: "axis" }, "now is on the right")),
    );
  }

  happened(event) {
    if (MARKS[event.kind]) this.events.push(event);
  }

  // Takes what the nodes did lately.
  sample(view, rates) {
    const newest = this.samples.at(-1);
    if (newest && view.now - newest.at < EVERY) return;
    const served = view.nodes.filter((node) => !node.unknown).map((node) => rates.served(node.id));
    this.samples.push({ at: view.now, ...totals(served.filter((one) => one !== null)) });
  }

  update(view) {
    const first = view.now - LASTS;
    this.samples = this.samples.filter((sample) => sample.at > first);
    this.events = this.events.filter((event) => event.time_millis > first);
    for (const one of this.charts) this.updateChart(one, view, first);
  }

  updateChart({ line, parts, element }, view, first) {
    const values = this.samples.map(line.of).filter((value) => value !== null);
    const top = Math.max(...values, 1e-9) * 1.1;
    setAttribute(parts.path, "d", path(this.samples, line.of, first, top));
    const now = view.offline ? null : line.of(this.samples.at(-1) ?? {});
    const unknown = now === null || now === undefined;
    setText(parts.figure, unknown ? "–" : line.words(now) + line.unit);
    setAttribute(element, "data-zero", unknown || now === 0);
    marks(parts.marks, this.events, first);
  }
}

function totals(served) {
  const sum = (name) => served.reduce((total, one) => total + one[name], 0);
  const known = served.length > 0;
  const commits = sum("commits");
  return {
    writes: known ? sum("writes") : null,
    reads: known ? sum("reads") : null,
    failed: known ? sum("failed") : null,
    latency: commits > 0 ? sum("commitMicros") / commits / 1000 : null,
  };
}

function chart(line) {
  const parts = {
    path: draw("path", { class: "line" }),
    marks: draw("g"),
    figure: make("b", { class: "figure" }, "–"),
  };
  const size = { viewBox: `0 0 ${LASTS / 1000} ${HEIGHT}`, preserveAspectRatio: "none" };
  const picture = draw("svg", { ...size, "aria-hidden": true }, parts.marks, parts.path);
  const head = make("figcaption", {}, make("span", {}, line.title), parts.figure);
  const element = make("figure", { id: `chart-${line.name}`, class: line.name }, head, picture);
  return { line, parts, element };
}

const across = (at, first) => ((at - first) / 1000).toFixed(2);

function path(samples, of, first, top) {
  let words = "";
  let before = null;
  for (const sample of samples) {
    const value = of(sample);
    if (value === null) {
      before = null;
      continue;
    }
    const joined = before !== null && sample.at - before < GAP;
    const up = (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1);
    words += `${joined ? "L" : "M"}${across(sample.at, first)} ${up}`;
    before = sample.at;
  }
  return words;
}

// Lines that are there already are used again.
function marks(group, events, first) {
  while (group.childElementCount > events.length) group.lastElementChild.remove();
  while (group.childElementCount < events.length) group.append(draw("line"));
  events.forEach((event, index) => {
    const x = across(event.time_millis, first);
    const wanted = { x1: x, x2: x, y1: 0, y2: HEIGHT, class: `mark ${MARKS[event.kind]}` };
    setAttributes(group.children[index], wanted);
  });
}
