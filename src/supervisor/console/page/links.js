// The links between the nodes: a line for each pair, what moves along it, what is wrong with it.

import { Keyed, draw, millis, percent, rate, setAttribute, setAttributes, setText } from "./dom.js";
import { linkKey, together } from "./model.js";

// With so few nodes, all figures can be shown at once.
const FEW = 3;

// A label's letters are all as wide, so that its box is known without asking for a layout.
const LETTER = 7.9;
const LINE = 15;

export class Links {
  constructor(wires, labels) {
    this.wires = new Keyed(wires, wire);
    this.labels = new Keyed(labels, label);
    this.ends = new Map();
    this.seen = null;
    this.from = null;
  }

  members(ids) {
    const pairs = ids.flatMap((a, index) => ids.slice(index + 1).map((b) => ordered(a, b)));
    this.ends = new Map(pairs.map((pair) => [linkKey(...pair), pair]));
    this.many = ids.length;
    this.wires.keep([...this.ends.keys()]);
    this.labels.keep([...this.ends.keys()]);
  }

  place(places) {
    for (const [key, [a, b]] of this.ends) {
      const [from, to] = [places.get(a), places.get(b)];
      const line = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
      const { parts } = this.wires.get(key);
      for (const name of ["touch", "wire", "there", "back"]) setAttributes(parts[name], line);
      const turned = (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
      const at = this.at(from, to);
      setAttribute(parts.arrow, "transform", `translate(${at(0.7)}) rotate(${turned})`);
      setAttribute(parts.backArrow, "transform", `translate(${at(0.3)}) rotate(${turned + 180})`);
      setAttribute(this.labels.get(key), "transform", `translate(${at(this.share(a, b))})`);
    }
  }

  at(from, to) {
    const between = (a, b, share) => (a + (b - a) * share).toFixed(1);
    return (share) => `${between(from.x, to.x, share)} ${between(from.y, to.y, share)}`;
  }

  // Where on its line a label stands. Lines through the middle of the ring would all have theirs
  // at the same place.
  share(a, b) {
    const ids = [...new Set([...this.ends.values()].flat())].sort((one, other) => one - other);
    const apart = Math.abs(ids.indexOf(a) - ids.indexOf(b));
    return apart * 2 === this.many && this.many > 2 ? 0.35 : 0.5;
  }

  update(view, rates) {
    const known = new Map(view.nodes.map((node) => [node.id, !node.unknown]));
    for (const [key, pair] of this.ends) {
      const faults = view.links.get(key) ?? NONE;
      const found = damage(pair, faults);
      const flows = flowsOf(pair, rates, known);
      this.updateWire(this.wires.get(key), key, found, flows, view);
      this.updateLabel(this.labels.get(key), key, pair, found, flows);
    }
  }

  updateWire(element, key, found, flows, view) {
    const { parts } = element;
    setAttribute(element, "data-fault", found.kind);
    setAttribute(element, "data-flaps", found.flaps);
    setAttribute(element, "data-unknown", view.offline);
    setAttribute(parts.there, "data-pace", found.there.cut ? 0 : pace(flows.there));
    setAttribute(parts.back, "data-pace", found.back.cut ? 0 : pace(flows.back));
    setAttribute(parts.arrow, "visibility", found.oneWay === "there" ? "visible" : "hidden");
    setAttribute(parts.backArrow, "visibility", found.oneWay === "back" ? "visible" : "hidden");
    const healthy = found.label === "" ? "no fault" : found.label.replaceAll("✕", "cut");
    const between = `link between node ${key.replace("-", " and ")}`;
    setAttribute(element, "aria-label", `${between}: ${healthy}`);
  }

  updateLabel(element, key, [a, b], found, flows) {
    const looked = this.many <= FEW || this.looksAt(key);
    const lines = found.label === "" ? [] : [found.label];
    if (looked) lines.push(flowWords(a, b, flows.there), flowWords(b, a, flows.back));
    const { texts, box } = element.parts;
    texts.forEach((text, index) => {
      setText(text, lines[index] ?? "");
      setAttribute(text, "y", (index - (lines.length - 1) / 2) * LINE + 4);
      setAttribute(text, "class", index === 0 && found.label !== "" ? "fault" : "flow-words");
    });
    const wide = Math.max(0, ...lines.map((line) => line.length)) * LETTER + 12;
    const high = lines.length * LINE + 6;
    setAttributes(box, { x: -wide / 2, y: -high / 2, width: wide, height: high });
    setAttribute(element, "visibility", lines.length > 0 ? "visible" : "hidden");
  }

  looksAt(key) {
    if (!this.seen) return false;
    return this.seen.link === key || this.ends.get(key).includes(this.seen.node);
  }

  // Somebody looks at a node, a link or, with `null`, at neither.
  look(about) {
    this.seen = about;
  }

  enter(node) {
    this.from = node;
    this.wires.get(this.around(node)[0])?.focus();
  }

  next(key, step) {
    const keys = this.around(this.from ?? this.ends.get(key)[0]);
    const index = (keys.indexOf(key) + step + keys.length) % keys.length;
    this.wires.get(keys[index])?.focus();
  }

  around(node) {
    return [...this.ends.keys()].filter((key) => this.ends.get(key).includes(node));
  }
}

const NONE = { there: [], back: [], flaps: false };

const ordered = (a, b) => (a < b ? [a, b] : [b, a]);

function wire(key) {
  const parts = {
    touch: draw("line", { class: "touch" }),
    wire: draw("line", { class: "wire" }),
    there: draw("line", { class: "flow", "data-pace": 0 }),
    back: draw("line", { class: "flow back", "data-pace": 0 }),
    arrow: draw("path", { class: "arrow", d: "M9,0L-7,-8L-7,8z" }),
    backArrow: draw("path", { class: "arrow", d: "M9,0L-7,-8L-7,8z" }),
  };
  const named = { id: `link-${key}`, class: "link", "data-link": key, "data-fault": "none" };
  const acts = { role: "button", "aria-haspopup": "menu", tabindex: -1 };
  const group = draw("g", { ...named, ...acts }, ...Object.values(parts));
  group.parts = parts;
  return group;
}

function label() {
  const box = draw("rect", { class: "label-box", rx: 5 });
  const texts = [0, 1, 2].map(() => draw("text", { "text-anchor": "middle" }));
  const group = draw("g", { class: "label", visibility: "hidden" }, box, ...texts);
  group.parts = { box, texts };
  return group;
}

// What is wrong with a link: its worst kind, in words, and whether in one direction only.
function damage([a, b], faults) {
  const [there, back] = [together(faults.there), together(faults.back)];
  const [onward, backward] = [words(there, faults.there), words(back, faults.back)];
  const kinds = [kindOf(there, faults.there), kindOf(back, faults.back)];
  const kind = ["cut", "delay", "loss", "other"].find((one) => kinds.includes(one)) ?? "none";
  const onlyOne = onward === "" || backward === "";
  const oneWay = onward === backward || !onlyOne ? null : onward === "" ? "back" : "there";
  const said = [bothWays(a, b, onward, backward), faults.flaps ? "flaps" : ""];
  const label = said.filter((one) => one !== "").join(" ");
  return { there, back, kind, oneWay, flaps: faults.flaps, label };
}

function bothWays(a, b, onward, backward) {
  if (onward === backward) return onward;
  const parts = [];
  if (onward) parts.push(`${a}→${b} ${onward}`);
  if (backward) parts.push(`${b}→${a} ${backward}`);
  return parts.join(", ");
}

function kindOf(sum, faults) {
  if (faults.length === 0) return "none";
  if (sum.cut) return "cut";
  if (sum.delay > 0) return "delay";
  return sum.loss > 0 ? "loss" : "other";
}

function words(sum, faults) {
  if (faults.length === 0) return "";
  if (sum.cut) return "✕";
  const parts = [];
  if (sum.delay > 0) parts.push(`+${millis(sum.delay)}${sum.jitter > 0 ? " ±" : ""}`);
  if (sum.loss > 0) parts.push(percent(sum.loss));
  if (sum.duplicate > 0) parts.push("twice");
  if (sum.reorder > 0) parts.push("out of order");
  return parts.join(" ") || "fault";
}

function flowsOf([a, b], rates, known) {
  return {
    there: known.get(a) ? rates.link(a, b) : null,
    back: known.get(b) ? rates.link(b, a) : null,
  };
}

function flowWords(from, to, flow) {
  if (!flow) return `${from}→${to} unknown`;
  const time = flow.millis === null ? "" : ` ${millis(flow.millis)}`;
  return `${from}→${to} ${rate(flow.perSecond)}/s${time}`;
}

// A few steps, because a speed that changes all the time makes the dots jump.
function pace(flow) {
  if (!flow || flow.perSecond < 0.5) return 0;
  return Math.min(6, 1 + Math.round(Math.log10(Math.max(1, flow.perSecond)) * 1.5));
}
