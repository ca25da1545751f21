// Draws the report from its data. Whatever comes from the data reaches the page as text, never as
// markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { statistics, curves } = data;

// ── words ──────────────────────────────────────────────────────────────────────────────────────
const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 0 });
function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 0)} ms`;
  return seconds < 60 ? `${seconds.toFixed(2)} s` : `${(seconds / 60).toFixed(1)} min`;
}
const at = (seconds) => `${seconds.toFixed(3)} s`;
const many = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;

// ── elements ───────────────────────────────────────────────────────────────────────────────────
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") made.onclick = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}
const card = (...children) => element("section", { class: "card" }, ...children);
function table(head, rows) {
  const row = (tag) => (cells) => element("tr", null, ...cells.map((c) => element(tag, null, c)));
  const all = element("table", null, element("thead", null, row("th")(head)),
    element("tbody", null, ...rows.map(row("td"))));
  return element("div", { class: "scroll" }, all);
}

// ── the page above and below the plot ──────────────────────────────────────────────────────────
const sum = (of) => statistics.operations.reduce((total, row) => total + row[of], 0);
const injected = statistics.faults.reduce((total, row) => total + row.injected, 0);
const sentence = {
  valid: "Every answer is explained by one order of all operations, and the cluster came back.",
  violation: "Something that was promised did not hold: see below.",
  unknown: "Nothing speaks against it, but not everything could be judged.",
}[data.verdict];

function head() {
  const when = new Date(data.began_unix_millis).toISOString().replace("T", " ").slice(0, 19);
  const about = `${many(data.operations.count, "operation")} on ` +
    `${many(data.keys_judged, "key")}, ${many(injected, "fault")} in ${time(statistics.seconds)}.`;
  const looks = { yes: {}, no: { class: "broken" }, unknown: { class: "unseen" } };
  const checks = data.expectations.map((it) => element("li", looks[it.held],
    element("b", null, it.name), ` — ${it.detail}`));
  return [
    element("div", { class: "top" }, element("h1", null, "kvctl verify"),
      element("span", null, `cluster ${data.cluster.name} · seed ${data.seed} · ${when} UTC`)),
    element("section", { class: `card ${data.verdict}` },
      element("div", { class: "verdict" }, element("span", { class: "badge" }, data.verdict),
        element("p", null, `${about} ${sentence}`)),
      element("ul", { class: "checks" }, ...checks)),
  ];
}

function tiles() {
  const { longest_gap: gap, latency_seconds: latency, leaders } = statistics;
  const tile = (value, label) => element("div", { class: "tile" }, element("b", null, value),
    element("span", null, label));
  return element("div", { class: "tiles" },
    tile(number(sum("ok")), `ok · ${number(sum("fail") + sum("mismatch"))} failed · ` +
      `${number(sum("info"))} unknown`),
    tile(`${number(statistics.ops_per_second)}/s`, "operations answered"),
    tile(time(latency.p50), `median · p99 ${time(latency.p99)}`),
    tile(number(injected), "faults injected"),
    tile(number(leaders.leaderships), `leaderships · terms ${leaders.first_term}–` +
      `${leaders.last_term}`),
    tile(time(gap.seconds), `longest without a write, at ${time(gap.began_seconds)}`));
}

function stories() {
  if (data.violations.length === 0) return null;
  const story = (it) => element("div", { class: "story" },
    element("h3", null, `${it.property} of `, element("code", null, it.key), " is violated"),
    element("ol", null, ...it.story.map((line) => element("li", null, line))),
    element("p", { class: "why" }, it.why),
    it.span
      ? element("button", { onclick: () => show(it.span) }, "show it in the timeline")
      : null);
  const [first, more] = [data.violations.slice(0, 2), data.violations.slice(2)];
  const summary = element("summary", null, `${many(more.length, "more key")} with a contradiction`);
  return card(element("h2", null, "The contradiction, made small"),
    ...first.map(story),
    more.length > 0 ? element("details", null, summary, ...more.map(story)) : null,
    element("p", { class: "note" }, "Judge it again: ", element("code", null, data.check_again)));
}

function figures() {
  const { watches, casualties: toll } = statistics;
  const spread = ({ median, max }) => [time(median), time(max)];
  const faults = statistics.faults.map((row) => [row.kind,
    number(row.injected) + (row.refused ? ` (+${row.refused} refused)` : ""),
    ...spread(row.silence_seconds), ...spread(row.recovery_seconds)]);
  const operations = statistics.operations.map((row) =>
    [row.f, ...["ok", "fail", "mismatch", "info"].map((of) => number(row[of]))]);
  const led = statistics.leaders.nodes.map((row) => [`node ${row.node}`, time(row.seconds)]);
  led.push(["nobody", time(statistics.leaders.leaderless_seconds)]);
  const { workload, cluster } = data;
  const facts = [
    ["seed", String(data.seed)],
    ["clients", `${workload.clients}, at most ${number(workload.rate)} operations a second`],
    ["workloads", `${workload.kinds.join(", ")}; ${workload.keys} keys each, ` +
      `${workload.operations_per_key} operations a key; ${workload.reads} reads`],
    ["time-outs", `${number(workload.timeout_millis / 4)} to ` +
      `${number(workload.timeout_millis)} ms`],
    ["faults", data.allowed_faults.join(", ") || "none"],
    ["cluster", `${cluster.nodes} nodes, transport ${cluster.transport}, ` +
      `durability ${cluster.durability}`],
    ["build", `nodes ${cluster.build}, kvctl ${data.build}`],
    ["history", `${number(data.history.lines)} lines, XXH3 ${data.history.xxh3}`],
    ["lies at", data.history.path],
    ["judge again", data.check_again],
  ];
  const list = element("dl", null, ...facts.flatMap(([name, value]) =>
    [element("dt", null, name), element("dd", null, value)]));
  return [
    card(element("h2", null, "Faults, and how soon it was over"),
      table(["kind", "injected", "silence", "at most", "recovery", "at most"], faults),
      element("p", { class: "note" }, "Silence: the longest time without an acknowledged write " +
        "that touches the fault. Recovery: from its end to the next acknowledged write. Medians " +
        "and worst cases.")),
    element("div", { class: "columns" },
      element("div", null,
        card(element("h2", null, "Operations"),
          table(["function", "ok", "fail", "mismatch", "unknown"], operations),
          element("p", { class: "note" }, `${number(statistics.final_reads)} of the reads came ` +
            "at the end: every key through every node."),
          watches && element("p", { class: "note" }, `${number(watches.watches)} watches were ` +
            `told ${number(watches.events)} events over ${number(watches.interruptions)} ` +
            `interruptions; ${number(watches.compactions)} began again after a compaction. The ` +
            `longest time that one heard nothing: ${time(watches.longest_silence_seconds)}.`)),
        card(element("h2", null, "Who led"), table(["node", "for"], led),
          element("p", { class: "note" }, `${number(toll.leader_changes)} changes of leader, ` +
            `${number(toll.node_starts)} starts of nodes; at least ` +
            `${number(toll.snapshots_installed)} snapshots were installed, ` +
            `${number(toll.snapshots_installed_under_watches)} of them at a node where a watch ` +
            "stood."))),
      card(element("h2", null, "What was run"), list)),
  ];
}

// ── the plot ───────────────────────────────────────────────────────────────────────────────────
const style = getComputedStyle(document.documentElement);
const color = (name) => style.getPropertyValue(`--${name}`).trim();
const [OK, FAIL, MISMATCH] = [0, 1, 2];
const TOLD = 10; // in a row: whether it is part of a contradiction
const LEFT = 124, RIGHT = 10, AXIS = 22, GAP = 18;
const kinds = [...new Set(data.injuries.map((it) => it.kind))].sort();
const faults = data.injuries.filter((it) => !it.refused).sort((a, b) => a.begun - b.begun);
const lanes = data.lanes.map(() => []);
for (const row of data.operations.rows) lanes[row[0]].push(row);
const total = Math.max(data.end, 0.001);
let view = [0, total];
let mark = null; // of the mouse or of a selection: seconds
let drag = null;
let chosen = -1; // the fault that the keyboard is at

const LOOKS = ["read", "watch"];
const LANE = data.lanes.length > 40 ? 7 : 12;
const sections = [
  { name: "leader", height: 20, draw: drawLeaders, tell: tellLeader },
  { name: "faults", height: Math.max(1, kinds.length) * 13, draw: drawFaults, tell: tellFault },
  { name: "operations a second", height: 96, draw: drawRates, tell: tellCurves },
  { name: "latency", height: 96, draw: drawLatency, tell: tellCurves },
  { name: "clients", height: data.lanes.length * LANE, draw: drawLanes, tell: tellOperation },
].filter((section) => section.height > 0);
let height = AXIS;
for (const section of sections) {
  section.top = height;
  height += section.height + GAP;
}
height += AXIS - GAP;

const canvas = element("canvas", { height: String(height) });
const tip = element("div", { id: "tip" });
const plot = element("div", { id: "plot", tabindex: "0", role: "img",
  "aria-label": "Timeline: leaders, faults, rates, latencies, and each client's operations" },
canvas, tip);
const said = element("p", { class: "note", "aria-live": "polite" });
const paint = canvas.getContext("2d");
let width = 0;

const x = (seconds) => LEFT + (seconds - view[0]) / (view[1] - view[0]) * (width - LEFT - RIGHT);
const secondsAt = (px) => view[0] + (px - LEFT) / (width - LEFT - RIGHT) * (view[1] - view[0]);

function draw() {
  width = plot.clientWidth;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.font = "11.5px system-ui, sans-serif";
  paint.textBaseline = "middle";
  drawAxis();
  clipped(AXIS, height - 2 * AXIS, drawBands);
  for (const section of sections) {
    paint.fillStyle = color("soft");
    if (section.name !== "faults" && section.name !== "clients") {
      paint.textAlign = "left";
      paint.fillText(section.name, 0, section.top + Math.min(section.height / 2, 9));
    }
    if (section.labels) section.labels();
    clipped(section.top, section.height, () => section.draw(section));
  }
  if (mark !== null && mark >= view[0] && mark <= view[1]) {
    paint.fillStyle = color("faint");
    paint.fillRect(x(mark), AXIS, 1, height - 2 * AXIS);
  }
  if (drag) {
    const [from, to] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    paint.fillStyle = color("select");
    paint.fillRect(x(from), AXIS, x(to) - x(from), height - 2 * AXIS);
  }
}

function clipped(top, tall, work) {
  paint.save();
  paint.beginPath();
  paint.rect(LEFT, top - 2, width - LEFT - RIGHT, tall + 4);
  paint.clip();
  work();
  paint.restore();
}

function drawAxis() {
  const least = (view[1] - view[0]) / Math.max(2, (width - LEFT) / 90);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  paint.textAlign = "center";
  for (let tick = Math.ceil(view[0] / step) * step; tick <= view[1] + 1e-9; tick += step) {
    paint.fillStyle = color("grid");
    paint.fillRect(x(tick), AXIS, 1, height - 2 * AXIS);
    paint.fillStyle = color("faint");
    for (const y of [AXIS / 2, height - AXIS / 2]) {
      paint.fillText(`${tick.toFixed(digits)} s`, Math.min(Math.max(x(tick), LEFT + 12),
        width - RIGHT - 14), y);
    }
  }
}

function drawBands() {
  paint.fillStyle = color("band");
  for (const fault of faults) {
    const left = x(fault.begun);
    paint.fillRect(left, AXIS, Math.max(1, x(fault.ended) - left), height - 2 * AXIS);
  }
}

const nodeColor = (node) => (node === null ? color("nobody") : color(`n${(node - 1) % 7 + 1}`));
const leaders = data.leaderships.map((it, place) => ({ ...it,
  until: place + 1 < data.leaderships.length ? data.leaderships[place + 1].since : total }));

function drawLeaders({ top, height: tall }) {
  paint.textAlign = "left";
  for (const it of leaders) {
    const [left, right] = [x(it.since), x(it.until)];
    if (right < LEFT || left > width) continue;
    paint.fillStyle = nodeColor(it.leader);
    paint.fillRect(left, top, Math.max(right - left - 1, 1), tall);
    if (it.leader === null) continue;
    const words = [`node ${it.leader} · term ${it.term}`, `${it.leader} · ${it.term}`,
      String(it.leader)];
    const fits = words.find((text) => paint.measureText(text).width + 8 < right - left);
    paint.fillStyle = color("card");
    if (fits) paint.fillText(fits, Math.max(left, LEFT) + 4, top + tall / 2 + .5);
  }
}

function tellLeader(seconds) {
  const it = leaders.find((one) => one.since <= seconds && seconds < one.until);
  if (!it) return null;
  const who = it.leader === null ? "nobody leads" : `node ${it.leader} leads in term ${it.term}`;
  return [who, `from ${at(it.since)} for ${time(it.until - it.since)}`];
}

sections.find((it) => it.name === "faults").labels = function labels() {
  paint.textAlign = "left";
  kinds.forEach((kind, place) => paint.fillText(kind, 0, this.top + place * 13 + 6.5));
  if (kinds.length === 0) paint.fillText("no faults", 0, this.top + 6.5);
};

function drawFaults({ top }) {
  for (const [place, fault] of faults.entries()) {
    const [left, right] = [x(fault.begun), x(fault.ended)];
    paint.fillStyle = place === chosen ? color("accent") : color("fault");
    paint.fillRect(left, top + kinds.indexOf(fault.kind) * 13 + 2, Math.max(right - left, 2), 9);
  }
}

const tellOneFault = (it) => [it.what,
  `from ${at(it.begun)} to ${at(it.ended)}: ${time(it.ended - it.begun)}`];
function tellFault(seconds, y) {
  const near = (view[1] - view[0]) / 300;
  const kind = kinds[Math.floor(y / 13)];
  const it = faults.find((one) => one.kind === kind && one.begun - near <= seconds &&
    seconds <= one.ended + near);
  return it ? tellOneFault(it) : null;
}

function curve(values, y, fill) {
  const step = curves.bucket_seconds;
  paint.beginPath();
  let open = false;
  values.forEach((value, place) => {
    if (value === null) { open = false; return; }
    const px = x((place + .5) * step);
    if (open) paint.lineTo(px, y(value)); else paint.moveTo(px, y(value));
    open = true;
  });
  if (fill) {
    paint.lineTo(x((values.length - .5) * step), y(0));
    paint.lineTo(x(.5 * step), y(0));
    paint.closePath();
    paint.fill();
  } else paint.stroke();
}

const together = curves.reads.map((reads, place) => reads + curves.writes[place]);
const most = Math.max(1, ...together);
function drawRates({ top, height: tall }) {
  const y = (value) => top + tall - value / most * (tall - 4);
  paint.fillStyle = color("read");
  curve(together, y, true);
  paint.fillStyle = color("write");
  curve(curves.writes, y, true);
  for (const [values, name] of [[curves.failed, "fail"], [curves.unknown, "unknown"]]) {
    paint.fillStyle = color(name);
    values.forEach((value, place) => {
      if (value === 0) return;
      const left = x(place * curves.bucket_seconds);
      const right = x((place + 1) * curves.bucket_seconds);
      const tallness = Math.max(3, value / most * (tall - 4));
      paint.fillRect(left, top + tall - tallness, Math.max(1.5, right - left - 1), tallness);
    });
  }
}

const LOW = .1, HIGH = Math.max(10, ...curves.p99.filter((value) => value !== null));
function latencyY(top, tall) {
  const range = Math.log10(HIGH / LOW);
  return (value) => top + tall - Math.log10(Math.max(value, LOW) / LOW) / range * (tall - 4);
}
function drawLatency({ top, height: tall }) {
  const y = latencyY(top, tall);
  paint.fillStyle = color("grid");
  for (let line = 1; line <= HIGH; line *= 10) paint.fillRect(LEFT, y(line), width, 1);
  paint.lineWidth = 1.5;
  for (const name of ["p50", "p99"]) {
    paint.strokeStyle = color(name);
    curve(curves[name], y, false);
  }
}
sections.find((it) => it.name === "latency").labels = function labels() {
  const y = latencyY(this.top, this.height);
  paint.textAlign = "right";
  paint.fillStyle = color("faint");
  for (let line = 1; line <= HIGH; line *= 10) {
    if (y(line) > this.top + 22) paint.fillText(time(line / 1e3), LEFT - 8, y(line));
  }
};
sections.find((it) => it.name === "operations a second").labels = function labels() {
  paint.textAlign = "right";
  paint.fillStyle = color("faint");
  paint.fillText(`${number(most)}/s`, LEFT - 8, this.top + 26);
  paint.fillText("0", LEFT - 8, this.top + this.height - 4);
};

function tellCurves(seconds) {
  const place = Math.floor(seconds / curves.bucket_seconds);
  if (place < 0 || place >= curves.reads.length) return null;
  const of = (name) => number(curves[name][place]);
  const milli = (value) => (value === null ? "–" : time(value / 1e3));
  return [`at ${at(place * curves.bucket_seconds)}: ${of("reads")} reads and ` +
    `${of("writes")} writes a second`,
  `p50 ${milli(curves.p50[place])}, p99 ${milli(curves.p99[place])}`,
  `${of("failed")} failed and ${of("unknown")} unknown a second`];
}

sections.find((it) => it.name === "clients").labels = function labels() {
  paint.textAlign = "left";
  paint.fillStyle = color("soft");
  data.lanes.forEach((lane, place) => {
    if (LANE >= 10 || place % 5 === 0) {
      paint.fillText(lane, 0, this.top + place * LANE + LANE / 2);
    }
  });
};

function drawLanes({ top }) {
  const colors = { read: color("read"), write: color("write"), fail: color("fail"),
    mismatch: color("mismatch"), unknown: color("unknown") };
  const [from, to] = view;
  const told = [];
  lanes.forEach((rows, lane) => {
    const y = top + lane * LANE + 1;
    for (const row of rows) {
      const [, , f, outcome, start, end] = row;
      const [begun, ended] = [start / 1e6, end < 0 ? total : end / 1e6];
      if (ended < from || begun > to) continue;
      const left = x(begun);
      const name = outcome === OK ? (LOOKS.includes(data.operations.functions[f]) ? "read" : "write")
        : outcome === FAIL ? "fail" : outcome === MISMATCH ? "mismatch" : "unknown";
      paint.fillStyle = colors[name];
      paint.fillRect(left, y, Math.max(x(ended) - left, .8), LANE - 3);
      if (row[TOLD]) told.push([left, y, Math.max(x(ended) - left, 3), LANE - 3]);
    }
  });
  // Above all others.
  paint.strokeStyle = color("ink");
  paint.lineWidth = 2;
  for (const box of told) paint.strokeRect(...box);
}

function tellOperation(seconds, y) {
  const lane = Math.floor(y / LANE);
  const near = (view[1] - view[0]) / (width || 1) * 4;
  const distance = (row) => Math.max(row[4] / 1e6 - seconds,
    seconds - (row[5] < 0 ? total : row[5] / 1e6), 0);
  let best = null;
  for (const row of lanes[lane] || []) {
    if (distance(row) <= near && (!best || distance(row) < distance(best))) best = row;
  }
  if (!best) return null;
  const [, process, f, outcome, start, end, key, node, line, value] = best;
  const became = ["ok", "failed, certainly without effect", "found something else (mismatch)",
    "unknown: it may have taken effect, or will"][outcome];
  const took = end < 0 ? "never ended" : `after ${time((end - start) / 1e6)}`;
  return [`process ${process}: ${data.operations.functions[f]}${value ? ` ${value}` : ""}`,
    `${data.operations.keys[key]}, at node ${node ?? "?"}`, `${became}, ${took}`,
    `from ${at(start / 1e6)}; line ${line} of the history`,
    ...(best[TOLD] ? ["part of the contradiction"] : [])];
}

// ── looking around ─────────────────────────────────────────────────────────────────────────────
function look(from, to) {
  const least = Math.min(total, 0.002);
  const span = Math.min(Math.max(to - from, least), total);
  const begin = Math.min(Math.max(from, 0), total - span);
  view = [begin, begin + span];
  draw();
}
function zoom(factor, center) {
  const span = (view[1] - view[0]) * factor;
  const share = (center - view[0]) / (view[1] - view[0]);
  look(center - span * share, center + span * (1 - share));
}
function show([from, to]) {
  const margin = Math.max((to - from) * .5, .02);
  look(from - margin, to + margin);
  plot.scrollIntoView({ behavior: "smooth", block: "nearest" });
  plot.focus({ preventScroll: true });
}
function hover(event) {
  const box = canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  mark = px >= LEFT ? secondsAt(px) : null;
  if (drag && mark !== null) drag.to = Math.min(Math.max(mark, view[0]), view[1]);
  const section = sections.find((it) => py >= it.top && py < it.top + it.height);
  const told = section && mark !== null && !drag ? section.tell(mark, py - section.top) : null;
  draw();
  tip.style.display = told ? "block" : "none";
  if (!told) return;
  tip.replaceChildren(element("b", null, told[0]),
    ...told.slice(1).map((line) => element("div", null, line)));
  const right = px + 18 + tip.offsetWidth > width;
  tip.style.left = `${right ? Math.max(0, px - 14 - tip.offsetWidth) : px + 16}px`;
  tip.style.top = `${Math.min(py + 14, height - tip.offsetHeight)}px`;
}
canvas.addEventListener("mousemove", hover);
canvas.addEventListener("mouseleave", () => {
  mark = null;
  drag = null;
  tip.style.display = "none";
  draw();
});
canvas.addEventListener("mousedown", (event) => {
  const seconds = secondsAt(event.clientX - canvas.getBoundingClientRect().left);
  if (seconds >= view[0]) drag = { from: seconds, to: seconds };
});
canvas.addEventListener("mouseup", () => {
  if (!drag) return;
  const { from, to } = drag;
  drag = null;
  if (Math.abs(x(to) - x(from)) > 6) look(Math.min(from, to), Math.max(from, to));
  else draw();
});
canvas.addEventListener("dblclick", () => look(0, total));
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const seconds = secondsAt(event.clientX - canvas.getBoundingClientRect().left);
  zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : .8, seconds);
}, { passive: false });
function choose(step) {
  if (faults.length === 0) return;
  chosen = (chosen + step + faults.length) % faults.length;
  const fault = faults[chosen];
  const half = Math.min(view[1] - view[0], Math.max(8 * (fault.ended - fault.begun), 1)) / 2;
  const middle = (fault.begun + fault.ended) / 2;
  said.textContent = `Fault ${chosen + 1} of ${faults.length}: ${tellOneFault(fault).join(", ")}`;
  look(middle - half, middle + half);
}
plot.addEventListener("keydown", (event) => {
  const span = view[1] - view[0];
  const middle = (view[0] + view[1]) / 2;
  const act = {
    ArrowLeft: () => look(view[0] - span / 5, view[1] - span / 5),
    ArrowRight: () => look(view[0] + span / 5, view[1] + span / 5),
    "+": () => zoom(.5, middle), "=": () => zoom(.5, middle), "-": () => zoom(2, middle),
    0: () => look(0, total), n: () => choose(1), p: () => choose(-1),
  }[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});

function legend() {
  const entry = (name, text) => {
    const dot = element("i");
    dot.style.background = `var(--${name})`;
    return element("span", null, dot, text);
  };
  return element("div", { class: "legend" }, entry("read", "reads"), entry("write", "writes"),
    entry("mismatch", "mismatch"), entry("fail", "failed"), entry("unknown", "unknown"),
    entry("fault", "fault"), entry("p50", "p50"), entry("p99", "p99"));
}

function timeline() {
  const { count, rows, left_out: leftOut } = data.operations;
  const thinned = leftOut ? ` ${leftOut}` : "";
  const key = (text) => element("kbd", null, text);
  const keys = element("p", { class: "note keys" }, "Drag to zoom, double-click for the whole, ",
    key("Ctrl"), " and wheel; with the keyboard ", key("←"), " ", key("→"), " ", key("+"), " ",
    key("-"), " ", key("0"), ", and ", key("n"), " ", key("p"), " from fault to fault.");
  return card(
    element("div", { class: "bar" }, element("h2", null, "What happened"), legend(),
      element("button", { onclick: () => look(0, total) }, "the whole")),
    plot, said,
    element("p", { class: "note" }, `${number(rows.length)} of ${number(count)} operations are ` +
      `drawn.${thinned}${data.violations.length ? " Outlined: those of a contradiction." : ""}`),
    keys);
}

document.title = `${data.verdict}: kvctl verify, seed ${data.seed}`;
document.getElementById("main").replaceChildren(...[...head(), tiles(), stories(), timeline(),
  ...figures()].filter((it) => it !== null));
draw();
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
