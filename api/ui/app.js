// The page: which view the address asks for, whether the daemon is there, where the focus goes.

import {get} from "./api.js";
import {startClock} from "./clock.js";
import {announce, byId, el, setText} from "./dom.js";
import {Live} from "./live.js";
import {Overview} from "./overview.js";
import {RunView} from "./run.js";
import {RunsView} from "./runs.js";

const LINK_TEXTS = {connecting: "Connecting", live: "Live",
                    polling: "No stream; looking every 3 s",
                    gone: "No answer", paused: "Paused"};
const live = new Live();
const overview = new Overview(live);
let view = null;

// ---- the view of an address

function viewOf(hash) {
  const run = /^#\/runs\/([^/?]+)$/.exec(hash);
  if (run) return new RunView(decode(run[1]), {live, overview});
  return new RunsView(hash.includes("?") ? hash.slice(hash.indexOf("?") + 1) : "",
                      {live, overview});
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function showTitle() {
  document.title = `${view.title} · Mayfly`;
}

function show(first) {
  view?.destroy();
  view = viewOf(location.hash);
  view.dispatchTitle = showTitle;
  byId("main").replaceChildren(view.element);
  showTitle();
  const wanted = RunsView.focusNext && view.element.querySelector(RunsView.focusNext);
  RunsView.focusNext = null;
  // At the first sight of the page the browser decides.
  if (wanted) {
    wanted.focus();
  } else if (!first) {
    view.heading.focus({preventScroll: true});
    scrollTo(0, 0);
  }
}

addEventListener("hashchange", () => {
  if (location.hash === "" || location.hash.startsWith("#/")) show(false);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  view.heading.focus();
});

// ---- whether the daemon is there

const bannerText = el("span");
const bannerWait = el("span", {"aria-hidden": "true"});
byId("banner").append(bannerText, " ", bannerWait, " ",
  el("button", {type: "button", class: "button small", on: {click: () => live.again()}},
     "Try now"));
let before = "connecting";

function showWait() {
  if (live.state !== "gone") return;
  const seconds = Math.max(0, Math.ceil((live.retryAt - Date.now()) / 1000));
  setText(bannerWait, seconds > 0 ? `Next try in ${seconds} s.` : "Trying now.");
}

function showLink() {
  const {state} = live;
  setText(byId("link"), LINK_TEXTS[state]);
  byId("link").dataset.state = state;
  byId("link").title = state === "polling" ?
    "The stream of events cannot be had, so the page asks again and again." : "";
  byId("banner").hidden = state !== "gone";
  document.body.dataset.link = state;
  if (state === "gone") {
    setText(bannerText, "The daemon does not answer. What is shown is what was known before.");
    showWait();
  } else if (before === "gone") {
    announce("The daemon answers again");
    showVersion();
  }
  before = state;
}

async function showVersion() {
  try {
    const {version} = await get("./", {headers: {Accept: "application/json"}});
    setText(byId("version"), version);
  } catch { /* the banner says it */ }
}

live.addEventListener("state", showLink);
setInterval(showWait, 500);

startClock();
show(true);
live.start();
showVersion();
