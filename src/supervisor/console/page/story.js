// What happened between two states, step by step, each with the chapter that explains it.
//
// In slow motion, from 20x on, a message is on its way for longer than a state lasts: two states are
// about one step apart. What comes in one state all the same is told in the order in which Raft does it. A
// node's step is only told from two reports of the same process; after a start there is nothing to
// compare. What is pure bookkeeping (a vote that was refused, a round of heartbeats) is not told.

// The steps from one `cluster` to the next, oldest first: each `{kind, chapter, words}`.
export function stepsBetween(before, after) {
  const nodes = after.nodes.flatMap((node) => {
    const was = before.nodes.find((one) => one.node === node.node)?.report;
    const is = node.report;
    return was && is && was.pid === is.pid ? [{ id: node.node, was, is }] : [];
  });
  return SCENES.flatMap((scene) => scene(nodes, leadership(nodes)));
}

// Who leads by its own words, in the newest term; and how many of its voters are a majority.
function leadership(nodes) {
  const leads = nodes.filter(({ is }) => is.role === "leader");
  const leader = leads.sort((a, b) => b.is.term - a.is.term)[0];
  if (!leader) return null;
  const { voters } = leader.is;
  return { ...leader, voters, majority: Math.floor(voters.length / 2) + 1 };
}

const step = (kind, chapter, words) => ({ kind, chapter, words });

const grew = (node, name) => (node.is[name] ?? 0) > (node.was[name] ?? 0);

const others = (nodes, leader) => nodes.filter(({ id }) => id !== leader.id);

// Which of several nodes: "node 1", "nodes 1, 2 and 4".
function who(ids) {
  if (ids.length === 1) return `node ${ids[0]}`;
  return `nodes ${ids.slice(0, -1).join(", ")} and ${ids.at(-1)}`;
}

const Who = (ids) => `N${who(ids).slice(1)}`;

const entries = (first, last) => (first >= last ? `entry ${last}` : `entries ${first} to ${last}`);

const Entries = (first, last) => `E${entries(first, last).slice(1)}`;

const are = (first, last) => (first >= last ? "is" : "are");

