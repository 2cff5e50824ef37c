// What happens, as it happens: one stream of events for the whole page.
//
// State: "connecting", "live" (the stream is open), "polling" (the daemon answers, but there is no
// stream: "tick" every few seconds instead), "gone" (nobody answers), "paused" (nobody looks).
//
// Events: "state"; "change" (detail: one event of the daemon); "reset" (something may have been
// missed: load anew); "tick" (polling: look again).

import {send} from "./api.js";

const POLL_MS = 3000;
const STREAM_AGAIN_MS = 15000;
const CUT_MS = 300;
const GONE_FIRST_MS = 1000;
const GONE_MOST_MS = 8000;
// A browser has few connections for one host; a page that nobody looks at gives its own back.
const HIDDEN_MS = 20000;

export class Live extends EventTarget {
  state = "connecting";
  retryAt = 0;
  #source = null;
  #lastId = null;
  #opened = false;
  #stale = false;
  #goneMs = GONE_FIRST_MS;
  #retry = 0;
  #poll = 0;
  #hidden = 0;

  start() {
    document.addEventListener("visibilitychange", () => this.#visibility());
    this.#connect();
  }

  // At once, instead of at the next try.
  again() {
    clearTimeout(this.#retry);
    this.#attempt();
  }

  // Somebody else got no answer: a stream can stay silent long after its other end has died.
  suspect() {
    if (this.state === "live" || this.state === "polling") this.#answers();
  }

  #visibility() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => {
        this.#close();
        this.#set("paused");
      }, HIDDEN_MS);
    } else if (this.state === "paused") {
      this.#stale = true;
      this.#connect();
    }
  }

  #close() {
    clearTimeout(this.#retry);
    clearInterval(this.#poll);
    this.#poll = 0;
    this.#source?.close();
    this.#source = null;
  }

  #set(state, retryMs = 0) {
    this.retryAt = retryMs ? Date.now() + retryMs : 0;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, {detail}));
  }

  #connect() {
    this.#close();
    this.#opened = false;
    const from = this.#lastId === null ? "" : `?last_event_id=${this.#lastId}`;
    const source = new EventSource(`v1/events${from}`);
    this.#source = source;
    source.addEventListener("hello", (event) => this.#hello(event));
    source.addEventListener("status", (event) => this.#status(event));
    source.addEventListener("error", () => {
      if (source === this.#source) this.#failed();
    });
  }

  #hello(event) {
    const fresh = this.#lastId === null;
    if (event.lastEventId) this.#lastId = event.lastEventId;
    this.#opened = true;
    this.#goneMs = GONE_FIRST_MS;
    clearInterval(this.#poll);
    this.#set("live");
    if (fresh || this.#stale) this.#emit("reset");
    this.#stale = false;
  }

  #status(event) {
    let change;
    try {
      change = JSON.parse(event.data);
    } catch {
      return;
    }
    if (event.lastEventId) this.#lastId = event.lastEventId;
    this.#emit("change", change);
  }

  // The browser would try again by itself, but it cannot tell why the stream ended.
  async #failed() {
    const was = this.#opened;
    this.#source.close();
    this.#source = null;
    this.#opened = false;
    if (!await this.#answers()) return;
    if (this.#source !== null || this.state === "paused") return;
    if (was) {
      this.#later(CUT_MS);
    } else if (this.#lastId !== null) {
      // Too long ago, or another database: nothing to resume from.
      this.#lastId = null;
      this.#connect();
    } else {
      this.#pollInstead();
    }
  }

  #pollInstead() {
    this.#goneMs = GONE_FIRST_MS;
    if (this.state !== "polling") {
      this.#set("polling");
      this.#emit("reset");
    }
    clearInterval(this.#poll);
    this.#poll = setInterval(() => this.#tick(), POLL_MS);
    this.#later(STREAM_AGAIN_MS);
  }

  async #tick() {
    if (await this.#answers()) this.#emit("tick");
  }

  async #answers() {
    try {
      if ((await send("GET", "healthz")).ok) return true;
    } catch { /* nobody there */ }
    this.#gone();
    return false;
  }

  #gone() {
    if (this.state === "paused") return;
    this.#close();
    this.#stale = true;
    const wait = this.#goneMs;
    this.#goneMs = Math.min(wait * 2, GONE_MOST_MS);
    this.#set("gone", wait);
    this.#later(wait);
  }

  #later(ms) {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#attempt(), ms);
  }

  async #attempt() {
    if (this.state === "paused") return;
    if (this.state !== "gone") {
      this.#connectKeepingPoll();
    } else if (await this.#answers()) {
      this.#connect();
    }
  }

  // While polling, a stream that is refused once more is no news.
  #connectKeepingPoll() {
    const polling = this.state === "polling";
    this.#connect();
    if (polling) this.#poll = setInterval(() => this.#tick(), POLL_MS);
  }
}
