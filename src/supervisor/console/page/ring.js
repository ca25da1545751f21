// The nodes, in a ring: each a card with its role, its term and its log.
//
// Cards are made once and then only changed. They are placed at equal distances along an ellipse
// that fills what room there is, and shrink until none covers another.

import { Keyed, brief, byId, clock, count, draw, setAttribute, setAttributes, setClass, setText,
  span } from "./dom.js";
import { Links } from "./links.js";
import { Messages } from "./messages.js";
import { isInForce } from "./model.js";

const CARD = { width: 206, height: 112 };
const BAR = { x: 12, width: 182, height: 7, top: 62, step: 10 };
const BARS = ["applied", "committed", "durable"];
const NARROW = 560;

// Letters are never smaller than this on the screen, however small the cards are; and so wide, as a
// share of their height.
const LEAST_LETTER = 12;
const LETTER_WIDTH = 0.6;

// A badge for each role, around its middle: what a role is must not hang on its colour.
const CIRCLE = "M-21,0a21,21 0 1,0 42,0a21,21 0 1,0 -42,0z";
const DIAMOND = "M0,-25L25,0L0,25L-25,0z";
const SQUARE = "M-19,-19h38v38h-38z";
const SHAPES = { candidate: DIAMOND, "pre-candidate": DIAMOND, learner: SQUARE };
const CROWN = "M-13,6L-16,-8L-7,-1L0,-11L7,-1L16,-8L13,6z";

export class Ring {
  // `open(what, anchor)`: somebody wants to act on `{node}` or `{link}`.
  constructor(open) {
    this.svg = byId("ring");
    this.box = byId("ring-box");
    this.open = open;
    this.places = new Map();
    const [wires, dots, cards] = [draw("g"), draw("g"), draw("g")];
    const labels = draw("g", { class: "labels" });
    this.svg.append(hatching(), wires, dots, cards, labels);
    this.messages = new Messages(dots);
    this.links = new Links(wires, labels);
    this.cards = new Keyed(cards, (id) => card(id));
    this.listen();
    new ResizeObserver(() => this.place()).observe(this.box);
  }

  listen() {
    this.svg.addEventListener("click", (event) => this.act(event));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    for (const kind of ["focusin", "focusout", "pointerover", "pointerout"]) {
      this.svg.addEventListener(kind, (event) => this.look(event));
    }
  }

  update(view, rates) {
    const ids = view.nodes.map((node) => node.id);
    if (ids.join() !== [...this.places.keys()].join()) this.members(ids);
    setAttribute(this.svg, "data-slow", view.slow);
    for (const node of view.nodes) this.updateCard(this.cards.get(node.id), node, view);
    this.links.update(view, rates);
  }

  // Slow motion: what left between two states goes its way.
  sent(before, after, rates) {
    this.messages.take(before, after, rates, this.places);
  }

  members(ids) {
    this.cards.keep(ids);
    this.links.members(ids);
    this.places = new Map(ids.map((id) => [id, { x: 0, y: 0 }]));
    if (!this.svg.querySelector(".node[tabindex='0']") && ids.length > 0) this.rove(ids[0]);
    this.place();
  }

  // Gives everybody a place in the room that there is.
  place() {
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const ids = [...this.places.keys()];
    const width = Math.max(300, this.box.clientWidth / unit);
    const narrow = width < NARROW;
    const tall = Math.max(300, 130 + ids.length * 98);
    this.box.style.minHeight = narrow ? `${tall * unit}px` : "";
    const height = narrow ? tall : Math.max(300, this.box.clientHeight / unit);
    setAttribute(this.svg, "viewBox", `0 0 ${width} ${height}`);
    const { scale, places } = fitting(ids.length, width, height, narrow);
    // The style sheet sizes letters by it.
    this.svg.style.setProperty("--scale", scale);
    this.letters = Math.floor((BAR.width * scale) / (LEAST_LETTER * LETTER_WIDTH));
    ids.forEach((id, index) => {
      this.places.set(id, places[index]);
      const { x, y } = places[index];
      const [left, top] = [x - (CARD.width / 2) * scale, y - (CARD.height / 2) * scale];
      setAttribute(this.cards.get(id), "transform", `translate(${left} ${top}) scale(${scale})`);
    });
    this.links.place(this.places);
  }

  updateCard(element, node, view) {
    const { parts } = element;
    const pretends = node.role === "leader" && !node.leads;
    const faults = view.faults.filter((fault) =>
      fault.nodes?.includes(node.id) && isInForce(fault, view.now)).map(faultWords);
    setAttributes(element, {
      "data-role": node.role,
      "data-state": node.state,
      "data-unknown": node.unknown,
      "data-pretends": pretends,
      "aria-label": [described(node), ...faults].join(", "),
    });
    setAttribute(parts.badge, "d", SHAPES[node.role] ?? CIRCLE);
    setText(parts.role, node.unknown ? silence(node, view) : roleWords(node, pretends));
    setText(parts.term, node.unknown ? `since ${clock(node.since)}` : termWords(node));
    updateLog(parts, node, view.scale, this.letters);
    setText(parts.fault, faults.join(", "));
    setAttribute(parts.fault, "visibility", faults.length > 0 ? "visible" : "hidden");
  }

