// What a script prints: both streams, followed while it runs, in bounded memory.
//
// An unfinished run is followed by one stream of events for both. Of a finished one the end of
// each stored stream is fetched. The page holds only the last part; the download has the rest.

import {runPath, send} from "./api.js";
import {el, setText} from "./dom.js";
import {Cleaner, bytes, isTerminal} from "./format.js";

const STREAMS = ["stdout", "stderr"];
export const SHOWN_CHARS = 1 << 20;
const BLOCK_CHARS = 8 << 10;
// Of a line that does not end.
const BLOCK_MOST_CHARS = 32 << 10;
// What comes within this time is shown at once.
const BATCH_MS = 50;
const AGAIN_MS = 1500;
const REFUSED_MOST = 3;

// The text on the page. Consecutive output of one stream makes blocks of whole lines, as far as
// lines end; the oldest blocks go when there is too much.
class Screen {
  element = el("div", {class: "screen", tabindex: 0, role: "region",
                        "aria-label": "What the script printed"});
  cut = false;
  #blocks = [];  // {stream, node, chars, full}
  #chars = 0;
  #pending = [];
  #timer = 0;
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  get empty() { return this.#blocks.length === 0 && this.#pending.length === 0; }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#pending = [];
    this.#blocks = [];
    this.#chars = 0;
    this.cut = false;
    this.element.replaceChildren();
  }

  add(stream, text) {
    if (text === "") return;
    this.#pending.push([stream, text]);
    // A timer and not a frame: those do not come in a tab that is not seen.
    if (this.#timer === 0) this.#timer = setTimeout(() => this.flush(), BATCH_MS);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    for (const [stream, text] of this.#pending) this.#append(stream, text);
    this.#pending = [];
    this.#trim();
    this.#changed();
  }

  note(text) {
    this.flush();
    this.element.append(el("p", {class: "screen-note"}, text));
    this.#blocks.push({stream: "note", node: this.element.lastChild, chars: 0});
    this.#changed();
  }

  #append(stream, text) {
    let rest = text.length > SHOWN_CHARS ? text.slice(-SHOWN_CHARS) : text;
    if (rest.length < text.length) this.cut = true;
    while (rest !== "") {
      let block = this.#blocks.at(-1);
      if (block?.stream !== stream || block.full) {
        block = this.#begin(stream);
      }
      const piece = Screen.#piece(rest, block.chars);
      block.node.appendData(piece);
      block.chars += piece.length;
      this.#chars += piece.length;
      rest = rest.slice(piece.length);
      block.full = block.chars >= BLOCK_MOST_CHARS ||
        (block.chars >= BLOCK_CHARS && piece.endsWith("\n"));
    }
  }

  // What still goes into a block of so many characters: up to the end of the line that fills it.
  static #piece(text, chars) {
    const room = Math.max(1, BLOCK_CHARS - chars);
    if (text.length <= room) return text;
    const line = text.indexOf("\n", room - 1);
    return text.slice(0, Math.min(line < 0 ? text.length : line + 1, BLOCK_MOST_CHARS - chars));
  }

  #begin(stream) {
    const node = document.createTextNode("");
    this.element.append(el("div", {class: "block", "data-stream": stream},
      el("span", {class: "stream"}, stream), el("span", {class: "text"}, node)));
    const block = {stream, node, chars: 0, full: false};
    this.#blocks.push(block);
    return block;
  }

  #trim() {
    while (this.#chars > SHOWN_CHARS && this.#blocks.length > 1) {
      const oldest = this.#blocks.shift();
      this.#chars -= oldest.chars;
      this.element.firstElementChild.remove();
      this.cut = true;
    }
  }
}

function toBytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// One stream's bytes or text into what is shown. A character may be cut in two by the pieces.
class Reader {
  #decoder = new TextDecoder("utf-8", {ignoreBOM: true});
  #cleaner = new Cleaner();

