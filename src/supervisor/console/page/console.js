// The live console: takes what the supervisor says, and draws it at most once a frame.

import { Acting } from "./acting.js";
import { Charts } from "./charts.js";
import { byId, clock, setAttribute, setHidden, setText } from "./dom.js";
import { Rates, isSlow, phaseOf, viewOf } from "./model.js";
import { follow, takeToken } from "./net.js";
import { Panels } from "./panels.js";
import { Ring } from "./ring.js";
import { Steps } from "./steps.js";
import { Timeline } from "./timeline.js";

// Ages grow while nobody says anything.
const TICK = 1000;

const THEME = "kvraft-console-theme";

class Page {
  constructor() {
    this.rates = new Rates();
    this.acting = new Acting();
    this.ring = new Ring((about, at) => this.acting.open(about, at));
    this.panels = new Panels((ids) => this.acting.heal(ids));
    this.charts = new Charts();
    this.timeline = new Timeline();
    this.steps = new Steps();
    this.state = null;
    this.heard = Date.now();
    this.offline = false;
    this.due = false;
    setInterval(() => this.draw(), TICK);
    for (const kind of ["pointerover", "pointerout", "focusin", "focusout"]) {
      this.ring.svg.addEventListener(kind, () => this.draw());
    }
  }

  history(events) {
    for (const event of this.timeline.take(events)) {
      this.charts.happened(event);
      this.panels.happened(event);
      this.steps.happened(event);
    }
    this.draw();
  }

  take(state) {
    const before = this.state;
    this.state = state;
    this.arrived = performance.now();
    this.rates.observe(state.cluster.nodes);
    this.steps.take(state);
    this.acting.take(state);
    if (before && isSlow(state.cluster)) {
      this.ring.sent(before.cluster, state.cluster, this.rates);
    }
    this.fresh = true;
    this.draw();
  }

  up() {
    this.heard = Date.now();
    this.offline = false;
    setHidden(byId("banner"), true);
  }

  down() {
    this.offline = true;
    const since = clock(this.heard);
    setText(byId("banner"), `the supervisor does not answer since ${since}`);
    setHidden(byId("banner"), false);
    this.draw();
  }

  // Draws in the next frame, once, however much happens until then.
  draw() {
    if (this.due || !this.state) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.frame();
    });
  }

  frame() {
    // The supervisor's clock, not this machine's: the page may be looked at from elsewhere.
    const now = this.state.now + (performance.now() - this.arrived);
    const view = viewOf(this.state, now, this.offline);
    if (this.fresh && !this.offline) this.charts.sample(view, this.rates);
    this.fresh = false;
    this.acting.update(view);
    this.ring.update(view, this.rates);
    this.panels.update(view);
    this.charts.update(view);
    this.again(view);
  }

  // A fault that comes and goes does so without news.
  again(view) {
    clearTimeout(this.flip);
    const next = Math.min(...view.faults.map((fault) => phaseOf(fault, view.now).until));
    if (next < Infinity) this.flip = setTimeout(() => this.draw(), next - view.now);
  }
}

function shownTheme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  const other = shownTheme() === "dark" ? "Light" : "Dark";
  setText(byId("theme"), other);
  setAttribute(byId("theme"), "aria-label", `${other} colours`);
}

// Without a choice the page follows the system, also when that changes.
function followSystem() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTheme(null));
}

function otherTheme() {
  const theme = shownTheme() === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, theme);
  showTheme(theme);
}

function listenToKeys(page) {
  const keys = {
    "?": () => byId("help").showModal(),
    t: otherTheme,
    h: () => byId("heal-all").click(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector("dialog[open]") || !byId("menu").hidden) return;
    if (/^[1-9]$/.test(event.key)) page.ring.focus(Number(event.key));
    else keys[event.key]?.();
  });
  byId("keys").addEventListener("click", keys["?"]);
  byId("theme").addEventListener("click", otherTheme);
  byId("help-close").addEventListener("click", () => byId("help").close());
}

function lock() {
  setHidden(byId("locked"), false);
}

function begin() {
  showTheme(localStorage.getItem(THEME));
  followSystem();
  if (!takeToken()) return lock();
  const page = new Page();
  listenToKeys(page);
  follow({
    history: (events) => page.history(events),
    state: (state) => page.take(state),
    up: () => page.up(),
    down: () => page.down(),
    locked: lock,
  });
}

begin();
