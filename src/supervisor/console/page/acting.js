// What one can do from the picture: a menu for a node and one for a link, the server's refusals and
// warnings, and the receipt of what was healed.

import { byId, make, setAttribute, setHidden, span } from "./dom.js";
import { post } from "./net.js";
import { faultText } from "./panels.js";

const DURATIONS = [[10_000, "10 s"], [30_000, "30 s"], [null, "until healed"]];
const NOTICE_LASTS = 3000;
const MOST_NOTICES = 4;

const UP = new Set(["running", "unresponsive", "starting"]);

// What can be done to a node: when, in words, and what comes of it.
const ACTS = [
  ["pause", (node) => node.state === "running", "Pause", "it stands still"],
  ["resume", (node) => node.state === "paused", "Resume", "it goes on"],
  ["kill", (node) => UP.has(node.state) || node.state === "paused", "Kill",
    "and the supervisor starts it again"],
  ["stop", (node) => node.state !== "stopped", "Stop", "until it is started"],
  ["start", (node) => !UP.has(node.state) && node.state !== "paused", "Start", ""],
  ["restart", (node) => UP.has(node.state), "Restart", "stop, then start"],
];

const both = (a, b) => ({ these: [{ from: String(a), to: String(b), both: true }] });
const oneWay = (a, b) => ({ these: [{ from: String(a), to: String(b), both: false }] });
const onLink = (links, policy) => ({ kind: "link", links, policy });

export class Acting {
  constructor() {
    this.menu = byId("menu");
    this.duration = null;
    this.view = null;
    this.menu.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("pointerdown", (event) => {
      if (!this.menu.hidden && !this.menu.contains(event.target)) this.close();
    });
    byId("heal-all").addEventListener("click", () => this.heal([]));
  }

  update(view) {
    this.view = view;
  }

  // Takes each state as it comes: who healed a fault, or that its time was over, makes no
  // difference to what there is to say of it.
  take({ ended }) {
    const known = this.ended;
    this.ended = new Set(ended.map(({ id }) => id));
    const over = known ? ended.filter(({ id }) => !known.has(id)) : [];
    if (over.length === 0) return;
    for (const old of byId("notices").querySelectorAll(".warning")) old.remove();
    receipt(over);
  }

  // Opens the menu for `{element, node}` or `{element, link}` near a point.
  open(about, { x, y }) {
    if (!this.view || this.view.offline) return;
    this.opener = about.element;
    const items = about.node ? this.forNode(about.node) : this.forLink(about.link);
    this.menu.replaceChildren(...items);
    setHidden(this.menu, false);
    const box = this.menu.getBoundingClientRect();
    const within = (at, size, room) => Math.max(6, Math.min(at, room - size - 6));
    this.menu.style.left = `${within(x, box.width, innerWidth)}px`;
    this.menu.style.top = `${within(y, box.height, innerHeight)}px`;
    this.menu.querySelector("button").focus();
  }

  close() {
    if (this.menu.hidden) return;
    setHidden(this.menu, true);
    this.opener?.focus();
  }

  forNode(id) {
    const node = this.view.nodes.find((one) => one.id === id);
    if (!node) return [];
    setAttribute(this.menu, "aria-label", `node ${id}`);
    const acts = ACTS.filter(([, can]) => can(node)).map(([act, , words, more]) =>
      this.item(words, more, { "data-act": act }, () => this.act(id, act)));
    const isolate = { kind: "isolate", nodes: [String(id)] };
    const faults = this.view.faults.filter((fault) => concernsNode(fault, id));
    return [
      title(`node ${id}`, node.leads ? "It leads: without it the others elect another." : ""),
      ...acts,
      title("Break it"),
      this.item("Isolate", "it reaches nobody", { "data-fault": "isolate" }, () =>
        this.inject(isolate)),
      this.durations(),
      ...this.healers(faults),
    ];
  }

  forLink(key) {
    const [a, b] = key.split("-").map(Number);
    setAttribute(this.menu, "aria-label", `link between node ${a} and node ${b}`);
    const breaks = (words, more, name, wish, from = "") =>
      this.item(words, more, { "data-fault": name, "data-from": from }, () => this.inject(wish));
    const faults = this.view.faults.filter((fault) => concernsLink(fault, a, b));
    return [
      title(`link ${a} – ${b}`),
      breaks("Cut", "both ways", "cut", onLink(both(a, b), { cut: true })),
      breaks(`Cut ${a} → ${b}`, "one way", "one-way", onLink(oneWay(a, b), { cut: true }), a),
      breaks(`Cut ${b} → ${a}`, "one way", "one-way", onLink(oneWay(b, a), { cut: true }), b),
      breaks("Delay 100 ms", "each way", "delay", onLink(both(a, b), { delay_millis: 100 })),
      breaks("Lose 30 %", "of the messages", "loss", onLink(both(a, b), { loss: 0.3 })),
      this.durations(),
      ...this.healers(faults),
    ];
  }

  healers(faults) {
    return faults.map((fault) =>
      this.item("Heal", faultText(fault), { "data-fault": "heal" }, () => this.heal([fault.id])));
  }

