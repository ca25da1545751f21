// The words around the picture: who leads, what each node believes, what is broken on purpose, and
// one sentence that explains what is happening.

import { Keyed, byId, clock, count, make, setAttribute, setClass, setHidden, setText, span }
  from "./dom.js";

// An event is explained for so long; then what lasts is.
const NEWS = 8000;

// Who lacks more entries than this is catching up; less is the usual way of replication.
const FAR_BEHIND = 200;

export class Panels {
  // `heal(ids)`: somebody wants faults to end.
  constructor(heal) {
    this.rows = new Keyed(byId("beliefs").tBodies[0], beliefRow);
    this.chips = new Keyed(byId("faults"), (id) => faultChip(id, heal));
    this.news = null;
  }

  happened(event) {
    if (CAPTIONS[event.kind]) this.news = event;
  }

  update(view) {
    this.head(view);
    this.beliefs(view);
    this.faults(view);
    setText(byId("scale"), `the newest ${count(view.scale.high - view.scale.low)} entries`);
    setText(byId("teach"), this.caption(view));
  }

  head(view) {
    const { cluster } = view;
    setText(byId("name"), cluster.name);
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
    for (const fault of view.faults) {
      const { words, time } = this.chips.get(fault.id).parts;
      setText(words, faultText(fault));
      setText(time, timeWords(fault, view.now));
    }
  }

  caption(view) {
    if (view.offline) return "Nothing is known: the supervisor does not answer.";
    const news = this.news && view.now - this.news.time_millis < NEWS ? this.news : null;
    if (news) return CAPTIONS[news.kind](news, view);
    return LASTING.map((caption) => caption(view)).find((words) => words !== null);
  }
}

export function faultText(fault) {
  if (fault.wish.kind === "hidden") return "a drill: find out";
  return fault.text ?? `fault ${fault.id}`;
}

function timeWords(fault, now) {
  const seconds = (time) => span(Math.max(1000, Math.round(time / 1000) * 1000));
  const lasted = seconds(now - fault.since_millis);
  if (fault.until_millis === null || fault.until_millis === undefined) return `for ${lasted}`;
  return `${seconds(fault.until_millis - now)} left`;
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

// What an event means, a sentence a kind. The chapters are those of the course.
const CAPTIONS = {
  "leader-changed": (event, view) =>
    `Node ${event.node} got the votes of a majority in term ${view.cluster.term}, ` +
    "and no one else can have them in that term: chapter Election.",
  "leader-lost": (event) =>
    `Node ${event.node} leads no more. Who hears no leader for long enough asks for votes: ` +
    "chapter Election.",
  "node-killed": (event) =>
    `Node ${event.node} was killed. What it had acknowledged is on its disk, and on those of a ` +
    "majority: chapter Durability.",
  "node-paused": (event) =>
    `Node ${event.node} stands still with its sockets open. A majority does not wait for it: ` +
    "chapter Safety.",
  "node-resumed": (event) =>
    `Node ${event.node} goes on as if nothing had been. A higher term tells it what it missed: ` +
    "chapter State.",
  "node-stopped": (event) =>
    `Node ${event.node} is stopped. The others go on as long as they are a majority: ` +
    "chapter Safety.",
  "node-running": (event) =>
    `Node ${event.node} is back, with its term, its vote and its log from disk; the leader sends ` +
    "it what it lacks: chapter Replication.",
  "node-crash-looping": (event) =>
    `Node ${event.node} ends as often as it is started. The supervisor waits longer each time.`,
  "fault-ended": () =>
    "A fault is over. Logs that went apart become equal again, the leader’s wins: " +
    "chapter Replication.",
  "member-joining": (event) =>
    `Node ${event.node} joins as a learner: it gets the log, and has no vote yet: ` +
    "chapter Membership.",
  "member-promoted": (event) =>
    `Node ${event.node} has a vote now, by joint consensus: chapter Membership.`,
  "member-removed": (event) =>
    `Node ${event.node} is no member any more, and majorities are counted without it: ` +
    "chapter Membership.",
  "snapshot-taken": (event) =>
    `Node ${event.node} put its state into a snapshot, so that its log stays short: ` +
    "chapter Snapshot.",
  "leadership-transferred": () =>
    "The leader handed over: it told another one to stand for election at once: chapter Transfer.",
};

// What lasts, the most telling first; each says `null` when it is not so.
const LASTING = [
  ({ leader, nodes }) => {
    if (leader !== null) return null;
    const majority = Math.floor(nodes.length / 2) + 1;
    return `Nobody leads, and no write is acknowledged: ${majority} of ${nodes.length} nodes ` +
      "must reach each other to elect one: chapter Election.";
  },
  ({ nodes }) => {
    const former = nodes.find((node) => node.role === "leader" && !node.leads);
    return former
      ? `Node ${former.id} still believes that it leads, in term ${former.term}. It can commit ` +
        "nothing, and steps down when it hears no majority: chapter Election."
      : null;
  },
  ({ nodes }) => {
    const stands = nodes.find((node) => node.role.endsWith("candidate"));
    return stands
      ? `Node ${stands.id} hears no leader and asks who would vote for it. It does not raise its ` +
        "term before a majority would: chapter Election."
      : null;
  },
  ({ nodes, scale }) => {
    const late = nodes.find((node) => !node.unknown && scale.high - node.log.last > FAR_BEHIND);
    return late
      ? `Node ${late.id} lacks ${count(scale.high - late.log.last)} entries; the leader sends ` +
        "them, as fast as they are acknowledged: chapter Progress."
      : null;
  },
  ({ faults, leader }) => {
    const cut = faults.some((fault) => fault.policy?.cut && fault.links?.length > 0);
    return cut
      ? `Some nodes do not hear each other. Node ${leader} goes on, because it reaches a ` +
        "majority: chapter Safety."
      : null;
  },
  ({ faults }) =>
    faults.some((fault) => fault.policy?.delay_millis > 0)
      ? "Messages are slow. A write waits for the fastest majority, not for the slowest node: " +
        "chapter Safety."
      : null,
  ({ faults }) =>
    faults.some((fault) => fault.policy?.loss > 0)
      ? "Messages get lost. What is not acknowledged is sent again: chapter Progress."
      : null,
  ({ nodes }) => {
    const away = nodes.filter((node) => node.unknown).map((node) => node.id);
    if (away.length === 0) return null;
    const who = away.length === 1 ? `Node ${away[0]} says` : `Nodes ${away.join(", ")} say`;
    return `${who} nothing. The others are a majority, and go on: chapter Safety.`;
  },
  ({ leader }) =>
    `Node ${leader} sends every entry to all others, and commits it when a majority has it on ` +
    "disk: chapter Replication.",
];
