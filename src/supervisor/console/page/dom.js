// Small helpers that every part of the page uses: elements, and numbers in words.
//
// Whatever comes from the server goes into the page as text or as an attribute's value, never as
// markup. What has not changed is not written again: a write costs layout, a comparison does not.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function setAttribute(element, name, value) {
  const wanted = String(value);
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
}

export function setText(element, words) {
  const wanted = String(words);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function setClass(element, name, on) {
  if (element.classList.contains(name) !== Boolean(on)) element.classList.toggle(name, on);
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// Keeps one element a key, in the keys' order, and makes or removes only what has to be.
export class Keyed {
  constructor(parent, create) {
    this.parent = parent;
    this.create = create;
    this.elements = new Map();
  }

  keep(keys) {
    const wanted = new Set(keys);
    for (const [key, element] of this.elements) {
      if (wanted.has(key)) continue;
      element.remove();
      this.elements.delete(key);
    }
    let place = this.parent.firstElementChild;
    for (const key of wanted) {
      const known = this.elements.get(key) ?? this.create(key);
      this.elements.set(key, known);
      if (known === place) place = place.nextElementSibling;
      else this.parent.insertBefore(known, place);
    }
  }

  get(key) {
    return this.elements.get(key);
  }
}

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const BRIEF = new Intl.NumberFormat("en-GB", { notation: "compact" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const count = (number) => WHOLE.format(number);

export const brief = (number) => BRIEF.format(number);

export const rate = (perSecond) => (perSecond < 10 ? TENTHS : WHOLE).format(perSecond);

export const clock = (millis) => CLOCK.format(millis);

// A time in milliseconds, with the digits that matter.
export function millis(value) {
  if (value >= 10_000) return `${TENTHS.format(value / 1000)} s`;
  if (value >= 10) return `${WHOLE.format(value)} ms`;
  return `${value < 1 ? value.toFixed(2) : TENTHS.format(value)} ms`;
}

// How long something lasted or lasts.
export function span(value) {
  if (value < 1000) return `${WHOLE.format(Math.max(0, value))} ms`;
  if (value < 10_000) return `${TENTHS.format(value / 1000)} s`;
  const seconds = Math.round(value / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export const percent = (share) => `${TENTHS.format(share * 100)} %`;
