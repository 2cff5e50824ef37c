// Requests to the daemon that this page came from. Paths are relative to the page, so that it may
// live behind a proxy at any path.

// An answer that is not the one that was wanted; `problem` is its body, an RFC 9457 problem or a
// stand-in.
export class ProblemError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title);
    this.status = status;
    this.problem = problem;
  }
}

// No answer at all.
export class GoneError extends Error {}

let skewMs = 0;

// By the daemon's clock: every time that it names is one of those.
export const now = () => Date.now() + skewMs;

function noteClock(answer) {
  const date = Date.parse(answer.headers.get("Date") ?? "");
  if (Number.isNaN(date)) return;
  // The header knows only seconds; less than that is no skew.
  const skew = date + 500 - Date.now();
  skewMs = Math.abs(skew) > 2000 ? skew : 0;
}

async function problemOf(answer) {
  try {
    const problem = await answer.json();
    if (problem && typeof problem === "object" && problem.title) return problem;
  } catch { /* no JSON: something between us and the daemon has answered */ }
  return {title: `The answer was ${answer.status} ${answer.statusText}`.trim(),
          status: answer.status,
          detail: "It did not come from Mayfly: something in between has answered."};
}

export async function send(method, path, {signal, headers} = {}) {
  let answer;
  try {
    answer = await fetch(path, {method, signal, headers, cache: "no-store", referrerPolicy:
      "no-referrer"});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GoneError("The daemon does not answer.");
  }
  noteClock(answer);
  return answer;
}

export async function call(method, path, options = {}) {
  const answer = await send(method, path, options);
  if (!answer.ok && !(options.also ?? []).includes(answer.status)) {
    throw new ProblemError(answer.status, await problemOf(answer));
  }
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GoneError("The answer was cut off.");
  }
}

export const get = (path, options) => call("GET", path, options);

export const runPath = (id) => `v1/runs/${encodeURIComponent(id)}`;
export const artifactPath = (id, path) =>
  `${runPath(id)}/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;
