// The way to the supervisor: the token, the stream of what happens, and orders.

const KEPT_AS = "kvraft-console-token";
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;

// The supervisor sends something every two seconds; who is silent for longer is not there.
const SILENCE = 6000;

let token = null;

// Takes the token out of the address, so that neither a bookmark nor a shared screen shows it.
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEPT_AS, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  token = given ?? sessionStorage.getItem(KEPT_AS);
  return token !== null;
}

function authorised(more = {}) {
  return { Authorization: `Bearer ${token}`, ...more };
}

// What the supervisor answers to an order. `status` 0: nothing came back.
export async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: authorised({ "Content-Type": "application/json" }),
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await json(response) };
  } catch {
    return { status: 0, body: {} };
  }
}

export async function olderEvents(before) {
  const headers = authorised();
  const response = await fetch(`/console/history?before=${before}`, { headers });
  if (!response.ok) throw new Error(`the supervisor answers ${response.status}`);
  return response.json();
}

async function json(response) {
  const words = await response.text();
  try {
    return JSON.parse(words);
  } catch {
    return { refused: words };
  }
}

// Follows the stream for as long as the page is open. `on.history`, `on.state`: what it says;
// `on.up`, `on.down`: whether it is there; `on.locked`: the token is not the right one.
export async function follow(on) {
  let pause = FIRST_PAUSE;
  for (;;) {
    try {
      const response = await listen(on, () => (pause = FIRST_PAUSE));
      if (response === 401) return on.locked();
    } catch {
      // A stream that breaks is as good as one that ends.
    }
    on.down();
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

async function listen(on, heard) {
  const watch = new Watchdog();
  try {
    const { signal } = watch;
    const response = await fetch("/console/stream", { headers: authorised(), signal });
    if (!response.ok) return response.status;
    const frames = new Frames((kind, data) => {
      heard();
      on.up();
      on[kind]?.(JSON.parse(data));
    });
    await pump(response.body.getReader(), frames, watch);
    return response.status;
  } finally {
    watch.stop();
  }
}

async function pump(reader, frames, watch) {
  const decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    watch.feed();
    frames.take(decoder.decode(value, { stream: true }));
  }
}

// Gives up a stream that says nothing for too long.
class Watchdog {
  constructor() {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.feed();
  }

  feed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(), SILENCE);
  }

  stop() {
    clearTimeout(this.timer);
    this.controller.abort();
  }
}

// Takes a stream of server-sent events apart. EventSource would, but sends no headers.
class Frames {
  constructor(deliver) {
    this.deliver = deliver;
    this.rest = "";
  }

  take(words) {
    this.rest += words;
    const lines = this.rest.split(/\r?\n/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") return this.end();
    if (line.startsWith("event:")) this.kind = line.slice(6).trim();
    if (line.startsWith("data:")) this.data = (this.data ?? "") + line.slice(5).trimStart();
  }

  end() {
    const { kind, data } = this;
    this.kind = this.data = undefined;
    if (data !== undefined) this.deliver(kind ?? "message", data);
  }
}
