// Times that stay right while somebody looks: every second those on the page are written anew.

import {now} from "./api.js";
import {el, setText} from "./dom.js";
import {duration, exact, relative, remaining} from "./format.js";

const TEXTS = {
  relative: (at) => relative(at, now()),
  remaining: (at) => remaining(at, now()),
  since: (at) => duration(Math.max(0, now() - at)),
};

function time(kind, value) {
  const at = Date.parse(value);
  return el("time", {datetime: value, title: exact(at), "data-clock": kind}, TEXTS[kind](at));
}

// "3 min ago"
export const ago = (value) => time("relative", value);
// "42 s", counting down
export const until = (value) => time("remaining", value);
// "1 min 5 s", counting up
export const since = (value) => time("since", value);

export function startClock() {
  setInterval(() => {
    if (document.hidden) return;
    for (const node of document.querySelectorAll("time[data-clock]")) {
      setText(node, TEXTS[node.dataset.clock](Date.parse(node.dateTime)));
    }
  }, 1000);
}
