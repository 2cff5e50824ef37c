// The list of runs: filters, pages, live.

import {get} from "./api.js";
import {ago, since} from "./clock.js";
import {announce, copyButton, el, setText} from "./dom.js";
import {PHASES, commandLine, duration, isTerminal, phaseName, shorten, visible, visibleLine}
  from "./format.js";
import {Badge, badge, Pane, problemBox, throttled} from "./parts.js";

const PAGE_SIZE = 50;
// What a row shows of a command; the run itself shows all of it.
const TITLE_CHARS = 400;
const AT_MOST_MS = 300;
// An event of each type says when the phase of that name was entered.
const ENTERED = {preparing: "preparing_at", running: "running_at", harvesting: "harvesting_at",
                 finished: "finished_at"};

// What is asked for, as it stands behind #/ in the address.
export class Wanted {
  constructor(query) {
    const params = new URLSearchParams(query);
    this.phases = (params.get("phase") ?? "").split(",").filter((name) => PHASES.includes(name));
    this.labels = params.getAll("label");
    this.cursor = params.get("cursor");
  }

  #params(names) {
    const params = new URLSearchParams();
    if (this.phases.length) params.set("phase", this.phases.join(","));
    for (const label of this.labels) params.append("label", label);
    if (this.cursor) params.set("cursor", this.cursor);
    for (const [name, value] of Object.entries(names ?? {})) params.set(name, value);
    return params.toString();
  }

  with(change) {
    return Object.assign(new Wanted(""), {phases: this.phases, labels: this.labels, cursor: null},
                         change);
  }

  get filtered() { return this.phases.length + this.labels.length > 0; }
  get request() { return `v1/runs?${this.#params({limit: PAGE_SIZE})}`; }
  get hash() {
    const query = this.#params();
    return query ? `#/?${query}` : "#/";
  }

  matches(phase, labels) {
    return (this.phases.length === 0 || this.phases.includes(phase)) &&
      this.labels.every((label) => {
        const at = label.indexOf("=");
        return labels?.[label.slice(0, at)] === label.slice(at + 1);
      });
  }
}

export const labelHash = (key, value) =>
  new Wanted("").with({labels: [`${key}=${value}`]}).hash;

// How long it took, or how long it has been going on.
function took(status) {
  if (isTerminal(status.phase)) {
    if (!status.running_at) return ["did not run"];
    const end = Date.parse(status.harvesting_at ?? status.finished_at);
    return ["ran ", duration(end - Date.parse(status.running_at))];
  }
  const at = status.phase === "queued" ? status.created_at : status[`${status.phase}_at`];
  return at ? ["for ", since(at)] : [];
}

function whyText(status) {
  if (status.pending_reason && !isTerminal(status.phase)) {
    return `${status.pending_reason}: ${status.pending_message ?? ""}`;
  }
  if (status.phase === "succeeded" || !status.reason) return "";
  const code = status.exit_code === null || status.exit_code === undefined ||
    status.reason !== "NonZeroExit" ? "" : ` (exit code ${status.exit_code})`;
  return status.reason + code;
}

class Row {
  #badge;
  #why = el("span", {class: "row-why"});
  #time = new Pane(el("span", {class: "row-took"}));
  element;

