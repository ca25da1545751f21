// In slow motion: the last steps of the cluster as a list, the newest first, for whoever explains.

import { EVENTS, chapterLabel, setChapter } from "./captions.js";
import { byId, make, setHidden } from "./dom.js";
import { isSlow } from "./model.js";
import { stepsBetween } from "./story.js";

// A few are seen at once; so many can be gone through.
const MOST = 60;

const TIME = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1,
});

// Events that the steps around them tell, and better.
const TOLD = new Set([
  "leader-changed", "leader-lost", "leadership-transferred", "snapshot-taken", "member-promoted",
]);

export class Steps {
  constructor() {
    this.list = byId("steps");
    this.state = null;
  }

  // Takes each state as it comes: one that was left out would be a step that nobody saw.
  take(state) {
    const before = this.state;
    this.state = state;
    const slow = isSlow(state.cluster);
    setHidden(byId("steps-box"), !slow);
    if (!slow || !before) return;
    this.tell(stepsBetween(before.cluster, state.cluster), state.now);
  }

  // What the supervisor or a person did: only while one looks, not what was long ago.
  happened(event) {
    if (!this.state || !isSlow(this.state.cluster)) return;
    if (!EVENTS[event.kind] || TOLD.has(event.kind)) return;
    const [chapter, words] = EVENTS[event.kind];
    const step = { kind: event.kind, chapter, words: words(event, this.state) };
    this.tell([step], event.time_millis);
  }

  tell(steps, at) {
    for (const step of steps) this.list.prepend(line(step, at));
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
  }
}

function line({ kind, chapter, words }, at) {
  const label = chapterLabel();
  setChapter(label, chapter);
  const text = make("span", {}, words, " ", label);
  return make("li", { "data-step": kind }, make("time", {}, TIME.format(at)), text);
}
