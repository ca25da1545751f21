// What a state means: who is known and who is not, which faults concern which link, and how fast
// things go. Nothing here draws.

// A report that is older says nothing about now.
const STALE = 2000;

// States in which a node says nothing, whatever it said last.
const SILENT = new Set(["paused", "unresponsive", "stopped", "backing-off", "crash-looping"]);

// Rates are means over so long: short enough to be "now", long enough to be calm.
const RATE_WINDOW = 1500;

// The newest entries that the logs are drawn in; in slow motion each is to be seen.
const LEAST_WINDOW = 64;
const LEAST_SLOW_WINDOW = 12;

export const linkKey = (a, b) => (a < b ? `${a}-${b}` : `${b}-${a}`);

// Whether the cluster runs in slow motion, so that each of its steps can be told.
export const isSlow = (cluster) => cluster.slow > 1;

// A state as the page draws it. `offline`: the supervisor does not answer, nothing is known.
export function viewOf(state, now, offline) {
  const { cluster } = state;
  const nodes = cluster.nodes.map((node) => nodeView(node, cluster, now, offline));
  if (!isSlow(cluster)) align(nodes, cluster);
  return {
    now,
    offline,
    slow: isSlow(cluster),
    cluster,
    nodes,
    faults: state.faults,
    leader: offline ? null : (cluster.leader ?? null),
    scale: scaleOf(nodes, isSlow(cluster) ? LEAST_SLOW_WINDOW : LEAST_WINDOW),
    links: faultsByLink(state.faults, now),
  };
}

// A fault that comes and goes faster than this is drawn as one that is there and flaps: blinking
// would tell less, and harms some who look.
const FASTEST_FLAP = 500;

// Where a fault is that comes and goes: `steady` (it does not), `on`, `off` or `fast`; and when
// that changes.
export function phaseOf({ flap, since_millis: since }, now) {
  if (!flap) return { phase: "steady", until: Infinity };
  const { on_millis: on, off_millis: off } = flap;
  if (Math.min(on, off) < FASTEST_FLAP) return { phase: "fast", until: Infinity };
  const within = Math.max(0, now - since) % (on + off);
  const isOn = within < on;
  const left = (isOn ? on : on + off) - within;
  return { phase: isOn ? "on" : "off", until: now + left };
}

export const isInForce = (fault, now) => phaseOf(fault, now).phase !== "off";

function nodeView(node, cluster, now, offline) {
  const { report } = node;
  const age = report ? now - node.report_millis : null;
  const former = report && node.pid && report.pid !== node.pid;
  const unknown =
    offline || !report || former || age > STALE || SILENT.has(node.state);
  return {
    id: node.node,
    state: node.state,
    problem: node.problem,
    standing: node.standing,
    unknown,
    age,
    since: report ? node.report_millis : node.since_millis,
    role: unknown ? "unknown" : report.role.replaceAll("_", "-"),
    term: report?.term ?? null,
    believes: report?.leader ?? null,
    leads: !unknown && report.role === "leader" && cluster.leader === node.node,
    log: report && {
      applied: report.applied_index,
      committed: report.commit_index,
      durable: report.durable_index,
      last: report.last_index,
    },
  };
}

// Reports are of different moments, and under load a node would seem ahead or behind by what came
// in between. So what the leader knows of a follower's log says where that log is beside its own.
// In slow motion it is the other way round: then what the leader does not know yet is to be seen.
function align(nodes, cluster) {
  const leader = cluster.nodes.find((node) => node.node === cluster.leader);
  const own = nodes.find((node) => node.id === cluster.leader);
  if (!leader?.report || !own || own.unknown) return;
  for (const peer of leader.report.peers ?? []) {
    const node = nodes.find(({ id }) => id === peer.node);
    if (!node?.log || node.unknown) continue;
    const moved = peer.match_index - node.log.durable;
    const { applied, committed } = node.log;
    node.log = {
      applied: applied + moved,
      committed: committed + moved,
      durable: peer.match_index,
      last: Math.max(peer.match_index, Math.min(node.log.last + moved, leader.report.last_index)),
    };
  }
}