  constructor(run) {
    this.run = run;
    this.#badge = new Badge(run.status.phase);
    const {spec} = run;
    const labels = Object.entries(spec.labels ?? {});
    this.element = el("li", {class: "row"},
      this.#badge.element,
      el("div", {class: "row-what"},
         el("a", {href: `#/runs/${run.id}`, class: "row-link"},
            shorten(visibleLine(commandLine(spec.command)), TITLE_CHARS)),
         el("span", {class: "row-facts"},
            el("span", null, visibleLine(spec.image)),
            el("span", {class: "mono"}, run.id),
            labels.map(([key, value]) => el("span", {class: "label"},
                                            visibleLine(`${key}=${value}`))),
            this.#why)),
      el("div", {class: "row-when"}, ago(run.status.created_at), this.#time.element));
    this.show(run);
  }

  show(run) {
    this.run = run;
    const {status} = run;
    this.#badge.set(status.phase);
    setText(this.#why, visible(whyText(status)));
    this.#time.show([status.phase, status.running_at, status.finished_at], () => took(status));
  }

  apply(change) {
    const {status} = this.run;
    if (change.revision <= status.revision) return;
    for (const name of ["phase", "reason", "message", "pending_reason", "pending_message",
                        "attempt", "revision", "exit_code", "signal"]) {
      if (change[name] !== undefined) status[name] = change[name];
    }
    if (ENTERED[change.type]) status[ENTERED[change.type]] = change.at;
    this.show(this.run);
  }
}

function snippet(text) {
  const code = el("code", null, text);
  return el("div", {class: "snippet"}, el("pre", {tabindex: 0}, code), copyButton(text, code));
}

function newcomer() {
  const base = new URL("./", document.baseURI).href.replace(/\/$/, "");
  return el("div", {class: "empty"},
    el("h2", null, "No run yet"),
    el("p", null, "Runs are sent to this service by programs. Send the first one from a " +
       "terminal: it appears here by itself."),
    el("h3", null, "With the command-line client"),
    snippet(`MAYFLY_URL=${base} mayfly run --image busybox -- sh -c 'echo hello'`),
    el("h3", null, "With curl"),
    snippet(`curl -s '${base}/v1/runs?wait=30s' -H 'Content-Type: application/json' -d '
  {"image": "busybox", "command": ["sh", "-c", "echo hello; date > output/now.txt"]}'`));
}

export class RunsView {
  title = "Runs";
  #wanted;
  #live;
  #overview;
  #stop = new AbortController();
  #rows = new Map();
  #list = el("ol", {class: "rows"});
  #state = el("div", {class: "list-state"});
  #pages = new Pane(el("nav", {class: "pages", "aria-label": "Pages"}));
  #counts = new Map();
  #loaded = false;
  // Where each page's cursor was met, so that one can go back.
  static #before = new Map();

  constructor(query, {live, overview}) {
    this.#wanted = new Wanted(query);
    this.#live = live;
    this.#overview = overview;
    this.refresh = throttled(AT_MOST_MS, () => this.#load());
    this.heading = el("h1", {tabindex: -1}, "Runs");
    this.element = el("div", {class: "view"}, overview.element,
      el("section", {class: "runs"}, el("div", {class: "runs-head"}, this.heading),
         this.#filters(), this.#state, this.#list, this.#pages.element));
    const {signal} = this.#stop;
    live.addEventListener("change", (event) => this.#change(event.detail), {signal});
    for (const name of ["reset", "tick"]) live.addEventListener(name, this.refresh, {signal});
    overview.addEventListener("shown", () => this.#showCounts(), {signal});
    this.#showCounts();
    this.#load();
  }

  destroy() {
    this.#stop.abort();
    this.refresh.stop();
  }

  // ---- filters

  #filters() {
    return el("div", {class: "filters"},
      el("fieldset", {class: "chips"}, el("legend", {class: "unseen"}, "Phases to show"),
         PHASES.map((phase) => this.#phaseChip(phase))),
      this.#labelForm(),
      this.#labelTags());
  }

  #phaseChip(phase) {
    const count = el("span", {class: "count"});
    this.#counts.set(phase, count);
    const box = el("input", {type: "checkbox", value: phase,
                             checked: this.#wanted.phases.includes(phase)});
    box.addEventListener("change", () => {
      const phases = PHASES.filter((name) =>
        name === phase ? box.checked : this.#wanted.phases.includes(name));
      this.#go(this.#wanted.with({phases}), `input[value=${phase}]`);
    });
    return el("label", {class: "chip"}, box, badge(phase), count);
  }

  #showCounts() {
    const counts = this.#overview.engines?.runs;
    for (const [phase, node] of this.#counts) {
      setText(node, counts?.[phase] === undefined ? "" : String(counts[phase]));
    }
  }

  #labelForm() {
    const input = el("input", {type: "text", id: "label-input", placeholder: "team=maths",
                               autocomplete: "off", autocapitalize: "off", spellcheck: "false",
                               "aria-describedby": "label-error"});
    const error = el("p", {id: "label-error", class: "field-error", role: "alert"});
    const add = () => {
      const text = input.value.trim();
      if (text.indexOf("=") < 1) {
        setText(error, "Write a label as key=value, for example team=maths.");
        input.setAttribute("aria-invalid", "true");
        input.focus();
        return;
      }
      const labels = [...new Set([...this.#wanted.labels, text])];
      this.#go(this.#wanted.with({labels}), "#label-input");
    };
    // The policy of the page forbids forms to go anywhere: this one is only a field and a button.
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") add();
    });
    return el("div", {class: "label-form"},
      el("label", {for: "label-input"}, "Label"), input,
      el("button", {type: "button", class: "button", on: {click: add}}, "Add filter"), error);
  }

  #labelTags() {
    if (!this.#wanted.filtered) return null;
    const tags = this.#wanted.labels.map((label) => el("li", null,
      el("span", {class: "label"}, visibleLine(label)),
      el("button", {type: "button", class: "button small", "aria-label":
        `Remove the filter ${visibleLine(label)}`, on: {click: () => this.#go(
        this.#wanted.with({labels: this.#wanted.labels.filter((other) => other !== label)}),
        "#label-input")}}, "Remove")));
    return el("div", {class: "tags"},
      tags.length > 0 && el("ul", {"aria-label": "Labels asked for"}, tags),
      el("a", {href: "#/", class: "button small"}, "Clear all filters"));
  }

  // Where the focus goes when the view of that address is there.
  #go(wanted, focus) {
    RunsView.focusNext = focus;
    location.hash = wanted.hash;
  }

  // ---- content

  async #load() {
    const {signal} = this.#stop;
    if (!this.#loaded) this.#state.replaceChildren(el("p", {class: "muted loading"}, "Loading"));
    let page;
    try {
      page = await get(this.#wanted.request, {signal});
    } catch (error) {
      if (signal.aborted) return;
      this.#live.suspect();
      if (!this.#loaded) {
        this.#state.replaceChildren(problemBox(error, {title: "The runs cannot be listed.",
                                                       retry: () => this.#load()}));
      }
      return;
    }
    this.#showPage(page);
  }

  #showPage(page) {
    const known = new Set(page.runs.map((run) => run.id));
    for (const [id, row] of this.#rows) {
      if (known.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let at = this.#list.firstElementChild;
    for (const run of page.runs) {
      let row = this.#rows.get(run.id);
      if (!row) this.#rows.set(run.id, row = new Row(run));
      else if (run.status.revision >= row.run.status.revision) row.show(run);
      // What is in its place is not moved: it may have the focus.
      if (row.element === at) at = at.nextElementSibling;
      else this.#list.insertBefore(row.element, at);
    }
    this.#showState();
    this.#showPages(page.next_cursor);
    if (!this.#loaded) announce(this.#rows.size === 1 ? "1 run" : `${this.#rows.size} runs`);
    this.#loaded = true;
  }

  #showState() {
    const wanted = this.#wanted;
    this.#list.hidden = this.#rows.size === 0;
    if (this.#rows.size > 0) {
      this.#state.replaceChildren();
    } else if (wanted.filtered || wanted.cursor) {
      this.#state.replaceChildren(el("div", {class: "empty"},
        el("h2", null, wanted.filtered ? "No run matches" : "Nothing further back"),
        el("p", null, wanted.filtered ? `There is no run ${describe(wanted)}.` :
          "There are no older runs."),
        el("p", null, el("a", {href: "#/", class: "button"}, "Show all runs"))));
    } else if (!this.#state.querySelector(".empty")) {
      this.#state.replaceChildren(newcomer());
    }
  }

  #showPages(next) {
    const wanted = this.#wanted;
    if (next) RunsView.#before.set(next, wanted.cursor);
    this.#pages.show([next, wanted.cursor], () => {
      if (!next && !wanted.cursor) return null;
      const back = RunsView.#before.get(wanted.cursor);
      return [
        wanted.cursor && el("a", {class: "button", href: wanted.with({cursor: null}).hash},
                            "Newest"),
        wanted.cursor && back && el("a", {class: "button", href: wanted.with({cursor: back}).hash},
                                    "Newer"),
        el("span", {class: "muted"}, wanted.cursor ? "Older runs" : `The newest ${PAGE_SIZE}`),
        next ? el("a", {class: "button", href: wanted.with({cursor: next}).hash, rel: "next"},
                  "Older") : el("span", {class: "muted"}, "The end"),
      ];
    });
  }

  #change(change) {
    const row = this.#rows.get(change.run_id);
    const wanted = this.#wanted.matches(change.phase, change.labels);
    if (row && (change.type === "deleted" || !wanted)) {
      row.element.remove();
      this.#rows.delete(change.run_id);
      if (this.#rows.size === 0) this.refresh();
    } else if (row) {
      row.apply(change);
    } else if (wanted && change.type !== "deleted" && !this.#wanted.cursor) {
      this.refresh();
    }
  }
}

function describe(wanted) {
  const parts = [];
  if (wanted.phases.length) parts.push(`that is ${wanted.phases.map(phaseName).join(" or ")}`);
  if (wanted.labels.length) parts.push(`with ${wanted.labels.map(visibleLine).join(" and ")}`);
  return parts.join(" and ");
}
