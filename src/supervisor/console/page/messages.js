// In slow motion: a dot for what a node sends another, on its way for as long as that takes.

import { draw } from "./dom.js";

// What leaves together is one dot, and what follows at once is not drawn: so many at most.
const MOST = 200;

export class Messages {
  constructor(layer) {
    this.layer = layer;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
  }

  // Draws what left between two states. `places`: where the nodes are.
  take(before, after, rates, places) {
    if (this.still.matches) return;
    for (const { node: from, report } of after.nodes) {
      const was = before.nodes.find((one) => one.node === from)?.report;
      if (!report || was?.pid !== report.pid) continue;
      for (const link of report.links) {
        const earlier = was.links.find(({ peer }) => peer === link.peer);
        if (!earlier || left(link) <= left(earlier)) continue;
        const way = rates.link(from, link.peer)?.millis ?? mean(link);
        this.send(places.get(from), places.get(link.peer), way);
      }
    }
  }

  send(from, to, way) {
    if (!from || !to || way === null || this.layer.childElementCount >= MOST) return;
    const dot = draw("circle", { class: "message", r: 6 });
    this.layer.append(dot);
    const at = ({ x, y }) => ({ transform: `translate(${x}px, ${y}px)` });
    const flight = dot.animate([at(from), at(to)], { duration: way });
    flight.onfinish = flight.oncancel = () => dot.remove();
  }
}

// Messages that have left so far: those that came out of the link, and those that are in it.
const left = (link) => link.sent_messages + link.under_way;

const mean = (link) =>
  (link.deliveries > 0 ? link.delivery_micros / link.deliveries / 1000 : null);