  item(words, more, attributes, act) {
    const known = { type: "button", role: "menuitem", tabindex: -1, ...attributes };
    const button = make("button", known, words);
    if (more) button.append(make("small", {}, more));
    button.addEventListener("click", () => {
      this.close();
      act();
    });
    return button;
  }

  // How long a fault is to last: kept from one to the next.
  durations() {
    const buttons = DURATIONS.map(([time, words]) => {
      const role = { type: "button", role: "menuitemradio", tabindex: -1, "data-duration": time };
      const button = make("button", { ...role, "aria-checked": time === this.duration }, words);
      button.addEventListener("click", () => {
        this.duration = time;
        for (const one of buttons) setAttribute(one, "aria-checked", one === button);
      });
      return button;
    });
    return make("div", { role: "group", "aria-label": "how long", class: "durations" }, ...buttons);
  }

  key(event) {
    const items = [...this.menu.querySelectorAll("button")];
    const at = items.indexOf(document.activeElement);
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    if (event.key in steps) {
      items[(at + steps[event.key] + items.length) % items.length].focus();
    } else if (event.key === "Home") items[0].focus();
    else if (event.key === "End") items.at(-1).focus();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async act(node, action) {
    const answer = await this.ask("/console/act", { node, action, yes: false });
    if (answer) notice(`node ${node}: ${action} is under way`, "done");
  }

  async inject(wish) {
    const injection = { wish, by: "console" };
    if (this.duration !== null) injection.duration_millis = this.duration;
    const answer = await this.ask("/console/fault", { injection, yes: false });
    if (!answer) return;
    if (answer.warning) notice(answer.warning, "warning");
    unheard(answer.unheard);
  }

  async heal(faults) {
    const answer = await this.ask("/console/heal", { faults });
    if (!answer) return;
    if (answer.healed.length === 0) notice("there was nothing to heal", "done");
    unheard(answer.unheard);
  }

  // Sends an order. Whoever is refused can insist, where the supervisor says that it would help.
  async ask(path, order) {
    const { status, body } = await post(path, order);
    if (status === 200) return body;
    const words = body.refused ?? failure(status);
    if (!body.may_insist) notice(words, "failed");
    else if (await insists(words)) return this.ask(path, { ...order, yes: true });
    return null;
  }
}

function failure(status) {
  return status === 0 ? "the supervisor does not answer" : `the supervisor answers ${status}`;
}

function concernsNode(fault, id) {
  const isolated = fault.wish.kind === "isolate" && fault.wish.nodes.includes(String(id));
  return isolated || fault.nodes?.includes(id);
}

function concernsLink(fault, a, b) {
  const between = ([from, to]) => (from === a && to === b) || (from === b && to === a);
  return (fault.links ?? []).some(between);
}

function title(words, more = "") {
  const element = make("p", { class: "menu-title", role: "presentation" }, words);
  if (more) element.append(make("small", {}, more));
  return element;
}

// Shows a refusal in the server's words, and answers whether to do it all the same.
function insists(words) {
  const dialog = byId("refused");
  byId("refused-words").textContent = words;
  return new Promise((answer) => {
    let yes = false;
    byId("refused-yes").onclick = () => {
      yes = true;
      dialog.close();
    };
    byId("refused-no").onclick = () => dialog.close();
    dialog.onclose = () => answer(yes);
    dialog.showModal();
    byId("refused-no").focus();
  });
}

function unheard(nodes = []) {
  if (nodes.length === 0) return;
  const who = nodes.length === 1 ? `node ${nodes[0]} does` : `nodes ${nodes.join(", ")} do`;
  notice(`${who} not answer, and will hear of this later`, "warning");
}

// Says something in the corner. What went well goes away by itself; what did not waits.
export function notice(words, kind) {
  const notices = byId("notices");
  for (const old of [...notices.children]) {
    if (old.firstElementChild.textContent === words) old.remove();
  }
  const element = make("p", { class: `notice ${kind}` }, make("span", {}, words));
  const button = make("button", { type: "button", "aria-label": "dismiss" }, "✕");
  button.addEventListener("click", () => element.remove());
  element.append(button);
  notices.append(element);
  if (notices.childElementCount > MOST_NOTICES) notices.firstElementChild.remove();
  if (kind === "done") setTimeout(() => element.remove(), NOTICE_LASTS);
}

// What ended, how long it was in force, and what the cluster did meanwhile.
function receipt(ended) {
  const card = byId("receipt");
  const button = make("button", { type: "button", "aria-label": "dismiss the receipt" }, "✕");
  button.addEventListener("click", () => setHidden(card, true));
  const items = ended.map((one) => make("li", { "data-fault-id": one.id },
    make("b", {}, one.what),
    make("span", {}, ` for ${span(one.lasted_millis)}: ${one.why ?? "healed"}`),
    make("p", {}, one.text)));
  const title = ended.every((one) => one.why) ? "Over by itself" : "Healed";
  card.replaceChildren(make("header", {}, make("h2", {}, title), button),
    make("ul", {}, ...items));
  setHidden(card, false);
}
