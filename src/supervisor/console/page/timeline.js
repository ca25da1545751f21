// What happened, in words, the newest at the bottom. Who reads further up is not moved.

import { byId, clock, make, setAttribute, setHidden, setText } from "./dom.js";
import { olderEvents } from "./net.js";

const MOST = 2000;

// So near to the end one follows it.
const NEAR = 24;

const FILTERS = ["all", "elections", "nodes", "faults", "members", "alerts"];

// For each kind: the filter that it belongs to, its sign, and its words. The words stand before
// what the supervisor adds; without any, what it adds says it all.
const KINDS = {
  "leader-changed": ["elections", "♛", ""],
  "leader-lost": ["elections", "♕", ""],
  "leadership-transferred": ["elections", "⇄", "handed over"],
  "node-started": ["nodes", "▶", "started"],
  "node-running": ["nodes", "●", "runs"],
  "node-adopted": ["nodes", "●", "found running"],
  "node-responsive": ["nodes", "●", "answers again"],
  "node-resumed": ["nodes", "▶", "resumed"],
  "node-paused": ["nodes", "❚❚", "paused"],
  "node-stopped": ["nodes", "■", "stopped"],
  "node-killed": ["nodes", "✕", "killed"],
  "node-exited": ["nodes", "✕", "ended"],
  "node-not-started": ["nodes", "✕", "could not be started"],
  "node-unresponsive": ["nodes", "…", "does not answer"],
  "node-crash-looping": ["nodes", "↻", "crashes again and again"],
  "log-corrupted": ["nodes", "✕", "corrupted log"],
  "snapshot-taken": ["nodes", "▣", "took a snapshot"],
  "port-changed": ["nodes", "·", "has another port"],
  "fault-began": ["faults", "⚡", "began"],
  "fault-ended": ["faults", "✚", "ended"],
  "trial-valid": ["faults", "✔", "a trial held"],
  "trial-violation": ["faults", "✕", "a trial found a violation"],
  "trial-unknown": ["faults", "?", "a trial could not tell"],
  "member-joining": ["members", "+", "joins"],
  "member-added": ["members", "+", "added"],
  "member-promoted": ["members", "↑", "has a vote"],
  "member-removed": ["members", "−", "removed"],
  "alert-fires": ["alerts", "▲", ""],
  "alert-over": ["alerts", "△", "over"],
};

export class Timeline {
  constructor() {
    this.list = byId("timeline");
    this.box = byId("timeline-box");
    this.newer = byId("newer");
    this.older = byId("older");
    this.first = Infinity;
    this.last = 0;
    this.unread = 0;
    this.follows = true;
    byId("filters").append(...FILTERS.map((name) => this.filter(name)));
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.follows && this.toEnd()).observe(this.box);
    this.older.addEventListener("click", () => this.load());
    this.newer.addEventListener("click", () => this.toEnd());
  }

  filter(name) {
    const pressed = name === "all";
    const button = make("button", { type: "button", "aria-pressed": pressed }, name);
    button.addEventListener("click", () => {
      setAttribute(this.list, "data-filter", name);
      for (const one of byId("filters").children) {
        setAttribute(one, "aria-pressed", one === button);
      }
      this.toEnd();
    });
    return button;
  }

  // Takes events, oldest first, and answers those that are new to it. After a break some may be
  // missing in between, or the sequence may have begun anew: then what is shown begins anew too.
  take(events) {
    const broken = events.length > 0 && this.last > 0 &&
      (events[0].sequence > this.last + 1 || events.at(-1).sequence < this.last);
    if (broken) this.clear();
    const fresh = events.filter((event) => event.sequence > this.last);
    if (fresh.length === 0) return fresh;
    this.list.append(...fresh.map(line));
    this.first = Math.min(this.first, fresh[0].sequence);
    this.last = fresh.at(-1).sequence;
    this.bound();
    if (this.follows) this.toEnd();
    else this.tell(fresh.length);
    return fresh;
  }

  clear() {
    this.list.replaceChildren();
    [this.first, this.last] = [Infinity, 0];
    setHidden(this.older, false);
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.tell(-this.unread);
  }

  tell(more) {
    this.unread += more;
    setText(this.newer, `↓ ${this.unread} new`);
    setHidden(this.newer, this.unread === 0);
  }

  // Forgets the oldest, without moving what is read.
  bound() {
    const excess = this.list.childElementCount - MOST;
    if (excess <= 0) return;
    this.steady(() => {
      for (let gone = 0; gone < excess; gone += 1) this.list.firstElementChild.remove();
    });
    this.first = Number(this.list.firstElementChild.dataset.sequence);
    setHidden(this.older, false);
  }

  // Changes what is above without moving what is read.
  steady(change) {
    const before = this.box.scrollHeight - this.box.scrollTop;
    change();
    this.box.scrollTop = this.box.scrollHeight - before;
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.box;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.follows && this.unread > 0) this.tell(-this.unread);
    if (this.box.scrollTop < NEAR && !this.older.hidden) this.load();
  }

  async load() {
    const room = MOST - this.list.childElementCount;
    if (this.loading || room <= 0 || this.first === Infinity) return;
    this.loading = true;
    try {
      const events = await olderEvents(this.first);
      this.steady(() => this.list.prepend(...events.slice(-room).map(line)));
      if (events.length > 0) this.first = events.slice(-room)[0].sequence;
      setHidden(this.older, events.length === 0);
    } catch {
      // The button is still there to try again, and the banner tells what is wrong.
    } finally {
      this.loading = false;
    }
  }
}

function line(event) {
  const [group, sign, words] = KINDS[event.kind] ?? ["other", "·", plain(event.kind)];
  const named = { "data-kind": event.kind, "data-group": group, "data-sequence": event.sequence };
  const time = make("time", {}, clock(event.time_millis));
  const icon = make("span", { class: "sign", "aria-hidden": true }, sign);
  const detail = make("span", { class: "detail" });
  if (event.node !== null) detail.append(make("span", { class: "chip" }, `node ${event.node}`));
  detail.append(said(words, event));
  return make("li", named, time, icon, detail);
}

const plain = (kind) => kind.replaceAll("-", " ");

// The supervisor's detail often says all; a fault is then told without its number.
function said(words, event) {
  const detail = event.detail ?? "";
  if (event.fault?.wish?.kind === "hidden") return `a drill ${words}: find out`;
  if (words === "") return detail || plain(event.kind);
  return detail ? `${words}: ${detail}` : words;
}
