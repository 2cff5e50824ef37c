// Values as people read them. Nothing here touches the page.

export const PHASES = ["queued", "preparing", "running", "harvesting", "succeeded", "failed",
                       "timed_out", "cancelled", "lost"];
const TERMINAL = new Set(PHASES.slice(4));
export const isTerminal = (phase) => TERMINAL.has(phase);
export const phaseName = (phase) => phase.replace("_", " ");

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  const rounded = unit === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1));
  return `${rounded} ${UNITS[unit]}`;
}

// 237 -> "237 ms", 4200 -> "4.2 s", 75000 -> "1 min 15 s", 7260000 -> "2 h 1 min"
export function duration(ms) {
  if (Math.round(ms) < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return span(Math.round(seconds));
}

// Whole seconds in their two largest units.
export function span(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [size, name] = parts[first];
  const next = parts[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${next[1]}` : ""}`;
}

// "just now", "42 s ago", "in 3 min"
export function relative(at, now) {
  const seconds = Math.round((now - at) / 1000);
  if (Math.abs(seconds) < 3) return "just now";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, name] = parts.find(([unit]) => Math.abs(seconds) >= unit);
  const text = `${Math.floor(Math.abs(seconds) / size)} ${name}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

// What is left until a moment, for a countdown.
export const remaining = (at, now) => span(Math.max(0, Math.ceil((at - now) / 1000)));

export function exact(at) {
  const date = new Date(at);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

// Controls, and characters that turn the direction of what is around them, made visible.
const HIDDEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b-\\u200f" +
                          "\\u2028-\\u202e\\u2060-\\u2069\\ufeff]", "g");

const NAMES = {0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x0d: "CR", 0x1b: "ESC", 0x7f: "DEL"};

// With marks that every font has; not all have pictures of controls.
function picture(character) {
  const code = character.charCodeAt(0);
  const hex = code.toString(16).toUpperCase().padStart(code < 0x100 ? 2 : 4, "0");
  return `\u2039${NAMES[code] ?? hex}\u203a`;
}

// Line feeds and tabs stay.
export const visible = (text) => String(text).replace(HIDDEN, picture);
// For what is one line.
export const visibleLine = (text) => visible(text).replace(/\n/g, "\u21b5 ").replace(/\t/g, " ");

export function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, most)}\u2026`;
}

// As one would type it into a shell.
export function commandLine(command) {
  return command.map((word) => {
    if (/^[\w@%+=:,./-]+$/.test(word)) return word;
    if (word.includes("'") && !/["$`\\!]/.test(word)) return `"${word}"`;
    return `'${word.replaceAll("'", "'\\''")}'`;
  }).join(" ");
}

// The output of a script, piece by piece, as it is shown: colour codes are left out, a carriage
// return begins a line, every other control is named. What may go on in the next
// piece is held back.
export class Cleaner {
  #held = "";

  push(text) {
    let all = this.#held + text;
    const cut = /(?:\r|\u001b(?:\[[0-9;:]{0,32})?)$/.exec(all);
    this.#held = cut ? cut[0] : "";
    if (cut) all = all.slice(0, cut.index);
    return Cleaner.clean(all);
  }

  end() {
    const rest = this.#held;
    this.#held = "";
    return Cleaner.clean(rest);
  }

  static clean(text) {
    return visible(text.replace(/\u001b\[[0-9;:]*[mK]/g, "").replace(/\r\n?/g, "\n"));
  }
}