  // What a click or Enter is about.
  target(event) {
    const element = event.target.closest?.(".node, .link");
    if (!element) return null;
    return element.matches(".node")
      ? { element, node: Number(element.dataset.node) }
      : { element, link: element.dataset.link };
  }

  act(event) {
    const about = this.target(event);
    if (!about) return;
    if (about.node) this.rove(about.node);
    const at = event.detail > 0 ? { x: event.clientX, y: event.clientY } : null;
    this.open(about, at ?? middleOf(about.element));
  }

  key(event) {
    const about = this.target(event);
    if (!about || event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") this.open(about, middleOf(about.element));
    else if (about.node && step) this.focus(this.neighbour(about.node, step));
    else if (about.node && event.key === "ArrowDown") this.links.enter(about.node);
    else if (about.link && step) this.links.next(about.link, step);
    else if (about.link && event.key === "ArrowUp") this.focus(this.links.from);
    else return;
    event.preventDefault();
  }

  neighbour(id, step) {
    const ids = [...this.places.keys()];
    return ids[(ids.indexOf(id) + step + ids.length) % ids.length];
  }

  focus(id) {
    const element = this.cards.get(id);
    if (!element) return;
    this.rove(id);
    element.focus();
  }

  // Of the whole ring, Tab reaches one node; the arrow keys reach the others.
  rove(id) {
    for (const [other, element] of this.cards.elements) {
      setAttribute(element, "tabindex", other === id ? 0 : -1);
    }
  }

  // Shows the figures of those links that somebody looks at.
  look(event) {
    const gone = event.type === "focusout" || event.type === "pointerout";
    this.links.look(gone ? null : this.target(event));
  }
}

function middleOf(element) {
  const box = element.getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

// Stripes over what is not known.
function hatching() {
  const stripe = draw("path", { d: "M0,8L8,0", class: "stripe" });
  const size = { width: 8, height: 8, patternUnits: "userSpaceOnUse" };
  return draw("defs", {}, draw("pattern", { id: "hatch", ...size }, stripe));
}

function card(id) {
  const parts = {
    badge: draw("path", { class: "badge", d: CIRCLE }),
    role: draw("text", { class: "role", x: 62, y: 28 }),
    term: draw("text", { class: "small", x: 62, y: 46 }),
    commit: draw("text", { class: "small figure", x: BAR.x, y: 106 }),
    lag: draw("text", { class: "small lag", x: BAR.x + BAR.width, y: 106, "text-anchor": "end" }),
    last: draw("rect", { class: "last", y: BAR.top - 2, width: 2.5, height: 31 }),
    fault: draw("text", { class: "fault", x: CARD.width - 8, y: -6, "text-anchor": "end" }),
  };
  const frame = { rx: 12, width: CARD.width, height: CARD.height };
  const badge = draw("g", { transform: "translate(32 32)" },
    draw("circle", { class: "second-ring", r: 26 }), parts.badge,
    draw("path", { class: "crown", d: CROWN, transform: "translate(0 -30)" }),
    draw("text", { class: "id", y: 7, "text-anchor": "middle" }, String(id)));
  const bars = BARS.flatMap((name, index) => bar(parts, name, index));
  const group = draw("g", {
    id: `node-${id}`, class: "node", role: "button", "aria-haspopup": "menu", tabindex: -1,
    "data-node": id, "data-role": "unknown", "data-state": "starting", "data-unknown": true,
  },
  draw("rect", { class: "frame", ...frame }),
  draw("rect", { class: "veil", fill: "url(#hatch)", ...frame }),
  badge, parts.role, parts.term, ...bars, parts.last, parts.commit, parts.lag, parts.fault);
  group.parts = parts;
  return group;
}

function bar(parts, name, index) {
  const at = { x: BAR.x, y: BAR.top + index * BAR.step, height: BAR.height, rx: 3 };
  parts[name] = draw("rect", { class: `bar ${name}`, ...at, width: 0 });
  return [draw("rect", { class: "track", ...at, width: BAR.width }), parts[name]];
}

// `letters`: for so many there is room in a line.
function updateLog(parts, node, { low, high, committed }, letters) {
  const share = (index) => Math.min(1, Math.max(0, (index - low) / (high - low)));
  const wide = (index) => (share(index) * BAR.width).toFixed(1);
  for (const name of BARS) setAttribute(parts[name], "width", node.log ? wide(node.log[name]) : 0);
  const last = node.log ? BAR.x + share(node.log.last) * BAR.width - 1 : BAR.x;
  setAttribute(parts.last, "x", last.toFixed(1));
  const commit = node.log ? `commit ${count(node.log.committed)}` : "no report yet";
  setText(parts.commit, commit);
  setText(parts.lag, lagWords(node, committed, letters - commit.length - 1));
  setClass(parts.lag, "behind", !node.unknown);
}

// How far it is behind the one that knows of most commits; or how old all this is.
function lagWords(node, committed, letters) {
  if (!node.log) return "";
  const fitting = (long, short) => (long.length > letters ? short : long);
  if (node.unknown) return fitting(`${ageWords(node.age)} old`, ageWords(node.age));
  const lag = committed - node.log.committed;
  return lag > 0 ? fitting(`${brief(lag)} behind`, `−${brief(lag)}`) : "";
}

const ageWords = (age) => (age < 60_000 ? span(age) : `${count(Math.floor(age / 60_000))} min`);

const WORDS = { "pre-candidate": "asks for votes", candidate: "wants votes" };

function roleWords(node, pretends) {
  if (pretends) return "believes it leads";
  return WORDS[node.role] ?? node.role;
}

function silence(node, view) {
  if (view.offline) return "?";
  return node.state === "running" ? "silent" : node.state;
}

function termWords(node) {
  const more = node.state === "running" ? [] : [node.state];
  if (node.standing !== "member" && node.standing) more.push(node.standing);
  return [`term ${node.term}`, ...more].join(" · ");
}

function described(node) {
  if (node.unknown) return `node ${node.id}, ${node.state}, unknown since ${clock(node.since)}`;
  const committed = `committed ${count(node.log.committed)}`;
  return `node ${node.id}, ${node.role}, term ${node.term}, ${node.state}, ${committed}`;
}

const FAULTS = {
  pause: "paused", kill: "killed", terminate: "ended", "crash-loop": "crash loop",
  "slow-cpu": "slow processor", memory: "little memory", clock: "wrong clock",
  disk: "bad disk", corrupt: "corrupted log",
};

// What is wrong with a node, in few words.
function faultWords(fault) {
  const what = fault.wish.fault ?? fault.wish.kind;
  const name = (typeof what === "string" ? what : Object.keys(what)[0] ?? "").replaceAll("_", "-");
  return FAULTS[name] ?? fault.text ?? name;
}

// The places of so many cards, and the largest scale at which they do not cover each other.
function fitting(many, width, height, narrow) {
  const gap = narrow ? 10 : 36;
  for (let scale = 1.2; ; scale -= 0.04) {
    const places = along(many, width, height, scale, narrow);
    if (scale < 0.5 || apart(places, scale, gap)) return { scale, places };
  }
}

function along(many, width, height, scale, narrow) {
  const middle = { x: width / 2, y: height / 2 + 10 };
  if (many === 1) return [middle];
  const rx = Math.max(1, (width - CARD.width * scale) / 2 - 6);
  const ry = Math.max(1, (height - CARD.height * scale) / 2 - 20);
  const points = ellipse(rx, ry);
  const total = points.at(-1).walked;
  const places = Array.from({ length: many }, (_, index) =>
    ({ ...points.find((point) => point.walked >= (total * index) / many) }));
  if (narrow) for (const place of places) place.x = aside(place.x, rx);
  const [toX, toY] = [stretch(places.map(({ x }) => x), rx), stretch(places.map(({ y }) => y), ry)];
  return places.map(({ x, y }) => ({ x: middle.x + toX(x), y: middle.y + toY(y) }));
}

// Where there is little width, all of it is used: what is not in the middle is at a side.
const aside = (x, reach) => (Math.abs(x) < reach * 0.3 ? x : Math.sign(x) * reach);

// Odd numbers of nodes leave room at one end of the ellipse: stretches them into it.
function stretch(values, reach) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (most - least < 1) return (value) => value;
  return (value) => ((value - least) / (most - least)) * 2 * reach - reach;
}

// Points of an ellipse from its top on, each with how far it is along it.
function ellipse(rx, ry) {
  const points = [{ x: 0, y: -ry, walked: 0 }];
  for (let step = 1; step <= 720; step += 1) {
    const angle = (step / 720) * 2 * Math.PI;
    const [x, y] = [rx * Math.sin(angle), -ry * Math.cos(angle)];
    const before = points.at(-1);
    points.push({ x, y, walked: before.walked + Math.hypot(x - before.x, y - before.y) });
  }
  return points;
}

function apart(places, scale, gap) {
  const [wide, high] = [(CARD.width + gap) * scale, (CARD.height + gap + 14) * scale];
  return places.every((one, index) => places.slice(index + 1).every((other) =>
    Math.abs(one.x - other.x) >= wide || Math.abs(one.y - other.y) >= high));
}