// One scale for all logs: their newest entries. Who is not known does not stretch it, or a node
// that was down for an hour would hide what the others do.
function scaleOf(nodes, least) {
  const logs = nodes.filter((node) => !node.unknown && node.log).map((node) => node.log);
  const all = logs.length > 0 ? logs : nodes.filter((node) => node.log).map((node) => node.log);
  if (all.length === 0) return { low: 0, high: least, committed: 0 };
  const high = Math.max(...all.map((log) => log.last));
  const lag = high - Math.min(...all.map((log) => log.applied));
  const committed = Math.max(...all.map((log) => log.committed));
  return { low: high - Math.max(least, Math.ceil(lag * 1.2)), high, committed };
}

// For each link with faults: those in force from its lower node to its higher one, and those back;
// and whether any of them, in force or not, comes and goes.
function faultsByLink(faults, now) {
  const links = new Map();
  for (const fault of faults) {
    for (const [from, to] of fault.links ?? []) {
      const key = linkKey(from, to);
      if (!links.has(key)) links.set(key, { there: [], back: [], flaps: false });
      const link = links.get(key);
      if (fault.flap) link.flaps = true;
      if (isInForce(fault, now)) link[from < to ? "there" : "back"].push(fault);
    }
  }
  return links;
}

// What several faults together do to one direction of a link.
export function together(faults) {
  const policies = faults.map((fault) => fault.policy ?? {});
  const passes = policies.reduce((share, policy) => share * (1 - (policy.loss ?? 0)), 1);
  const sum = (name) => policies.reduce((total, policy) => total + (policy[name] ?? 0), 0);
  return {
    cut: passes <= 0 || policies.some((policy) => policy.cut || policy.stall),
    delay: sum("delay_millis"),
    jitter: sum("jitter_millis"),
    loss: 1 - passes,
    duplicate: sum("duplicate"),
    reorder: sum("reorder"),
  };
}

// How fast things go, from the differences of what the nodes report.
export class Rates {
  constructor() {
    this.windows = new Map();
  }

  observe(nodes) {
    const present = new Set(nodes.map((node) => node.node));
    for (const id of this.windows.keys()) if (!present.has(id)) this.windows.delete(id);
    for (const node of nodes) if (node.report) this.take(node.node, node);
  }

  take(id, { report, report_millis: at }) {
    const seen = this.windows.get(id) ?? [];
    this.windows.set(id, seen);
    const newest = seen.at(-1);
    if (newest?.at === at) return;
    const links = new Map((report.links ?? []).map((link) => [link.peer, link]));
    const reading = { at, pid: report.pid, served: report.served ?? {}, links };
    if (newest && began(newest, reading)) seen.length = 0;
    seen.push(reading);
    while (seen.length > 2 && at - seen[1].at >= RATE_WINDOW) seen.shift();
  }

  // What a node served a second, lately; `null`: it has not said enough.
  served(id) {
    const ends = this.ends(id);
    if (!ends) return null;
    const { first, last, seconds } = ends;
    const grown = (name) => (last.served[name] ?? 0) - (first.served[name] ?? 0);
    return {
      reads: grown("reads") / seconds,
      writes: grown("writes") / seconds,
      failed: grown("failed") / seconds,
      commits: grown("commits") / seconds,
      commitMicros: grown("commit_micros") / seconds,
    };
  }

  // What one node sends another: messages a second, and how long they take (`null`: none came).
  link(from, to) {
    const ends = this.ends(from);
    const before = ends?.first.links.get(to);
    const after = ends?.last.links.get(to);
    if (!before || !after) return null;
    const grown = (name) => Math.max(0, after[name] - before[name]);
    const came = grown("deliveries");
    return {
      perSecond: grown("sent_messages") / ends.seconds,
      millis: came > 0 ? grown("delivery_micros") / came / 1000 : null,
    };
  }

  ends(id) {
    const seen = this.windows.get(id) ?? [];
    if (seen.length < 2) return null;
    const [first, last] = [seen[0], seen.at(-1)];
    return { first, last, seconds: (last.at - first.at) / 1000 };
  }
}

// Whether a node began anew between two readings: its totals count from its start.
function began(before, after) {
  const fell = (name) => (after.served[name] ?? 0) < (before.served[name] ?? 0);
  return (
    before.pid !== after.pid ||
    after.at < before.at ||
    ["reads", "writes", "failed", "commits"].some(fell)
  );
}
