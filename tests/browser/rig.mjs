// A browser that watches what a page does, and checks with sentences for names. The program that
// starts this one (status_page.py) reads the lines, counts them, and does what lines that begin
// with "@" ask for.
import {createRequire} from "node:module";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import readline from "node:readline";

export const setup = JSON.parse(process.env.MAYFLY_BROWSER_TEST);
const require = createRequire(join(setup.modules, "package.json"));
const {chromium} = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const DEADLINE_MS = 30000;

// ---- checks

function line(word, sentence, detail) {
  const text = detail === undefined ? "" : `: ${String(detail).replace(/\s*\n\s*/g, " | ")}`;
  console.log(`${word} ${sentence}${text}`);
}

export function check(sentence, holds, detail = "") {
  line(holds ? "ok     " : "FAILED ", sentence, holds ? undefined : detail || "does not hold");
  return Boolean(holds);
}

export function equal(sentence, got, wanted) {
  const same = JSON.stringify(got) === JSON.stringify(wanted);
  return check(sentence, same, `got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

// Whether `condition` came true before the deadline.
export async function comes(sentence, condition, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  let seen;
  for (;;) {
    try {
      seen = await condition();
      if (seen) return check(sentence, true);
    } catch (error) {
      seen = error.message;
    }
    if (Date.now() > end) return check(sentence, false, `not after ${deadlineMs} ms; ${seen}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

// ---- what the starting program does for us

const answers = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();

// command("kill", "main"): the answer of that command.
export async function command(...words) {
  console.log(`@ ${words.join(" ")}`);
  const {value} = await answers.next();
  return value;
}

// ---- the daemon, asked without a browser

export async function api(base, method, path, body) {
  const answer = await fetch(base + path, {method, body: body && JSON.stringify(body),
                                           headers: body && {"Content-Type": "application/json"}});
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

export async function submit(base, command_, more = {}) {
  const spec = {image: "mayfly-test/busybox:1", command: command_, ...more};
  return (await api(base, "POST", "/v1/runs", spec)).id;
}

export async function reached(base, id, phases) {
  const end = Date.now() + 3 * DEADLINE_MS;
  for (;;) {
    const run = await api(base, "GET", `/v1/runs/${id}?wait=1s`);
    if (phases.includes(run.status.phase)) return run;
    if (Date.now() > end) throw new Error(`run ${id} is ${run.status.phase}: ${phases} wanted`);
  }
}

// ---- the browser

const browser = await chromium.launch({executablePath: setup.chromium, args: [
  // Debian's sandbox wants namespaces that root in a container has not.
  "--no-sandbox", "--disable-dev-shm-usage"]});
export const closeBrowser = () => browser.close();

// A tab that notes all that must not happen in it.
export async function open(base, path, {width = 1280, height = 900, scheme = "light",
                                        motion = "no-preference", expected = []} = {}) {
  const context = await browser.newContext({viewport: {width, height}, colorScheme: scheme,
                                            reducedMotion: motion, acceptDownloads: true});
  await context.grantPermissions(["clipboard-read", "clipboard-write"], {origin: base});
  const page = await context.newPage();
  page.wrong = [];
  page.expected = [...expected];  // patterns of what a step brings about on purpose
  page.base = base;
  const note = (text) => {
    if (!page.expected.some((pattern) => pattern.test(text))) page.wrong.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      note(`console: ${message.text()} ${message.location().url}`);
    }
  });
  page.on("pageerror", (error) => note(`exception: ${error.stack}`));
  page.on("dialog", (dialog) => {
    note(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== base && url.protocol !== "data:") note(`outside: ${request.url()}`);
  });
  await context.route((url) => url.origin !== base, (route) => route.abort());
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  page.setDefaultTimeout(DEADLINE_MS);
  await page.goto(base + path, {waitUntil: "domcontentloaded"});
  await page.locator("#version:not(:empty)").waitFor();
  return page;
}

export const text = (page, selector) => page.locator(selector).first().innerText();

// Nothing was noted in this tab; then it is closed.
export async function done(page, what) {
  const violations = await page.evaluate(() => window.violations);
  equal(`${what}: nothing breaks the page's policy`, violations, []);
  equal(`${what}: no error in the console, no exception, no dialog, no request elsewhere`,
        page.wrong, []);
  await page.context().close();
}

export async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    // Of many that are alike some are enough: it takes its time for each.
    const result = await window.axe.run({exclude: [[".block:nth-child(n+20)"],
                                                   [".row:nth-child(n+20)"]]}, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]});
    return result.violations.map((rule) =>
      `${rule.id}: ${rule.nodes.slice(0, 3).map((node) =>
        `${node.target} (${node.any.map((one) => one.message).join("; ")})`).join(", ")}`);
  });
  equal(`${what}: axe finds nothing`, found, []);
}

export async function fits(page, what) {
  const over = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("body *")].filter((node) =>
      node.getBoundingClientRect().right > most + 1 && !node.closest(".screen, pre, .unseen"));
    return {page: document.documentElement.scrollWidth - most,
            nodes: wide.slice(0, 5).map((node) => `${node.tagName}.${node.className}`)};
  });
  equal(`${what}: nothing is wider than the screen`, over, {page: 0, nodes: []});
}

export async function shot(page, name) {
  // Moving parts stand still; times are as they are.
  await page.screenshot({path: join(setup.shots, `${name}.png`), fullPage: true,
                         animations: "disabled"});
}

// One picture of each: light, dark, and a phone in both; and what is checked on each of them.
export async function everyLook(base, path, name, ready, expected = []) {
  for (const [look, options] of [
    ["light", {}], ["dark", {scheme: "dark"}],
    ["phone", {width: 320, height: 640}], ["phone-dark", {width: 320, height: 640,
                                                          scheme: "dark"}]]) {
    const page = await open(base, path, {...options, expected});
    await ready(page);
    await fits(page, `${name}, ${look}`);
    await accessible(page, `${name}, ${look}`);
    if (options.scheme === "dark") {
      const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const brightest = Math.max(...back.match(/\d+/g).slice(0, 3).map(Number));
      check(`${name}, ${look}: the ground is dark`, brightest < 60, back);
    }
    await shot(page, `${name}-${look}`);
    await done(page, `${name}, ${look}`);
  }
}
