// One run: where it is and why, what it prints, what it left.

import {GoneError, ProblemError, artifactPath, call, get, runPath} from "./api.js";
import {ago, until} from "./clock.js";
import {announce, ask, copyButton, el, setText} from "./dom.js";
import {bytes, commandLine, duration, isTerminal, phaseName, shorten, span, visible,
  visibleLine} from "./format.js";
import {LogView} from "./log.js";
import {Badge, Pane, badge, facts, problemBox, throttled} from "./parts.js";
import {labelHash} from "./runs.js";
import {Timeline} from "./timeline.js";

const AT_MOST_MS = 150;
const EXPLAIN_EVERY_MS = 5000;
const TITLE_CHARS = 400;
const RESULT_CHARS = 64 << 10;

function panel(id, title, ...content) {
  return el("section", {class: "panel", "aria-labelledby": id},
    el("div", {class: "panel-head"}, el("h2", {id}, title)), ...content);
}

export class RunView {
  title;
  #id;
  #live;
  #stop = new AbortController();
  #timer;
  #run = null;
  #explained = null;
  #badge = new Badge("queued");
  #command = el("span", {class: "run-command"});
  #facts = new Pane(el("p", {class: "run-facts"}));
  #actions = new Pane(el("p", {class: "actions"}));
  #outcome = new Pane(el("div", {class: "outcome"}));
  #problem = el("div", {class: "action-problem"});
  #why = new Pane(el("div"));
  #history = new Pane(el("div"));
  #artifacts = new Pane(el("div"));
  #result = new Pane(el("div", {class: "result"}));
  #spec = new Pane(el("div"));
  #artifactsOf = -1;
  #timeline = new Timeline();
  #log;

