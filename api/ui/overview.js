// How much is going on: slots, queue, engines, disk; and what is wrong, on every view.

import {get} from "./api.js";
import {since} from "./clock.js";
import {byId, el, setText} from "./dom.js";
import {bytes, visible, visibleLine} from "./format.js";
import {Meter, Pane, throttled} from "./parts.js";

const EVERY_MS = 10000;
const AT_MOST_MS = 400;

function plainTile(label) {
  const value = el("span", {class: "figure"}, "–");
  const note = el("span", {class: "note"});
  return {value, note,
          element: el("div", {class: "tile"}, el("dt", null, label), el("dd", null, value, note))};
}

function engineLine(engine) {
  const facts = engine.up ?
    [`Docker ${engine.version ?? "?"}`, engine.api_version && `API ${engine.api_version}`,
     engine.os_arch, `${engine.cpus} CPUs`, bytes(engine.memory_bytes)] : [engine.endpoint];
  return el("li", {class: "engine"},
    el("span", {class: "state", "data-state": engine.up ? "good" : "bad"},
       engine.up ? "up" : "down"),
    el("span", {class: "engine-text"},
       el("strong", null, visibleLine(engine.name)), " ",
       el("span", {class: "muted"}, visibleLine(facts.filter(Boolean).join(" · "))),
       engine.since && [" ", el("span", {class: "muted nowrap"},
                                engine.up ? "· up for " : "· down for ", since(engine.since))],
       engine.error && el("span", {class: "engine-error"}, visible(engine.error)),
       engine.warnings.length > 0 && el("details", null,
         el("summary", null, engine.warnings.length === 1 ? "1 warning" :
            `${engine.warnings.length} warnings`),
         el("ul", null, engine.warnings.map((text) => el("li", null, visible(text)))))));
}

function noticeLine(kind, notice) {
  return el("li", {"data-kind": kind},
    el("strong", null, kind === "bad" ? "Not ready" : "Degraded"), " ",
    el("code", null, visibleLine(notice.reason)), " ", visible(notice.message));
}

export class Overview extends EventTarget {
  // GET /v1/engines as it was last seen.
  engines = null;
  #run = new Meter("Run slots");
  #work = new Meter("Engine work");
  #queued = plainTile("Queued");
  #disk = plainTile("Disk free");
  #ready = plainTile("Service");
  #list = new Pane(el("ul", {class: "engines"}));
  #notices = new Pane(byId("notices"));
  #live;
  element = el("section", {class: "overview", "aria-labelledby": "overview-title"},
    el("h2", {id: "overview-title", class: "unseen"}, "Overview"),
    el("dl", {class: "tiles"}, this.#ready.element, this.#run.element, this.#work.element,
       this.#queued.element, this.#disk.element),
    this.#list.element);

  constructor(live) {
    super();
    this.#live = live;
    this.refresh = throttled(AT_MOST_MS, () => this.#load());
    for (const name of ["change", "reset", "tick"]) live.addEventListener(name, this.refresh);
    setInterval(() => {
      if (live.state === "live" && !document.hidden) this.refresh();
    }, EVERY_MS);
    this.refresh();
  }

  async #load() {
    try {
      const [engines, ready] =
        await Promise.all([get("v1/engines"), get("readyz", {also: [503]})]);
      this.engines = engines;
      this.#show(engines, ready);
      this.dispatchEvent(new Event("shown"));
    } catch (error) {
      this.#live.suspect();
    }
  }

  #show(engines, ready) {
    const {run, engine_work: work} = engines.slots;
    this.#run.set(run.used, run.total);
    this.#work.set(work.used, work.total);
    setText(this.#queued.value, String(engines.queued));
    this.#showDisk(engines.disk);
    const state = !ready.ready ? "Not ready" : ready.degraded.length ? "Degraded" : "Ready";
    setText(this.#ready.value, state);
    this.#ready.value.dataset.state =
      {"Ready": "good", "Degraded": "warn", "Not ready": "bad"}[state];
    this.#list.show(engines.engines, () => engines.engines.length ?
      engines.engines.map(engineLine) :
      el("li", {class: "engine muted"}, "No engine is known yet."));
    this.#notices.element.hidden = ready.reasons.length + ready.degraded.length === 0;
    this.#notices.show([ready.reasons, ready.degraded], () => el("ul", null,
      ready.reasons.map((reason) => noticeLine("bad", reason)),
      ready.degraded.map((reason) => noticeLine("warn", reason))));
  }

  #showDisk(disk) {
    this.#disk.element.hidden = !disk;
    if (!disk) return;
    setText(this.#disk.value, bytes(disk.free_bytes));
    setText(this.#disk.note, `held under ${bytes(disk.low_bytes)}`);
    this.#disk.value.dataset.state = disk.free_bytes < disk.full_bytes ? "bad" :
      disk.free_bytes < disk.low_bytes ? "warn" : "";
  }
}
