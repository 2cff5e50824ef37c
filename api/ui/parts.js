// Pieces that several views show.

import {GoneError, ProblemError} from "./api.js";
import {el, setAttribute, setText, svg} from "./dom.js";
import {phaseName, visible, visibleLine} from "./format.js";

// Each phase has a shape of its own, for those who cannot tell the colours.
const SHAPES = {
  queued: ["M8 4.5v3.7l2.4 1.5", "M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12z"],
  preparing: ["M3 6l5-3 5 3v5l-5 3-5-3z", "M3 6l5 2.8L13 6M8 8.8V14"],
  running: ["M5.5 3.5l7 4.5-7 4.5z"],
  harvesting: ["M8 2.5v7M5 7l3 3 3-3", "M3 12.8h10"],
  succeeded: ["M3.2 8.5l3.2 3.2 6.4-7"],
  failed: ["M4 4l8 8M12 4l-8 8"],
  timed_out: ["M4 2.5h8M4 13.5h8", "M5 2.5c0 3.5 6 7.5 6 11M11 2.5c0 3.5-6 7.5-6 11"],
  cancelled: ["M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12z", "M4.2 4.2l7.6 7.6"],
  lost: ["M5.5 6a2.5 2.5 0 1 1 3.4 2.3c-.6.3-.9.7-.9 1.4v.3", "M8 13v.1"],
};

function shape(phase) {
  return svg("svg", {viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true",
                     class: "shape"},
             ...(SHAPES[phase] ?? []).map((d) => svg("path", {d})));
}

export class Badge {
  element = el("span", {class: "badge"});
  #phase = null;

  constructor(phase) {
    this.set(phase);
  }

  set(phase) {
    if (phase === this.#phase) return;
    this.#phase = phase;
    setAttribute(this.element, "data-phase", phase);
    this.element.replaceChildren(shape(phase), phaseName(phase));
  }
}

export const badge = (phase) => new Badge(phase).element;

// A problem with all its fields, or whatever else went wrong.
export function problemBox(error, {title, retry} = {}) {
  const known = error instanceof ProblemError ? error.problem : {
    title: error instanceof GoneError ? error.message : "Something went wrong in this page",
    detail: error instanceof GoneError ? "" : String(error)};
  const facts = [known.status, known.type].filter(Boolean).join(" · ");
  const errors = Array.isArray(known.errors) ? known.errors : [];
  return el("div", {class: "problem", role: "alert"},
    title && el("p", {class: "problem-what"}, title),
    el("p", {class: "problem-title"}, visibleLine(known.title ?? "")),
    known.detail && el("p", null, visible(known.detail)),
    errors.length > 0 && el("ul", null, errors.map(fieldError)),
    facts && el("p", {class: "muted mono small"}, visibleLine(facts)),
    retry && el("p", null, el("button", {type: "button", class: "button", on: {click: retry}},
                              "Try again")));
}

function fieldError(entry) {
  const more = ["limit", "value"].filter((name) => entry[name] !== undefined)
    .map((name) => `${name} ${entry[name]}`).join(", ");
  return el("li", null, el("code", null, visibleLine(entry.field ?? "")), " ",
            visible(entry.message ?? ""), more && ` (${visibleLine(more)})`);
}

// One figure of how much is taken, with a bar.
export class Meter {
  #fill = svg("rect", {class: "meter-fill", x: 0, y: 0, height: 6, width: 0});
  #text = el("span", {class: "figure"}, "–");
  element;

  constructor(label) {
    this.element = el("div", {class: "tile"},
      el("dt", null, label),
      el("dd", null, this.#text,
         svg("svg", {class: "meter", viewBox: "0 0 100 6", preserveAspectRatio: "none",
                     "aria-hidden": "true"},
             svg("rect", {class: "meter-back", x: 0, y: 0, width: 100, height: 6}), this.#fill)));
  }

  set(used, total) {
    setText(this.#text, `${used} of ${total}`);
    setAttribute(this.#fill, "width", total > 0 ? Math.min(100, 100 * used / total) : 0);
    setAttribute(this.element, "data-full", total > 0 && used >= total ? "yes" : null);
  }
}

// A part of the page that is made anew only when what it shows has changed, so that focus,
// selection and an open <details> stay where they are.
export class Pane {
  #key;
  element;

  constructor(element) {
    this.element = element;
  }

  show(facts, build) {
    const key = JSON.stringify(facts);
    if (key === this.#key) return;
    this.#key = key;
    this.element.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  }
}

// At most one at a time, and once more if it was wanted meanwhile; never more often than every_ms.
export function throttled(everyMs, work) {
  let timer = 0;
  let busy = false;
  let again = false;
  const begin = async () => {
    timer = 0;
    busy = true;
    try {
      await work();
    } finally {
      busy = false;
      if (again) {
        again = false;
        ask();
      }
    }
  };
  const ask = () => {
    if (busy) again = true;
    else if (timer === 0) timer = setTimeout(begin, everyMs);
  };
  ask.stop = () => {
    clearTimeout(timer);
    timer = -1;
    again = false;
  };
  return ask;
}

export function facts(...pairs) {
  return el("dl", {class: "facts"}, pairs.filter(Boolean).map(([name, value]) =>
    el("div", null, el("dt", null, name), el("dd", null, value))));
}
