// What an event means, and what lasts, in a sentence each, with the chapter of the course that
// explains it. The chapters are modules: `cargo doc` has their text.

import { count, make, setAttributes, setHidden, setText } from "./dom.js";

const COURSE = "kvraft::consensus::raft";

// Who lacks more entries than this is catching up; less is the usual way of replication.
const FAR_BEHIND = 200;

// A chapter's name, as something to look up.
export function chapterLabel() {
  return make("span", { class: "chapter" });
}

export function setChapter(label, chapter) {
  setHidden(label, chapter === null);
  if (chapter === null) return;
  setText(label, chapter);
  setAttributes(label, { title: `${COURSE}::${chapter.toLowerCase()}, in cargo doc` });
}

// Each kind of event: its chapter, or `null`, and its words.
export const EVENTS = {
  "leader-changed": ["Election", (event, view) =>
    `Node ${event.node} got the votes of a majority in term ${view.cluster.term}, ` +
    "and no one else can have them in that term."],
  "leader-lost": ["Election", (event) =>
    `Node ${event.node} leads no more. Who hears no leader for long enough asks for votes.`],
  "node-killed": ["Durability", (event) =>
    `Node ${event.node} was killed. What it had acknowledged is on its disk, and on those of a ` +
    "majority."],
  "node-paused": ["Safety", (event) =>
    `Node ${event.node} stands still with its sockets open. A majority does not wait for it.`],
  "node-resumed": ["State", (event) =>
    `Node ${event.node} goes on as if nothing had been. A higher term tells it what it missed.`],
  "node-stopped": ["Safety", (event) =>
    `Node ${event.node} is stopped. The others go on as long as they are a majority.`],
  "node-running": ["Replication", (event) =>
    `Node ${event.node} is back, with its term, its vote and its log from disk; the leader sends ` +
    "it what it lacks."],
  "node-crash-looping": [null, (event) =>
    `Node ${event.node} ends as often as it is started. The supervisor waits longer each time.`],
  "fault-ended": ["Replication", () =>
    "A fault is over. Logs that went apart become equal again, the leader’s wins."],
  "member-joining": ["Membership", (event) =>
    `Node ${event.node} joins as a learner: it gets the log, and has no vote yet.`],
  "member-promoted": ["Membership", (event) =>
    `Node ${event.node} has a vote now, by joint consensus.`],
  "member-removed": ["Membership", (event) =>
    `Node ${event.node} is no member any more, and majorities are counted without it.`],
  "snapshot-taken": ["Snapshot", (event) =>
    `Node ${event.node} put its state into a snapshot, so that its log stays short.`],
  "leadership-transferred": ["Transfer", () =>
    "The leader handed over: it told another one to stand for election at once."],
};

// What lasts, the most telling first; each says `null` when it is not so.
const LASTING = [
  ["Election", ({ leader, nodes }) => {
    if (leader !== null) return null;
    const majority = Math.floor(nodes.length / 2) + 1;
    return `Nobody leads, and no write is acknowledged: ${majority} of ${nodes.length} nodes ` +
      "must reach each other to elect one.";
  }],
  ["Election", ({ nodes }) => {
    const former = nodes.find((node) => node.role === "leader" && !node.leads);
    return former
      ? `Node ${former.id} still believes that it leads, in term ${former.term}. It can commit ` +
        "nothing, and steps down when it hears no majority."
      : null;
  }],
  ["Election", ({ nodes }) => {
    const stands = nodes.find((node) => node.role.endsWith("candidate"));
    return stands
      ? `Node ${stands.id} hears no leader and asks who would vote for it. It does not raise its ` +
        "term before a majority would."
      : null;
  }],
  ["Progress", ({ nodes, scale }) => {
    const late = nodes.find((node) => !node.unknown && scale.high - node.log.last > FAR_BEHIND);
    return late
      ? `Node ${late.id} lacks ${count(scale.high - late.log.last)} entries; the leader sends ` +
        "them, as fast as they are acknowledged."
      : null;
  }],
  ["Safety", ({ faults, leader }) => {
    const cut = faults.some((fault) => fault.policy?.cut && fault.links?.length > 0);
    return cut
      ? `Some nodes do not hear each other. Node ${leader} goes on, because it reaches a majority.`
      : null;
  }],
  ["Safety", ({ faults }) =>
    faults.some((fault) => fault.policy?.delay_millis > 0)
      ? "Messages are slow. A write waits for the fastest majority, not for the slowest node."
      : null],
  ["Progress", ({ faults }) =>
    faults.some((fault) => fault.policy?.loss > 0)
      ? "Messages get lost. What is not acknowledged is sent again."
      : null],
  ["Safety", ({ nodes }) => {
    const away = nodes.filter((node) => node.unknown).map((node) => node.id);
    if (away.length === 0) return null;
    const who = away.length === 1 ? `Node ${away[0]} says` : `Nodes ${away.join(", ")} say`;
    return `${who} nothing. The others are a majority, and go on.`;
  }],
  ["Replication", ({ leader }) =>
    `Node ${leader} sends every entry to all others, and commits it when a majority has it on ` +
    "disk."],
];

// The first that is so: its words, and its chapter.
export function lasting(view) {
  const said = LASTING.map(([chapter, words]) => ({ chapter, words: words(view) }));
  return said.find(({ words }) => words !== null);
}
