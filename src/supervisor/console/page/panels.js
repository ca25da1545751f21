// The words around the picture: who leads, what each node believes, what is broken on purpose, and
// one sentence that explains what is happening.

import { EVENTS, chapterLabel, lasting, setChapter } from "./captions.js";
import { Keyed, byId, clock, count, make, setAttribute, setClass, setHidden, setText, span }
  from "./dom.js";
import { phaseOf } from "./model.js";

// An event is explained for so long; then what lasts is.
const NEWS = 8000;

export class Panels {
  // `heal(ids)`: somebody wants faults to end.
  constructor(heal) {
    this.rows = new Keyed(byId("beliefs").tBodies[0], beliefRow);
    this.chips = new Keyed(byId("faults"), (id) => faultChip(id, heal));
    this.news = null;
    this.caption = { words: make("span"), chapter: chapterLabel() };
    byId("teach").append(this.caption.words, " ", this.caption.chapter);
  }

  happened(event) {
    if (EVENTS[event.kind]) this.news = event;
  }

  update(view) {
    this.head(view);
    this.beliefs(view);
    this.faults(view);
    setText(byId("scale"), `the newest ${count(view.scale.high - view.scale.low)} entries`);
    const { words, chapter } = this.explained(view);
    setText(this.caption.words, words);
    setChapter(this.caption.chapter, chapter);
  }

  head(view) {
    const { cluster } = view;
    setText(byId("name"), cluster.name);
    setHidden(byId("slow"), !view.slow);
    setText(byId("slow"), `slow motion ${cluster.slow}x`);
    setText(byId("leader"), view.offline ? "unknown" : (view.leader ?? "none"));
    setText(byId("term"), view.offline ? "–" : cluster.term);
    setText(byId("status-line"), statusWords(view));
    setText(byId("live"), leaderWords(view));
    setClass(byId("truth"), "none", view.leader === null);
    document.title = `${leaderWords(view)} – kvraft`;
  }

  beliefs(view) {
    this.rows.keep(["truth", ...view.nodes.map((node) => node.id)]);
    const truth = view.offline
      ? ["the truth", "unknown", "–", ""]
      : ["the truth", leaderName(view.leader), view.cluster.term, ""];
    fill(this.rows.get("truth"), truth);
    for (const node of view.nodes) {
      const row = this.rows.get(node.id);
      const agrees = node.believes === view.leader && node.term === view.cluster.term;
      setClass(row, "unknown", node.unknown);
      setClass(row, "differs", !node.unknown && !agrees);
      const verdict = node.unknown ? `unknown since ${clock(node.since)}` : agrees ? "yes" : "no";
      const [leader, term] = [leaderName(node.believes), node.term ?? "–"];
      fill(row, [`node ${node.id}`, leader, term, verdict]);
    }
  }

  faults(view) {
    setHidden(byId("no-faults"), view.faults.length > 0);
    byId("heal-all").disabled = view.offline || view.faults.length === 0;
    this.chips.keep(view.faults.map((fault) => fault.id));
    setHidden(byId("flaps"), ![...view.links.values()].some((link) => link.flaps));
    for (const fault of view.faults) {
      const { words, time } = this.chips.get(fault.id).parts;
      setText(words, faultText(fault));
      setText(time, timeWords(fault, view.now));
    }
  }

  // In slow motion an event stands among the steps, and here is what lasts.
  explained(view) {
    if (view.offline) {
      return { words: "Nothing is known: the supervisor does not answer.", chapter: null };
    }
    const news = this.news && view.now - this.news.time_millis < NEWS ? this.news : null;
    if (!news || view.slow) return lasting(view);
    const [chapter, words] = EVENTS[news.kind];
    return { words: words(news, view), chapter };
  }
}

export function faultText(fault) {
  if (fault.wish.kind === "hidden") return "a drill: find out";
  return fault.text ?? `fault ${fault.id}`;
}

function timeWords(fault, now) {
  const seconds = (time) => span(Math.max(1000, Math.round(time / 1000) * 1000));
  const lasted = seconds(now - fault.since_millis);
  const { phase } = phaseOf(fault, now);
  const flaps = phase === "on" || phase === "off" ? `, ${phase} now` : "";
  if (fault.until_millis === null || fault.until_millis === undefined) {
    return `for ${lasted}${flaps}`;
  }
  return `${seconds(fault.until_millis - now)} left${flaps}`;
}

function statusWords({ offline, cluster, nodes }) {
  if (offline) return "nothing is known";
  const running = nodes.filter((node) => node.state === "running").length;
  const ready = cluster.ready ? "ready" : "not ready";
  return `${running} of ${nodes.length} nodes run · ${ready} · ${cluster.transport}`;
}

function leaderWords({ offline, leader, cluster }) {
  if (offline) return "the supervisor does not answer";
  return leader === null ? "nobody leads" : `node ${leader} leads in term ${cluster.term}`;
}

const leaderName = (id) => (id === null ? "none" : `node ${id}`);

function beliefRow(key) {
  const cells = [make("th", { scope: "row" }), make("td"), make("td"), make("td")];
  const row = make("tr", { class: key === "truth" ? "truth" : "belief" }, ...cells);
  if (key !== "truth") setAttribute(row, "data-belief", key);
  return row;
}

function fill(row, words) {
  words.forEach((word, index) => setText(row.cells[index], word));
}

function faultChip(id, heal) {
  const parts = { words: make("span", { class: "words" }), time: make("small") };
  const button = make("button", { type: "button", "aria-label": `heal fault ${id}` }, "✕");
  button.addEventListener("click", () => heal([id]));
  const chip = make("li", { "data-fault-id": id }, parts.words, parts.time, button);
  chip.parts = parts;
  return chip;
}