  text(text) { return this.#cleaner.push(this.#decoder.decode() + text); }
  bytes(array) { return this.#cleaner.push(this.#decoder.decode(array, {stream: true})); }
  end() { return this.#cleaner.push(this.#decoder.decode()) + this.#cleaner.end(); }
}

export class LogView {
  element = el("section", {class: "panel log", "aria-labelledby": "log-title"});
  #id;
  #live;
  #source = null;
  #readers;
  #screen = new Screen(() => this.#shown());
  #state = el("span", {class: "log-state muted"});
  #cut = el("p", {class: "log-cut callout", hidden: true},
            `Only the end is shown here, ${bytes(SHOWN_CHARS)} at most. All that was kept is in ` +
            "the downloads, once the run has ended.");
  #kept = el("p", {class: "muted small log-kept"});
  #empty = el("p", {class: "screen-empty muted"}, "Nothing printed yet.");
  #end = el("input", {type: "checkbox", id: "log-end", checked: true});
  #wrap = el("input", {type: "checkbox", id: "log-wrap", checked: true});
  #downloads = el("span", {class: "downloads"});
  #stop = new AbortController();
  #finished = false;
  #begun = false;
  #lastEventId = "";
  #refused = 0;
  #timer = 0;
  #hiddenTimer = 0;

  constructor(id, live) {
    this.#id = id;
    this.#live = live;
    this.#fresh();
    this.element.append(
      el("div", {class: "panel-head"}, el("h2", {id: "log-title"}, "Output"), this.#state),
      this.#controls(), this.#cut,
      el("div", {class: "screen-frame"}, this.#empty, this.#screen.element), this.#kept);
    const {signal} = this.#stop;
    this.#screen.element.addEventListener("scroll", () => this.#scrolled(), {signal});
    document.addEventListener("visibilitychange", () => this.#visibility(), {signal});
    live.addEventListener("reset", () => {
      this.#refused = 0;
      if (this.#begun && !this.#finished && !this.#source) this.#follow();
    }, {signal});
  }

  destroy() {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#hiddenTimer);
    this.#close();
  }

  // The run as it is known now. The first call begins to show its output.
  update(run) {
    const {status} = run;
    if (isTerminal(status.phase)) this.#showKept(status);
    if (this.#begun) {
      if (isTerminal(status.phase) && !this.#source && !this.#finished) this.#stored(status);
      return;
    }
    this.#begun = true;
    if (isTerminal(status.phase)) this.#stored(status);
    else this.#follow();
  }

  // ---- what is around the text

  #controls() {
    const choice = (value, text, checked) => el("label", null,
      el("input", {type: "radio", name: "log-streams", value, checked, on: {change: () => {
        this.#screen.element.dataset.only = value;
        this.#shown();
      }}}), el("span", null, text));
    this.#wrap.addEventListener("change", () =>
      this.#screen.element.classList.toggle("unwrapped", !this.#wrap.checked));
    this.#end.addEventListener("change", () => this.#shown());
    return el("div", {class: "log-controls"},
      el("fieldset", {class: "segments"}, el("legend", {class: "unseen"}, "Streams to show"),
         choice("both", "Both", true), choice("stdout", "stdout"), choice("stderr", "stderr")),
      el("label", {class: "switch"}, this.#end, "Follow the end"),
      el("label", {class: "switch"}, this.#wrap, "Wrap lines"),
      this.#downloads);
  }

  #showKept(status) {
    if (!this.#downloads.hasChildNodes()) {
      this.#downloads.append(...STREAMS.map((stream) => el("a", {
        class: "button small", href: `${runPath(this.#id)}/logs?stream=${stream}`,
        download: `${this.#id}.${stream}.log`,
        "aria-label": `Download ${stream}, ${bytes(status[stream].bytes_kept)}`},
        `${stream} `, el("span", {class: "muted"}, bytes(status[stream].bytes_kept)))));
    }
    const cut = STREAMS.filter((stream) => status[stream].truncated).map((stream) =>
      `${stream}: ${bytes(status[stream].bytes_total)} were printed; the first and the last ` +
      `part, ${bytes(status[stream].bytes_kept)} together, were kept (limits.log_bytes).`);
    setText(this.#kept, cut.join(" "));
  }

  #shown() {
    this.#empty.hidden = !this.#screen.empty;
    this.#screen.element.hidden = this.#screen.empty;
    this.#cut.hidden = !this.#screen.cut;
    if (this.#end.checked) {
      this.#screen.element.scrollTop = this.#screen.element.scrollHeight;
    }
  }

  // Who scrolls back wants to read; who scrolls to the end wants to follow again.
  #scrolled() {
    const {scrollTop, scrollHeight, clientHeight} = this.#screen.element;
    this.#end.checked = scrollHeight - scrollTop - clientHeight < 12;
  }

  // ---- where the text comes from

  #fresh() {
    this.#readers = {stdout: new Reader(), stderr: new Reader()};
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  #visibility() {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) {
      this.#hiddenTimer = setTimeout(() => this.#close(), 20000);
    } else if (this.#begun && !this.#finished && !this.#source) {
      this.#follow();
    }
  }

  #follow() {
    this.#close();
    clearTimeout(this.#timer);
    const from = this.#lastEventId && `&last_event_id=${encodeURIComponent(this.#lastEventId)}`;
    const source = new EventSource(`${runPath(this.#id)}/logs?follow=1&stream=both${from}`);
    this.#source = source;
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (source !== this.#source) return;
      this.#refused = 0;
      act(JSON.parse(event.data), event.lastEventId);
    });
    // Only this one says where to go on; the others come with the id of the last one.
    on("log", (piece, place) => {
      this.#lastEventId = place;
      this.#take(piece);
    });
    on("status", (status) => this.#showState(status));
    on("restart", ({attempt}) => this.#restart(attempt));
    on("end", () => this.#ended());
    source.addEventListener("error", () => {
      if (source === this.#source) this.#failed();
    });
  }

  #take({stream, text, base64}) {
    const reader = this.#readers[stream];
    if (!reader) return;
    this.#screen.add(stream, base64 === undefined ? reader.text(text) :
                                                    reader.bytes(toBytes(base64)));
  }

  #showState(status) {
    const texts = {queued: "Begins when the run does", preparing: "Begins when the run does",
                   running: "Live", harvesting: "The script has ended; the rest is fetched"};
    setText(this.#state, texts[status.phase] ?? "");
    this.#state.dataset.live = status.phase === "running" ? "yes" : "no";
  }

  #restart(attempt) {
    this.#fresh();
    this.#lastEventId = "";
    this.#screen.note(`The run was lost and is tried again: attempt ${attempt} begins here.`);
  }

  #ended() {
    this.#close();
    this.#finished = true;
    for (const stream of STREAMS) this.#screen.add(stream, this.#readers[stream].end());
    this.#screen.flush();
    this.#closeState();
  }

  #closeState() {
    setText(this.#state, "Complete");
    this.#state.dataset.live = "no";
    setText(this.#empty, "The script printed nothing.");
  }

  #failed() {
    this.#close();
    this.#refused += 1;
    if (this.#refused > REFUSED_MOST && this.#live.state === "live") {
      setText(this.#state, "It cannot be followed now; it is shown when the run has ended");
      return;
    }
    setText(this.#state, "Interrupted; trying again");
    this.#state.dataset.live = "no";
    // Of a daemon that is gone, the page is told when it is back.
    this.#timer = setTimeout(() => {
      if (!this.#finished && !this.#source && this.#live.state !== "gone") this.#follow();
    }, AGAIN_MS);
  }

  // ---- of a finished run

  async #stored(status) {
    this.#finished = true;
    clearTimeout(this.#timer);
    setText(this.#state, "Loading");
    try {
      const texts = [];
      for (const stream of STREAMS) texts.push(await this.#lastOf(stream, status));
      this.#screen.clear();
      this.#fresh();
      texts.forEach(({bytes: array, cut}, at) => {
        const reader = this.#readers[STREAMS[at]];
        this.#screen.add(STREAMS[at], reader.bytes(array) + reader.end());
        this.#screen.cut ||= cut;
      });
      this.#screen.flush();
      this.#closeState();
      this.#shown();
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#finished = false;
      this.#live.suspect();
      setText(this.#state, `It cannot be read: ${error.message}`);
    }
  }

  // At least half of what is shown for each, so that one does not push out the other.
  async #lastOf(stream, status) {
    // There is no last byte of nothing.
    if (status[stream].bytes_kept === 0) return {bytes: new Uint8Array(), cut: false};
    const other = status[stream === "stdout" ? "stderr" : "stdout"].bytes_kept;
    const most = SHOWN_CHARS - Math.min(SHOWN_CHARS / 2, other);
    const answer = await send("GET", `${runPath(this.#id)}/logs?stream=${stream}`, {
      signal: this.#stop.signal, headers: {Range: `bytes=-${most}`}});
    if (!answer.ok) throw new Error(`the answer was ${answer.status}`);
    const range = /^bytes (\d+)-/.exec(answer.headers.get("Content-Range") ?? "");
    return {bytes: new Uint8Array(await answer.arrayBuffer()),
            cut: range !== null && range[1] !== "0"};
  }
}