  constructor(id, {live}) {
    this.#id = id;
    this.#live = live;
    this.title = `Run ${id}`;
    this.heading = el("h1", {tabindex: -1}, `Run ${id}`);
    this.#log = new LogView(id, live);
    this.element = el("div", {class: "view"}, el("p", {class: "crumbs"},
                                                 el("a", {href: "#/"}, "All runs")),
                      this.heading, el("p", {class: "muted loading"}, "Loading"));
    this.refresh = throttled(AT_MOST_MS, () => this.#load());
    const {signal} = this.#stop;
    live.addEventListener("change", ({detail}) => this.#change(detail), {signal});
    for (const name of ["reset", "tick"]) live.addEventListener(name, this.refresh, {signal});
    this.#timer = setInterval(() => {
      if (this.#unsettled() && !document.hidden && live.state !== "gone") this.#explain();
    }, EXPLAIN_EVERY_MS);
    this.#load();
  }

  destroy() {
    this.#stop.abort();
    clearInterval(this.#timer);
    this.refresh.stop();
    this.#timeline.destroy();
    this.#log.destroy();
  }

  // ---- loading

  async #load() {
    const {signal} = this.#stop;
    let run;
    try {
      run = await get(runPath(this.#id), {signal});
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return;
    }
    if (this.#run === null) this.#build();
    const before = this.#run?.status.phase;
    this.#run = run;
    this.#show();
    if (before && before !== run.status.phase) {
      announce(`The run is ${phaseName(run.status.phase)}`);
    }
    this.#explain();
    if (isTerminal(run.status.phase)) this.#loadArtifacts();
  }

  #failed(error) {
    if (error instanceof GoneError) this.#live.suspect();
    const missing = error instanceof ProblemError && error.status === 404;
    if (this.#run !== null && !missing) return;
    const wasThere = this.#run !== null;
    this.heading.textContent = missing ? "There is no such run" : "The run cannot be shown";
    this.element.replaceChildren(el("p", {class: "crumbs"}, el("a", {href: "#/"}, "All runs")),
      this.heading,
      missing ? el("div", {class: "empty"},
        el("p", null, wasThere ? "It has been deleted, with all that was kept of it." :
           "It was never here, was deleted, or was kept for as long as it had asked for " +
           "(ttl_s), and no longer."),
        el("p", {class: "mono"}, visibleLine(this.#id)),
        el("details", null, el("summary", null, "The answer"), problemBox(error)),
        el("p", null, el("a", {href: "#/", class: "button"}, "Show all runs"))) :
        problemBox(error, {retry: () => this.#load()}));
    if (missing) {
      clearInterval(this.#timer);
      this.#log.destroy();
    }
  }

  #change(change) {
    if (change.run_id !== this.#id) return;
    this.refresh();
  }

  // ---- the frame

  #build() {
    const focused = document.activeElement === this.heading;
    this.heading.replaceChildren(this.#command);
    const id = el("code", null, this.#id);
    this.element.replaceChildren(
      el("p", {class: "crumbs"}, el("a", {href: "#/"}, "All runs")),
      el("div", {class: "run-head"},
         el("div", {class: "run-title"}, this.#badge.element, this.heading),
         this.#actions.element,
         el("div", {class: "run-id"}, id, copyButton(this.#id, id), this.#facts.element)),
      this.#problem, this.#outcome.element,
      el("div", {class: "columns"},
         el("div", {class: "column first"},
            panel("explain-title", "Explanation", this.#why.element)),
         el("div", {class: "column"}, this.#timeline.element, this.#log.element,
            this.#result.element,
            panel("artifacts-title", "Artifacts", this.#artifacts.element)),
         el("div", {class: "column side"},
            panel("spec-title", "Spec", this.#spec.element),
            panel("history-title", "History", this.#history.element))));
    if (focused) this.heading.focus({preventScroll: true});
  }

  #show() {
    // The result may be as deep as a script likes: it is not walked through.
    const {spec, status: {result, ...status}} = this.#run;
    this.title = `${phaseName(status.phase)} · ${this.#id}`;
    this.dispatchTitle?.();
    setText(this.#command, shorten(visibleLine(commandLine(spec.command)), TITLE_CHARS));
    this.#badge.set(status.phase);
    this.#facts.show([status.created_at], () => ["created ", ago(status.created_at)]);
    this.#actions.show([isTerminal(status.phase), status.cancel_requested_at], () =>
      this.#buttons(status));
    this.#outcome.show(status, () => outcome(status));
    this.#result.show(isTerminal(status.phase), () => result !== null && result !== undefined &&
      panel("result-title", "Result", resultText(result)));
    this.#spec.show(spec, () => specFacts(spec));
    this.#timeline.update(this.#run);
    this.#log.update(this.#run);
    if (!isTerminal(status.phase)) {
      this.#artifacts.show("early", () => el("p", {class: "muted"},
        "What the script leaves under output/ is here when it has ended."));
    }
  }

  // ---- actions

  #buttons(status) {
    if (isTerminal(status.phase)) {
      return el("button", {type: "button", class: "button danger", on: {click: () =>
        this.#delete()}}, "Delete run");
    }
    if (status.cancel_requested_at) {
      return el("span", {class: "muted"}, "Cancel requested ", ago(status.cancel_requested_at));
    }
    return el("button", {type: "button", class: "button danger", on: {click: () =>
      this.#cancel()}}, "Cancel run");
  }

  async #cancel() {
    const sure = await ask("Cancel this run?", "The script is asked to end, and killed if it " +
      "does not. What it has printed and left so far is kept.", "Cancel run");
    if (!sure) return;
    await this.#act("POST", `${runPath(this.#id)}/cancel`, "The run is being cancelled.");
  }

  async #delete() {
    const sure = await ask("Delete this run?", "The run, its output and its artifacts are " +
      "removed for good.", "Delete run");
    if (!sure) return;
    const done = await this.#act("DELETE", runPath(this.#id), "The run was deleted.");
    if (done) location.hash = "#/";
  }

  async #act(method, path, said) {
    this.#problem.replaceChildren();
    try {
      await call(method, path);
      announce(said);
      if (method !== "DELETE") await this.#load();
      this.heading.focus({preventScroll: true});
      return true;
    } catch (error) {
      if (error instanceof GoneError) this.#live.suspect();
      this.#problem.replaceChildren(problemBox(error, {title: "That was not done."}));
      return false;
    }
  }

  // ---- explanation

  // Whether there is still something to wait for, after its end too: collection, webhooks.
  #unsettled() {
    if (this.#run === null) return false;
    const webhook = this.#explained?.webhook?.state;
    return !isTerminal(this.#run.status.phase) || !this.#explained ||
      this.#explained.decided !== null || webhook === "pending" || webhook === "waiting";
  }

  async #explain() {
    const {signal} = this.#stop;
    try {
      this.#explained = await get(`${runPath(this.#id)}/explain`, {signal});
    } catch (error) {
      if (signal.aborted) return;
      if (!this.#explained) {
        this.#why.show(String(error), () => problemBox(error, {title:
          "There is no explanation now."}));
      }
      return;
    }
    const {history, ...why} = this.#explained;
    this.#why.show(why, () => explanation(why));
    this.#history.show(history, () => historyList(history ?? []));
  }

  // ---- artifacts

  async #loadArtifacts() {
    const {signal} = this.#stop;
    const {revision} = this.#run.status;
    if (this.#artifactsOf === revision) return;
    try {
      const left = await get(`${runPath(this.#id)}/artifacts`, {signal});
      this.#artifactsOf = revision;
      this.#artifacts.show(left, () => artifactList(this.#id, left));
    } catch (error) {
      if (!signal.aborted) {
        this.#artifacts.show(String(error), () => problemBox(error, {retry: () =>
          this.#loadArtifacts()}));
      }
    }
  }
}

function outcome(status) {
  const waits = !isTerminal(status.phase) && status.pending_reason;
  const reason = waits ? status.pending_reason : status.reason;
  const message = waits ? status.pending_message : status.message;
  const list = [
    status.phase === "succeeded" && reason && ["Reason", reason],
    status.exit_code !== null && ["Exit code", String(status.exit_code)],
    status.signal !== null && ["Signal", String(status.signal)],
    status.oom_killed && ["Out of memory", "yes"],
    status.memory_peak_bytes > 0 && ["Memory peak", bytes(status.memory_peak_bytes)],
    status.cpu_ms > 0 && ["CPU time", duration(status.cpu_ms)],
    status.attempt > 1 && ["Attempt", String(status.attempt)],
    status.finished_at && ["Finished", ago(status.finished_at)],
    status.expires_at && ["Kept for", until(status.expires_at)],
  ].filter(Boolean);
  // That it went well is no news.
  const told = status.phase === "succeeded" ? message : reason || message;
  return [
    told && el("p", {class: "callout", "data-phase": status.phase},
      reason && el("strong", null, visibleLine(reason)),
      message && el("span", null, visible(message))),
    list.length > 0 && facts(...list),
    status.result_error && el("p", {class: "callout", "data-phase": "timed_out"},
      el("strong", null, "No result"), el("span", null, visible(status.result_error))),
  ];
}

function resultText(result) {
  let text;
  try {
    text = JSON.stringify(result, null, 2);
  } catch {
    return el("p", {class: "muted"}, "It is too deep to be shown here; it is in status.result " +
              "of the run's JSON.");
  }
  return el("div", {class: "snippet"},
    el("pre", {tabindex: 0, role: "region", "aria-label": "What result.json said"},
       shorten(visible(text), RESULT_CHARS)));
}

const LIMIT_TEXTS = {
  timeout_s: span, queue_timeout_s: span,
  memory_bytes: bytes, work_bytes: bytes, tmp_bytes: bytes, log_bytes: bytes,
  artifact_bytes: bytes,
};

function specFacts(spec) {
  const command = el("code", null, visible(commandLine(spec.command)));
  const labels = Object.entries(spec.labels ?? {});
  const list = (entries) => el("ul", {class: "plain"}, entries.map((entry) => el("li", null,
                                                                                  entry)));
  return [
    el("div", {class: "snippet"}, el("pre", {tabindex: 0, role: "region", "aria-label": "Command"},
                                     command)),
    facts(
      ["Image", el("span", {class: "mono"}, visibleLine(spec.image))],
      labels.length > 0 && ["Labels", list(labels.map(([key, value]) =>
        el("a", {href: labelHash(key, value), class: "label"}, visibleLine(`${key}=${value}`))))],
      spec.files?.length > 0 && ["Files", list(spec.files.map((file) => [
        el("bdi", {class: "mono"}, visibleLine(file.path)), " ",
        el("span", {class: "muted nowrap"}, bytes(file.size))]))],
      spec.stdin && ["Standard input", bytes(spec.stdin.size)],
      Object.keys(spec.env ?? {}).length > 0 && ["Environment", list(
        Object.entries(spec.env).map(([name, value]) =>
          el("span", {class: "mono"}, visibleLine(`${name}=${value}`))))],
      ["Network", spec.network],
      spec.runtime && ["Runtime", visibleLine(spec.runtime)],
      spec.priority !== 0 && ["Priority", String(spec.priority)],
      spec.retry?.max_attempts > 1 && ["Attempts",
        `at most ${spec.retry.max_attempts}, when lost`],
      spec.webhook && ["Webhook", el("span", {class: "mono"}, visibleLine(spec.webhook.url))],
      ["Kept after its end", span(spec.ttl_s)]),
    el("details", null, el("summary", null, "Limits"),
       facts(...Object.entries(spec.limits).map(([name, value]) =>
         [name.replace(/_(s|bytes)$/, "").replaceAll("_", " "),
          (LIMIT_TEXTS[name] ?? String)(value)]))),
  ];
}

function admissionText(admission) {
  return `Place ${admission.place} of ${admission.queued} in the queue; ` +
    `${admission.run_slots_used} of ${admission.run_slots} run slots are taken.`;
}

function explanation(why) {
  const deadlines = Object.entries(why.deadlines ?? {}).filter(([, at]) => at);
  return [
    el("p", {class: "headline"}, visible(why.headline ?? "")),
    why.waits_for && el("p", {class: "waits"}, el("strong", null, "Waits for "),
      visible(why.waits_for),
      why.until && [", at most ", until(why.until), " more"]),
    why.admission && el("p", null, admissionText(why.admission)),
    why.decided && el("p", null, el("strong", null, "Decided "),
      el("code", null, visibleLine(why.decided.action)), `: ${visible(why.decided.why)}`),
    why.failures && el("p", {class: "callout", "data-phase": "timed_out"},
      el("strong", null, why.failures.count === 1 ? "Failed once" :
         `Failed ${why.failures.count} times`),
      el("span", null, visible(why.failures.last_error ?? "")),
      why.failures.next_try_at && el("span", null, "Tried again in ",
                                     until(why.failures.next_try_at))),
    why.saw?.length > 0 && el("div", null, el("h3", null, "Saw"),
      facts(...why.saw.map(({what, is}) => [visibleLine(what), visible(is)]))),
    deadlines.length > 0 && el("div", null, el("h3", null, "Deadlines"),
      facts(...deadlines.map(([name, at]) => [name, ago(at)]))),
    why.webhook && webhookFacts(why.webhook),
    why.attempt && attemptFacts(why.attempt),
  ];
}

function webhookFacts(webhook) {
  return el("div", null, el("h3", null, "Webhook"), facts(
    ["To", el("span", {class: "mono"}, visibleLine(webhook.url))],
    ["State", `${webhook.state.replace("_", " ")}, tries: ${webhook.tries}`],
    webhook.last_error && ["Last error", visible(webhook.last_error)],
    webhook.next_try_at && ["Next try", until(webhook.next_try_at)]));
}

function attemptFacts(attempt) {
  const mono = (text) => el("span", {class: "mono"}, visibleLine(text));
  return el("details", null, el("summary", null, `Attempt ${attempt.number}`), facts(
    ["Engine", visibleLine(attempt.engine)], ["Container", mono(attempt.container)],
    ["Volume", mono(attempt.volume)], ["Stage", attempt.stage],
    ["Start tries", String(attempt.start_tries)],
    attempt.kill_cause && ["Killed for", attempt.kill_cause],
    attempt.engine_interrupted && ["Engine interrupted", "yes"]));
}

function historyList(history) {
  if (history.length === 0) return el("p", {class: "muted"}, "Nothing is recorded.");
  return el("ol", {class: "history"}, history.map((entry) => el("li", null,
    badge(entry.phase),
    el("span", {class: "history-cause"}, visible(entry.cause ?? entry.type),
       entry.reason && [" ", el("code", null, visibleLine(entry.reason))]),
    el("span", {class: "muted small"}, entry.type.replace("_", " "),
       entry.attempt > 0 && ` · attempt ${entry.attempt}`, " · ", ago(entry.at)))));
}

function artifactList(id, {artifacts, skipped, skipped_count: skippedCount}) {
  const total = artifacts.reduce((sum, file) => sum + file.size, 0);
  return [
    artifacts.length === 0 ? el("p", {class: "muted"}, "It left no file under output/.") :
      el("p", {class: "artifact-sum"},
         el("span", {class: "muted"}, artifacts.length === 1 ? "1 file, " :
            `${artifacts.length} files, `, bytes(total)),
         el("a", {class: "button small", href: `${runPath(id)}/artifacts.tar`,
                  download: `${id}.tar`}, "All as .tar")),
    artifacts.length > 0 && el("ul", {class: "artifacts"}, artifacts.map((file) => artifact(id,
                                                                                           file))),
    skippedCount > 0 && el("details", {class: "skipped"},
      el("summary", null, `${skippedCount} not kept`),
      el("ul", {class: "plain"}, skipped.map((entry) => el("li", null,
        el("bdi", {class: "mono"}, visibleLine(entry.path)), " ",
        el("span", {class: "muted"}, visibleLine(entry.reason.replaceAll("_", " "))))))),
  ];
}

function artifact(id, file) {
  const name = visibleLine(file.path);
  const sha256 = el("code", {class: "sha", title: file.sha256}, file.sha256);
  return el("li", null,
    el("a", {href: artifactPath(id, file.path), download: true, class: "artifact-name"},
       el("bdi", null, name)),
    el("span", {class: "muted nowrap"}, bytes(file.size)),
    el("details", null,
       el("summary", null, "sha256", el("span", {class: "unseen"}, ` of ${name}`)),
       el("span", {class: "sha-line"}, sha256, copyButton(file.sha256, sha256))));
}
