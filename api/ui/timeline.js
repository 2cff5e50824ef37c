// The phases of one run as a line: how long it was queued, prepared, ran and was harvested.

import {now} from "./api.js";
import {el, setAttribute, setText, svg} from "./dom.js";
import {duration, exact, isTerminal, span as inSeconds} from "./format.js";

const PARTS = [
  {name: "queue", title: "Queue", from: "created_at", limit: "queue_timeout_s"},
  {name: "prepare", title: "Prepare", from: "preparing_at"},
  {name: "run", title: "Run", from: "running_at", limit: "timeout_s"},
  {name: "harvest", title: "Harvest", from: "harvesting_at"},
];
const WIDTH = 1000;
// What was there can be seen, however short it was.
const LEAST = 6;

// [{name, title, at, ms, active}] of what has begun.
export function spans(status, nowMs) {
  const begun = PARTS.filter((part) => status[part.from]);
  return begun.map((part, index) => {
    const at = Date.parse(status[part.from]);
    const next = begun[index + 1];
    const active = !next && !isTerminal(status.phase);
    const end = next ? Date.parse(status[next.from]) :
      active ? nowMs : Date.parse(status.finished_at ?? status[part.from]);
    const ms = status.clocks_ms?.[part.name] ?? Math.max(0, end - at);
    return {...part, at, ms: active ? Math.max(0, nowMs - at) : ms, active};
  });
}

// Widths that are in proportion, each at least LEAST, WIDTH in all.
export function widths(parts) {
  const total = parts.reduce((sum, part) => sum + part.ms, 0) || 1;
  const raw = parts.map((part) => Math.max(LEAST, WIDTH * part.ms / total));
  const sum = raw.reduce((all, width) => all + width, 0);
  return raw.map((width) => WIDTH * width / sum);
}

export class Timeline {
  #bars = new Map();
  #cells = new Map();
  #run = null;
  #timer;
  #svg = svg("svg", {class: "timeline", viewBox: `0 0 ${WIDTH} 12`, preserveAspectRatio: "none",
                     role: "img"});
  element;

  constructor() {
    const list = el("ol", {class: "phases"});
    for (const part of PARTS) {
      const bar = svg("rect", {y: 0, height: 12, x: 0, width: 0, "data-part": part.name});
      this.#svg.append(bar);
      this.#bars.set(part.name, bar);
      const cell = {time: el("span", {class: "figure"}), note: el("span", {class: "note"})};
      cell.element = el("li", {"data-part": part.name},
        el("span", {class: "phase-name"}, el("span", {class: "swatch", "aria-hidden": "true"}),
           part.title), cell.time, cell.note);
      list.append(cell.element);
      this.#cells.set(part.name, cell);
    }
    this.element = el("section", {class: "panel", "aria-labelledby": "timeline-title"},
      el("div", {class: "panel-head"}, el("h2", {id: "timeline-title"}, "Time line")),
      this.#svg, list);
    this.#timer = setInterval(() => {
      if (this.#run && !isTerminal(this.#run.status.phase) && !document.hidden) this.#draw();
    }, 1000);
  }

  destroy() {
    clearInterval(this.#timer);
  }

  update(run) {
    this.#run = run;
    this.#draw();
  }

  #draw() {
    const {status, spec} = this.#run;
    const parts = spans(status, now());
    const wide = widths(parts);
    let x = 0;
    for (const bar of this.#bars.values()) setAttribute(bar, "width", 0);
    parts.forEach((part, index) => {
      const bar = this.#bars.get(part.name);
      // A gap between two, without which they would be told apart by colour alone.
      setAttribute(bar, "x", x.toFixed(1));
      setAttribute(bar, "width", Math.max(1, wide[index] - 3).toFixed(1));
      setAttribute(bar, "data-active", part.active ? "yes" : null);
      x += wide[index];
    });
    setAttribute(this.#svg, "aria-label", parts.map((part) =>
      `${part.title} ${duration(part.ms)}`).join(", "));
    for (const part of PARTS) this.#cell(part, parts.find(({name}) => name === part.name), spec,
                                         isTerminal(status.phase));
  }

  #cell(part, span, spec, over) {
    const cell = this.#cells.get(part.name);
    setAttribute(cell.element, "data-state", span ? (span.active ? "active" : "done") : "none");
    setText(cell.time, span ? duration(span.ms) : over ? "not reached" : "not yet");
    setAttribute(cell.time, "title", span ? `began ${exact(span.at)}` : null);
    const most = part.limit && spec.limits[part.limit];
    setText(cell.note, most ? `at most ${inSeconds(most)}` : "");
  }
}