// One step for all nodes of which `about` says the same, `null` for those that did nothing.
function together(nodes, about, tell) {
  const groups = new Map();
  for (const node of nodes) {
    const key = about(node);
    if (key !== null) groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  return [...groups].map(([key, members]) => tell(members, key));
}

function elections(nodes) {
  return nodes.flatMap(({ id, was, is }) => {
    const began = is.role !== was.role || is.term > was.term;
    if (is.role === "pre-candidate" && began) {
      return [step("asks-would", "Election",
        `Node ${id} has not heard a leader for its time-out. It asks whether others would vote ` +
        `for it in term ${is.term + 1}; its own term stays ${is.term}.`)];
    }
    if (is.role !== "candidate" || !began) return [];
    const told = nodes.find((node) => node.was.transfer_target === id);
    return told
      ? [step("asks-votes", "Transfer",
        `Node ${told.id} told node ${id} to stand: it begins term ${is.term} without asking ` +
        "first, votes for itself, and asks for votes.")]
      : [step("asks-votes", "Election",
        `A majority would vote for node ${id}: it begins term ${is.term}, votes for itself, and ` +
        "asks for votes.")];
  });
}

function falls(nodes) {
  return nodes.filter(({ was, is }) => was.role === "leader" && is.role !== "leader")
    .map(({ id, was, is }) => (is.term > was.term
      ? step("steps-down", "State",
        `Node ${id} hears of term ${is.term}, newer than its own ${was.term}: it leads no more.`)
      : step("steps-down", "Election",
        `Node ${id} has not heard a majority for a time-out: it leads no more.`)));
}

function votes(nodes) {
  const votedFor = ({ id, was, is }) => {
    const voted = is.voted_for ?? id;
    return voted !== id && (is.term > was.term || was.voted_for !== voted) ? voted : null;
  };
  return together(nodes, votedFor, (members, candidate) => step("votes", "Election",
    `${Who(members.map(({ id }) => id))} ${members.length === 1 ? "votes" : "vote"} for node ` +
    `${candidate} in term ${members[0].is.term}, on disk before the answer leaves: there is no ` +
    "second vote in a term."));
}

function wins(nodes) {
  return nodes.filter(({ was, is }) => is.role === "leader" && was.role !== "leader")
    .map(({ id, is }) => step("leads", "Election",
      `Node ${id} has the votes of a majority: it leads term ${is.term}, and nobody else can.`));
}

function followers(nodes) {
  const heard = ({ id, was, is }) =>
    is.leader !== null && is.leader !== id && is.leader !== was.leader ? is.leader : null;
  return together(nodes, heard, (members, leader) => step("follows", "Election",
    `${Who(members.map(({ id }) => id))} ${members.length === 1 ? "hears" : "hear"} from node ` +
    `${leader} that it leads term ${members[0].is.term}. Each heartbeat puts off the time-out.`));
}

function appends(nodes, leader) {
  if (!leader || !grew(leader, "last_index")) return [];
  const [first, last] = [leader.was.last_index + 1, leader.is.last_index];
  const isNew = leader.was.role !== "leader";
  return [isNew
    ? step("appends", "Safety",
      `${Entries(first, last)} in the log of node ${leader.id}: an empty one, of its own term. ` +
      "With it, all before it will be committed.")
    : step("appends", "Replication",
      `${Entries(first, last)} ${are(first, last)} in the log of node ${leader.id}, the leader, ` +
      "and on the way to all others.")];
}

function leaderStores(nodes, leader) {
  if (!leader || !grew(leader, "durable_index")) return [];
  const [first, last] = [leader.was.durable_index + 1, leader.is.durable_index];
  return [step("stores", "Durability",
    `${Entries(first, last)} ${are(first, last)} on the leader’s own disk. ` +
    needed(leader, last))];
}

// How many disks are known to the leader to have an entry, and what that means.
function needed(leader, index) {
  if (leader.is.commit_index >= index) return "";
  const peers = leader.is.peers ?? [];
  const stored = leader.voters.filter((id) => (id === leader.id
    ? leader.is.durable_index
    : (peers.find((peer) => peer.node === id)?.match_index ?? 0)) >= index).length;
  const missing = leader.majority - stored;
  const known = `It knows of ${stored} of ${leader.voters.length}`;
  return missing > 0 ? `${known}, and needs ${missing} more.` : `${known}, a majority.`;
}

function removes(nodes) {
  const removed = nodes.filter((node) =>
    node.is.last_index < node.was.last_index && !grew(node, "snapshots_installed"));
  return removed.map(({ id, was, is }) => step("removes", "Replication",
    `Node ${id} removes ${entries(is.last_index + 1, was.last_index)}: its leader’s log is ` +
    "another one. They were never committed."));
}

function stores(nodes, leader) {
  if (!leader) return [];
  const stored = (node) =>
    node.is.term === leader.is.term && grew(node, "durable_index") ? node.is.durable_index : null;
  return together(others(nodes, leader), stored, (members, last) => {
    const first = Math.min(...members.map(({ was }) => was.durable_index)) + 1;
    return step("stores", "Replication",
      `${Entries(first, last)} ${are(first, last)} on the disk of ` +
      `${who(members.map(({ id }) => id))}, and the answer is on its way.`);
  });
}

function answers(nodes, leader) {
  if (!leader || leader.was.role !== "leader") return [];
  const match = (report, id) => report.peers.find((peer) => peer.node === id)?.match_index ?? 0;
  const answered = ({ id }) => {
    const now = match(leader.is, id);
    return now > match(leader.was, id) ? now : null;
  };
  const uncommitted = (index) => index > leader.was.commit_index;
  return together(others(nodes, leader), answered, (members, index) => {
    const from = who(members.map(({ id }) => id));
    return uncommitted(index)
      ? step("answers", "Progress",
        `The leader hears from ${from}: on disk up to entry ${index}. ${needed(leader, index)}`)
      : step("answers", "Progress",
        `The leader hears from ${from}, too: on disk up to entry ${index}.`);
  });
}

function commits(nodes, leader) {
  if (!leader) return [];
  const committed = grew(leader, "commit_index");
  const applied = grew(leader, "applied_index");
  const [first, last] = [leader.was.commit_index + 1, leader.is.commit_index];
  const steps = [];
  if (committed) {
    steps.push(step("commits", "Safety",
      `A majority has ${entries(first, last)} on disk: node ${leader.id} commits.`));
  }
  if (applied) {
    const [from, to] = [leader.was.applied_index + 1, leader.is.applied_index];
    steps.push(step("applies", "Applying",
      `Node ${leader.id} applies ${entries(from, to)}, and answers whoever asked for it.`));
  }
  return steps;
}

function learns(nodes, leader) {
  if (!leader) return [];
  const learnt = (node) => (grew(node, "commit_index") ? node.is.commit_index : null);
  return together(others(nodes, leader), learnt, (members, last) => {
    const first = Math.min(...members.map(({ was }) => was.commit_index)) + 1;
    const one = members.length === 1;
    return step("learns", "Replication",
      `${Who(members.map(({ id }) => id))} ${one ? "learns" : "learn"} from the leader’s next ` +
      `message that ${entries(first, last)} ${are(first, last)} committed, and ` +
      `${one ? "applies" : "apply"} ${first >= last ? "it" : "them"}.`);
  });
}

function reads(nodes) {
  const read = nodes.filter(({ was, is }) => is.served.reads > was.served.reads);
  return read.map(({ id }) => step("reads", "Reads",
    `Node ${id} answers a read from its own state: once it is known to be new enough, unless the ` +
    "reader takes what may be old."));
}

function progress(nodes, leader) {
  if (!leader || leader.was.role !== "leader") return [];
  const changed = ({ id }) => {
    const state = (report) => report.peers.find((peer) => peer.node === id)?.state;
    const [was, is] = [state(leader.was), state(leader.is)];
    return was && is && was !== is ? is : null;
  };
  return together(others(nodes, leader), changed, (members, state) => {
    const ids = who(members.map(({ id }) => id));
    const [chapter, words] = {
      probe: ["Progress", `The leader does not know how far ${ids} got, and asks one by one.`],
      replicate: ["Progress",
        `The leader knows where its log and that of ${ids} agree: from there on entries go out ` +
        "without waiting for answers."],
      snapshot: ["Snapshot",
        `What ${ids} lacks is no longer in the leader’s log: it sends its snapshot.`],
    }[state];
    return step(`progress-${state}`, chapter, words);
  });
}

function snapshots(nodes) {
  return nodes.filter((node) => grew(node, "snapshot_index")).map((node) => {
    const { id, is } = node;
    return grew(node, "snapshots_installed")
      ? step("installs", "Snapshot",
        `Node ${id} takes over the leader’s snapshot: its state as of entry ${is.snapshot_index}.`)
      : step("snapshot", "Snapshot",
        `Node ${id} has its state as of entry ${is.snapshot_index} in a snapshot; the log before ` +
        "it may go.");
  });
}

function members(nodes, leader) {
  if (!leader) return [];
  const { was, is } = leader;
  const list = (ids) => ids.join(", ");
  if (is.outgoing.length > 0 && was.outgoing.length === 0) {
    return [step("joint", "Membership",
      `The voters are to be ${list(is.voters)} instead of ${list(is.outgoing)}: until that is ` +
      "committed, a majority of each is needed.")];
  }
  if (is.outgoing.length === 0 && was.outgoing.length > 0) {
    return [step("new-members", "Membership", `From now on ${list(is.voters)} decide alone.`)];
  }
  const learners = is.learners.filter((id) => !was.learners.includes(id));
  return learners.length === 0 ? [] : [step("learner", "Membership",
    `${Who(learners)} ${learners.length === 1 ? "gets" : "get"} the log, without a vote.`)];
}

function transfers(nodes, leader) {
  if (!leader) return [];
  const target = leader.is.transfer_target;
  if (target === null || target === leader.was.transfer_target) return [];
  return [step("transfers", "Transfer",
    `Node ${leader.id} hands over to node ${target}: it takes no writes until that one has all ` +
    "of its log.")];
}

const SCENES = [
  transfers, elections, falls, votes, wins, followers, removes, members, appends, leaderStores,
  stores, answers, commits, learns, reads, progress, snapshots,
];
