// The status page in a real browser, against real daemons. Started by status_page.py.
import {readFile} from "node:fs/promises";

import {DEADLINE_MS, accessible, api, check, closeBrowser, comes, command, done, equal, everyLook,
        fits, open, reached, setup, shot, submit, text} from "./rig.mjs";

const {main, lone, full} = setup;
const HOSTILE = "<img src=x onerror=alert(1)>";
const runs = {};

// A script without its engine-side details: what it prints and leaves, in busybox's shell.
const shell = (script) => ["sh", "-c", script];
const phaseOf = (page) => page.locator(".run-title .badge").getAttribute("data-phase");
const rowOf = (page, id) => page.locator(".row", {has: page.locator(`a[href="#/runs/${id}"]`)});
// What was printed, without the names of the streams beside it.
const screenText = (page) => page.locator(".screen").evaluate((node) =>
  [...node.querySelectorAll(".text")].map((part) => part.textContent).join(""));
const isLive = (page) => comes("the page is live", async () => await text(page, "#link") ===
  "Live");

// ---- what there is to see

async function emptyState() {
  const page = await open(main, "/");
  await page.locator(".empty").waitFor();
  check("an empty list says what to do", (await text(page, ".empty")).includes("No run yet"));
  const curl = await text(page, ".snippet >> nth=1");
  check("the command for curl names this daemon", curl.includes(`${main}/v1/runs`), curl);
  await page.locator(".snippet button").nth(1).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  check("the command can be copied", copied.startsWith("curl ") &&
        curl.includes(copied.slice(0, 60)), copied);
  const body = JSON.parse(copied.slice(copied.indexOf("-d '") + 4, copied.lastIndexOf("'")));
  check("what it sends is a run", body.image === "busybox" && body.command.length === 3,
        JSON.stringify(body));
  await isLive(page);
  runs.first = await submit(main, shell("echo first"));
  await comes("the first run takes the place of the advice, by itself", async () =>
    await rowOf(page, runs.first).count() === 1 && await page.locator(".empty").count() === 0);
  await comes("and its phases follow", async () =>
    await rowOf(page, runs.first).locator(".badge").getAttribute("data-phase") === "succeeded");
  await done(page, "the empty list");
}

async function makeRuns() {
  const labels = {team: "maths", course: "2026-autumn"};
  runs.good = await submit(main, ["sh", "main.sh", HOSTILE, "two words"], {
    labels: {...labels, note: HOSTILE}, env: {GREETING: `"${HOSTILE}"`}, stdin: "x",
    files: [{path: "main.sh", content: [
      "echo '<b>bold?</b> <script>alert(2)</script>'",
      "printf '\\033[31mred\\033[0m bell\\007 back\\010 nul\\000 turn\\342\\200\\256around\\n'",
      "printf 'bad utf-8: \\377\\376 end\\n'", "printf 'one\\rtwo\\r\\nthree\\n'",
      "echo 'to stderr: careful' >&2", "mkdir -p output/deep",
      `printf 'one\\n' > "output/deep/${HOSTILE}"`,
      "printf 'x' > \"$(printf 'output/photo\\342\\200\\256gpj.exe')\"",
      "printf 'x' > \"$(printf 'output/ctl\\033[31m.txt')\"", "ln -s /etc/passwd output/link",
      "echo plain > 'output/a % b#c?.txt'", "echo '{\"answer\": 42}' > result.json",
    ].join("\n")}]});
  runs.failed = await submit(main, shell("echo almost; echo 'no such table' >&2; exit 3"),
                             {labels: {team: "physics"}});
  runs.timedOut = await submit(main, shell("echo begun; sleep 60"), {limits: {timeout_s: 1}});
  runs.deep = await submit(main, shell(
    "awk 'BEGIN { for (i = 0; i < 200000; i++) printf \"[\"; for (i = 0; i < 200000; i++) " +
    "printf \"]\" }' > result.json; cat result.json"), {limits: {log_bytes: 2 << 20}});
  runs.noImage = await submit(main, ["true"], {image: "mayfly-test/nothing:1"});
  runs.big = await submit(main, shell(
    "i=0; while [ $i -lt 20 ]; do printf 'part %d\\n' $i; yes 'a line of a long output' | " +
    "head -n 6000; i=$((i+1)); done; echo the very end; echo short >&2"),
    {limits: {log_bytes: 8 << 20}});
  for (const name of ["good", "failed", "timedOut", "noImage", "deep", "big"]) {
    await reached(main, runs[name], ["succeeded", "failed", "timed_out"]);
  }
  const forever = "i=0; while :; do echo tick $i; echo tock $i >&2; i=$((i+1)); sleep 0.3; done";
  runs.cancelled = await submit(main, shell(forever));
  await reached(main, runs.cancelled, ["running"]);
  await api(main, "POST", `/v1/runs/${runs.cancelled}/cancel`);
  await reached(main, runs.cancelled, ["cancelled"]);
  runs.live = await submit(main, shell(forever), {labels, limits: {timeout_s: 900}});
  runs.blocker = await submit(main, shell("sleep 900"), {limits: {timeout_s: 900}});
  await reached(main, runs.live, ["running"]);
  await reached(main, runs.blocker, ["running"]);
  runs.waiting = await submit(main, shell("echo at last"), {labels: {team: "physics"}});
}

// ---- the list

async function list() {
  const page = await open(main, "/");
  await isLive(page);
  for (const [name, phase, words] of [
    ["good", "succeeded", "mayfly-test/busybox:1"], ["failed", "failed", "NonZeroExit"],
    ["failed", "failed", "exit code 3"], ["timedOut", "timed_out", "RunTimeout"],
    ["noImage", "failed", "ImageUnavailable"], ["cancelled", "cancelled", "CancelRequested"],
    ["live", "running", "team=maths"], ["good", "succeeded", `note=${HOSTILE}`],
    ["good", "succeeded", `'${HOSTILE}' 'two words'`]]) {
    const row = rowOf(page, runs[name]);
    await row.waitFor();
    equal(`the row of ${name} shows its phase`,
          await row.locator(".badge").getAttribute("data-phase"), phase);
    const said = await row.innerText();
    check(`the row of ${name} shows ${words}`, said.includes(words), said);
  }
  equal("markup in a label makes no element", await page.locator("main img").count(), 0);
  await comes("slots in use are shown", async () =>
    (await text(page, ".tiles")).includes("2 of 2"));
  const tiles = await text(page, ".tiles");
  for (const words of ["Ready", "Run slots", "Engine work", "Queued", "Disk free"]) {
    check(`the overview shows ${words}`, tiles.includes(words), tiles);
  }
  const engines = await text(page, ".engines");
  check("the engine is shown with its version", /up.*default.*Docker \d+\.\d+/s.test(engines),
        engines);
  const time = page.locator(".row time").first();
  check("times are relative, with the exact one behind",
        /ago|just now/.test(await time.innerText()) &&
        /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/.test(await time.getAttribute("title")),
        await time.evaluate((node) => node.outerHTML));
  await filters(page);
  await done(page, "the list");
}

async function filters(page) {
  await page.locator("input[value=failed]").check();
  await comes("a chip filters", async () => await rowOf(page, runs.good).count() === 0 &&
    await rowOf(page, runs.failed).count() === 1 && await rowOf(page, runs.noImage).count() === 1);
  equal("the filter is in the address", new URL(page.url()).hash, "#/?phase=failed");
  check("the chip keeps the focus", await page.evaluate(() =>
    document.activeElement.matches("input[value=failed]")));
  await page.locator("#label-input").fill("team=physics");
  await page.keyboard.press("Enter");
  await comes("a label filters too", async () => await rowOf(page, runs.noImage).count() === 0 &&
    await rowOf(page, runs.failed).count() === 1);
  await page.locator("#label-input").fill("nonsense");
  await page.keyboard.press("Enter");
  check("a label without = is told how it is written",
        (await text(page, "#label-error")).includes("key=value"));
  await page.goBack();
  await comes("Back takes the last filter away", async () =>
    await rowOf(page, runs.noImage).count() === 1);
  await page.locator("text=Clear all filters").click();
  await comes("all filters can be cleared", async () =>
    await rowOf(page, runs.good).count() === 1);
}

async function nothingMatches(page) {
  await page.locator(".empty").waitFor();
  check("a filter that nothing matches says so",
        (await text(page, ".empty")).includes("There is no run that is lost and with team=nobody"),
        await text(page, ".empty"));
}

async function badQuery() {
  const page = await open(main, "/#/?label=!!!%3D1", {expected: [/status of 400/]});
  await page.locator(".problem").waitFor();
  const said = await text(page, ".problem");
  for (const words of ["The query is not valid", "label", "!!!=1", "400",
                       "urn:mayfly:problem:invalid-query"]) {
    check(`a problem is shown with ${words}`, said.includes(words), said);
  }
  await accessible(page, "a problem");
  await shot(page, "problem-light");
  await done(page, "a problem");
}

// ---- one run

async function goodRun() {
  const page = await open(main, `/#/runs/${runs.good}`);
  await page.locator(".artifacts").waitFor();
  await comes("the output is complete", async () => await text(page, ".log-state") === "Complete");
  equal("its phase is shown", await phaseOf(page), "succeeded");
  const output = await screenText(page);
  for (const words of ["<b>bold?</b> <script>alert(2)</script>",
                       "red bell\u2039BEL\u203a back\u2039BS\u203a nul\u2039NUL\u203a",
                       "turn\u2039202E\u203aaround", "bad utf-8: \ufffd\ufffd end",
                       "one\ntwo\nthree\n", "to stderr: careful"]) {
    check(`the output shows ${JSON.stringify(words)}`, output.includes(words), output);
  }
  const errors = page.locator(".block[data-stream=stderr]");
  equal("stderr says in words that it is that", await errors.locator(".stream").innerText(),
        "stderr");
  await page.locator("input[value=stdout]").check();
  check("one stream can be shown alone", await errors.isHidden());
  await page.locator("input[value=both]").check();
  const line = await page.locator(".timeline").getAttribute("aria-label");
  check("the time line says its clocks", /^Queue .+, Prepare .+, Run .+, Harvest .+$/.test(line),
        line);
  for (const words of ["Queue", "Prepare", "Run", "Harvest", "at most 1 min"]) {
    check(`the time line has a text ${words}`, (await text(page, ".phases")).includes(words));
  }
  const spec = await text(page, "section:has(#spec-title)");
  for (const words of ["mayfly-test/busybox:1", `note=${HOSTILE}`, "main.sh",
                       `GREETING="${HOSTILE}"`, "Standard input"]) {
    check(`the spec shows ${words}`, spec.includes(words), spec);
  }
  await page.locator("summary", {hasText: "Limits"}).click();
  check("and its limits", /memory\s+256 MiB/.test(await text(page, "section:has(#spec-title)")));
  const facts = await text(page, ".outcome");
  check("exit code and peak are shown", /Exit code\s+0/.test(facts) && /Memory peak/.test(facts),
        facts);
  equal("nothing that the run says became an element", await page.locator("main img").count() +
        await page.locator("main script").count(), 0);
  check("what result.json said is shown", /"answer": 42/.test(await text(page, ".result")));
  await artifacts(page);
  await downloads(page);
  await done(page, "a run that succeeded");
}

async function artifacts(page) {
  const names = await page.locator(".artifact-name").allInnerTexts();
  equal("artifacts are listed, what turns the text around made visible", names,
        ["a % b#c?.txt", `deep/${HOSTILE}`, "photo\u2039202E\u203agpj.exe"]);
  const {artifacts: listed} = await api(main, "GET", `/v1/runs/${runs.good}/artifacts`);
  await page.locator(".artifacts details").nth(1).locator("summary").click();
  equal("with their sha256", await text(page, ".artifacts li >> nth=1 >> .sha"), listed[1].sha256);
  check("and their size", (await text(page, ".artifacts li >> nth=1")).includes("4 B"));
  await page.locator(".skipped summary").click();
  const skipped = await text(page, ".skipped");
  check("what was not kept is listed with the reason",
        skipped.includes("output/link") && skipped.includes("symlink") &&
        skipped.includes("ctl%1B[31m.txt"), skipped);
}

async function downloaded(page, link) {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return {name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8")};
}

async function downloads(page) {
  for (const [name, wanted] of [[`deep/${HOSTILE}`, "one\n"], ["a % b#c?.txt", "plain\n"]]) {
    const got = await downloaded(page, page.locator(".artifact-name", {hasText: name}));
    equal(`${name} is downloaded as it was left`, got.text, wanted);
  }
  const log = await downloaded(page, page.locator(".downloads a").nth(1));
  equal("stderr is downloaded as it was printed", log.text, "to stderr: careful\n");
  equal("under a name that tells the run", log.name, `${runs.good}.stderr.log`);
  const tar = await downloaded(page, page.locator("text=All as .tar"));
  equal("all artifacts come as one archive", tar.name, `${runs.good}.tar`);
}

async function endings() {
  for (const [name, phase, words] of [
    ["failed", "failed", ["NonZeroExit", "Exit code\n3"]],
    ["timedOut", "timed_out", ["RunTimeout"]],
    ["cancelled", "cancelled", ["CancelRequested"]],
    ["noImage", "failed", ["ImageUnavailable", "mayfly-test/nothing:1"]]]) {
    const page = await open(main, `/#/runs/${runs[name]}`);
    await page.locator(".outcome .callout").waitFor();
    equal(`${name}: the phase`, await phaseOf(page), phase);
    const said = await text(page, ".outcome");
    for (const word of words) check(`${name}: ${JSON.stringify(word)}`, said.includes(word), said);
    await comes(`${name}: an explanation and a history`, async () =>
      (await text(page, ".headline")).length > 5 &&
      await page.locator(".history li").count() >= 2);
    check(`${name}: the title of the tab tells the phase`,
          (await page.title()).startsWith(phase.replace("_", " ")), await page.title());
    await done(page, `a run that is ${phase}`);
  }
}

async function bigLog() {
  const page = await open(main, `/#/runs/${runs.big}`);
  await comes("the end of a long output is there", async () =>
    (await screenText(page)).includes("the very end\n"));
  const shown = (await screenText(page)).length;
  check("the page holds a megabyte of it and no more", shown > 900000 && shown < 1.2 * (1 << 20),
        shown);
  check("and says where the rest is", await page.locator(".log-cut").isVisible());
  check("what the other stream printed is not pushed out", (await screenText(page)).includes(
    "short\n"));
  const atEnd = () => page.locator(".screen").evaluate((node) =>
    node.scrollHeight - node.scrollTop - node.clientHeight < 12);
  check("its end is in sight", await atEnd());
  await shot(page, "big-log-light");
  await done(page, "a long output");
}

async function deepResult() {
  const page = await open(main, `/#/runs/${runs.deep}`);
  await comes("a result that is too deep to be shown says so", async () =>
    (await text(page, ".result")).includes("too deep"));
  await comes("an output without a line's end is shown", async () =>
    (await screenText(page)).length === 400000);
  await fits(page, "a line of 400 KB");
  await done(page, "a deep result");
}

async function liveLog() {
  const page = await open(main, `/#/runs/${runs.live}`);
  await comes("output comes while the script runs", async () =>
    /tick \d+/.test(await screenText(page)));
  await comes("of both streams", async () => /tock \d+/.test(await screenText(page)));
  const last = async () => Number(/tick (\d+)\n(?!.*tick)/s.exec(await screenText(page))[1]);
  const seen = await last();
  await comes("and goes on by itself", async () => await last() > seen + 2);
  const ticks = (await screenText(page)).match(/tick \d+\n/g).map((tick) => Number(tick.slice(5)));
  equal("nothing is missing and nothing doubled", ticks,
        ticks.map((_, index) => ticks[0] + index));
  await comes("the script's deadline counts down in the explanation", async () =>
    /Waits for/.test(await text(page, ".waits")) && await page.locator(
      ".waits time[data-clock=remaining]").count() === 1);
  await comes("the end is followed", () => page.locator(".screen").evaluate((node) =>
    node.scrollHeight > node.clientHeight && node.scrollHeight - node.scrollTop -
    node.clientHeight < 12));
  await page.locator(".screen").hover();
  await page.mouse.wheel(0, -2000);
  await comes("who scrolls back is left in peace", async () =>
    !await page.locator("#log-end").isChecked());
  const top = await page.locator(".screen").evaluate((node) => node.scrollTop);
  const now = await last();
  await comes("while more comes", async () => await last() > now + 1);
  equal("and stays where he reads", await page.locator(".screen").evaluate((node) =>
    node.scrollTop), top);
  await page.locator("#log-end").check();
  await comes("the end can be followed again", () => page.locator(".screen").evaluate((node) =>
    node.scrollHeight - node.scrollTop - node.clientHeight < 12));
  await page.locator("#log-wrap").uncheck();
  equal("lines need not wrap", await page.locator(".text").first().evaluate((node) =>
    getComputedStyle(node).whiteSpace), "pre");
  await done(page, "a live output");
}

async function waitingRun() {
  const page = await open(main, `/#/runs/${runs.waiting}`);
  await comes("a queued run says what it waits for", async () =>
    (await text(page, ".outcome")).includes("Capacity"));
  await comes("and its place in the queue", async () =>
    /Place 1 of 1 in the queue; 2 of 2 run slots/.test(
      await text(page, "section:has(.headline)")));
  await api(main, "POST", `/v1/runs/${runs.blocker}/cancel`);
  await comes("when a slot is free, it is seen to run to its end", async () =>
    await phaseOf(page) === "succeeded");
  await comes("with its output", async () => (await screenText(page)).includes("at last"));
  await comes("and all of its history", async () =>
    await page.locator(".history li").count() >= 5);
  await comes("which ends with nothing left to do", async () =>
    !(await text(page, "section:has(.headline)")).includes("Decided"), 60000);
  await done(page, "a run that waited");
}

async function flood() {
  const id = await submit(main, shell("yes 'one line of many' | head -n 200000; sleep 900"),
                          {limits: {log_bytes: 16 << 20, timeout_s: 900}});
  const page = await open(main, `/#/runs/${id}`);
  await comes("of a flood only the end is shown, while it goes on", () =>
    page.locator(".log-cut").isVisible(), 2 * DEADLINE_MS);
  const shown = (await screenText(page)).length;
  check("in bounded memory", shown > 900000 && shown < 1.2 * (1 << 20), shown);
  await api(main, "POST", `/v1/runs/${id}/cancel`);
  await comes("and its end is seen", async () => await phaseOf(page) === "cancelled" &&
    await text(page, ".log-state") === "Complete");
  await done(page, "a flood");
}

async function missingRun(page) {
  await page.locator("h1", {hasText: "There is no such run"}).waitFor();
}

// ---- by keyboard

const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  const ringed = [node, node.closest(".row"), node.closest(".chip"), node.nextElementSibling];
  return {text: node.innerText?.trim() ?? "", tag: node.tagName, id: node.id,
          value: node.value ?? "", href: node.getAttribute("href"),
          ring: ringed.some((one) => one && getComputedStyle(one).outlineStyle === "solid" &&
                                     parseFloat(getComputedStyle(one).outlineWidth) >= 2)};
});

async function tabTo(page, wanted, most = 60) {
  const unseen = [];
  for (let pressed = 0; pressed < most; pressed += 1) {
    await page.keyboard.press("Tab");
    const now = await focused(page);
    if (!now.ring) unseen.push(`${now.tag} ${now.text}`);
    if (wanted(now)) return unseen;
  }
  throw new Error("the Tab key does not lead there");
}

async function keyboard() {
  const page = await open(main, "/");
  await rowOf(page, runs.live).waitFor();
  await page.keyboard.press("Tab");
  equal("the first stop is the skip link", (await focused(page)).text, "Skip to content");
  check("which can be seen then", await page.locator(".skip").evaluate((node) =>
    node.getBoundingClientRect().top >= 0));
  await page.keyboard.press("Enter");
  equal("it leads to the heading", (await focused(page)).tag, "H1");
  let unseen = await tabTo(page, (node) => node.value === "running");
  await page.keyboard.press("Space");
  await comes("a chip works with the space bar", async () =>
    await rowOf(page, runs.good).count() === 0 && await rowOf(page, runs.live).count() === 1);
  unseen = unseen.concat(await tabTo(page, (node) => node.href === `#/runs/${runs.live}`));
  await page.keyboard.press("Enter");
  await page.locator(".run-title .badge[data-phase=running]").waitFor();
  equal("the focus moves to the heading of the run", (await focused(page)).tag, "H1");
  unseen = unseen.concat(await tabTo(page, (node) => node.text === "Cancel run"));
  equal("every stop can be seen", unseen, []);
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]").waitFor();
  equal("the question begins at the harmless answer", (await focused(page)).text, "Back");
  await accessible(page, "the question");
  await shot(page, "question-light");
  await page.keyboard.press("Escape");
  check("Escape closes it", await page.locator("dialog[open]").count() === 0);
  equal("and the focus is where it was", (await focused(page)).text, "Cancel run");
  equal("nothing was cancelled", (await api(main, "GET", `/v1/runs/${runs.live}`)).status
    .cancel_requested_at, null);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await comes("the run is cancelled, and seen to be", async () =>
    await phaseOf(page) === "cancelled");
  await comes("its end is told to those who do not see it", async () =>
    /The run is cancelled/.test(await page.locator("#announcer").textContent()));
  await comes("its output is complete", async () => await text(page, ".log-state") === "Complete");
  await deletion(page);
  await done(page, "the keyboard");
}

async function deletion(page) {
  page.expected.push(/status of 404/);
  await page.locator("text=Delete run").first().click();
  await page.locator("#question-yes").click();
  await page.locator("h1", {hasText: "Runs"}).waitFor();
  await comes("a run can be deleted, and leaves the list", async () =>
    await rowOf(page, runs.good).count() === 1 && await rowOf(page, runs.live).count() === 0);
}

async function elsewhere() {
  const watching = await open(main, `/#/runs/${runs.timedOut}`);
  watching.expected.push(/status of 404/);
  await watching.locator(".outcome .callout").waitFor();
  await isLive(watching);
  await api(main, "DELETE", `/v1/runs/${runs.timedOut}`);
  await comes("a run that somebody else deletes says so", async () =>
    (await text(watching, ".empty")).includes("It has been deleted"));
  await done(watching, "a run deleted elsewhere");
}

// ---- when things go wrong

async function daemonGone() {
  const page = await open(main, "/");
  page.expected.push(/ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|ERR_CONN/);
  await isLive(page);
  const run = await open(main, `/#/runs/${runs.good}`);
  run.expected.push(...page.expected);
  await isLive(run);
  await command("kill", "main");
  for (const one of [page, run]) {
    await comes("a daemon that is gone is told", () => one.locator("#banner").isVisible());
    check("with what is shown and when it is tried again",
          /does not answer.*known before.*(Next try|Trying now)/s.test(
            await text(one, "#banner")));
  }
  check("what was known stays", await rowOf(page, runs.good).count() === 1);
  await accessible(page, "the daemon gone");
  await shot(page, "gone-light");
  await command("start", "main");
  for (const one of [page, run]) {
    await comes("the page comes back by itself", async () =>
      await text(one, "#link") === "Live" && !await one.locator("#banner").isVisible());
  }
  const id = await submit(main, shell("echo after the restart"));
  await comes("and is live again", async () => await rowOf(page, id).count() === 1);
  await done(page, "the daemon gone, the list");
  await done(run, "the daemon gone, a run");
}

async function eventsGone() {
  const page = await open(main, "/");
  page.expected.push(/status of 410/, /ERR_/);
  await isLive(page);
  const gone = {status: 410, contentType: "application/problem+json", body: "{}"};
  let refusals = 0;
  await page.route(/\/v1\/events\?last_event_id/, (route) => {
    refusals += 1;
    return route.fulfill(gone);
  });
  await command("kill", "main");
  await comes("the daemon is gone", () => page.locator("#banner").isVisible());
  await command("start", "main");
  await comes("events that are no longer kept are no end", async () =>
    await text(page, "#link") === "Live" && refusals > 0);
  const id = await submit(main, shell("echo anew"));
  await comes("the list was loaded anew and is live", async () =>
    await rowOf(page, id).count() === 1);
  await done(page, "events gone");
}

async function withoutStream() {
  const page = await open(main, "/", {expected: [/status of 503|ERR_/]});
  await isLive(page);
  await page.route(/\/v1\/events/, (route) => route.fulfill({status: 503, body: "{}"}));
  await page.reload();
  await comes("without a stream the page asks again and again, and says so", async () =>
    await text(page, "#link") === "No stream; looking every 3 s");
  const id = await submit(main, shell("echo polled"));
  await comes("and what happens is seen all the same", async () =>
    await rowOf(page, id).count() === 1);
  await shot(page, "polling-light");
  await page.unroute(/\/v1\/events/);
  await comes("when the stream can be had again, it is taken", async () =>
    await text(page, "#link") === "Live");
  await done(page, "no stream");
}

// A daemon without an engine: nothing starts, so there can be many.
async function loneDaemon() {
  const ids = [];
  for (let at = 0; at < 120; at += 1) ids.push(await submit(lone, ["true", `number ${at}`]));
  const page = await open(lone, "/");
  await comes("what is wrong is on top", async () =>
    /Degraded.*EngineDown/s.test(await text(page, "#notices")));
  check("the engine is shown as down, with why", /down.*default/s.test(await text(page,
                                                                               ".engines")));
  await comes("runs say what they wait for", async () =>
    (await rowOf(page, ids[119]).innerText()).includes("EngineDown"));
  equal("a page has 50 runs", await page.locator(".row").count(), 50);
  const numbers = () => page.locator(".row-link").evaluateAll((links) =>
    links.map((link) => Number(/number (\d+)/.exec(link.textContent)[1])));
  const from = (first, count) => Array.from({length: count}, (_, index) => first - index);
  for (const [button, first, count] of [["Older", 69, 50], ["Older", 19, 20], ["Newer", 69, 50],
                                        ["Older", 19, 20], ["Newest", 119, 50]]) {
    await page.locator(`.pages >> text="${button}"`).click();
    await comes(`${button} leads to the page that begins with ${first}`, async () =>
      JSON.stringify(await numbers()) === JSON.stringify(from(first, count)));
  }
  await page.goBack();
  await comes("Back is the page before", async () => (await numbers())[0] === 19);
  await done(page, "no engine, pages");
  await everyLook(lone, "/", "no-engine", (one) => one.locator("#notices li").first().waitFor());
  await everyLook(lone, `/#/runs/${ids[0]}`, "queued", (one) =>
    one.locator(".outcome .callout").waitFor());
}

async function fullDisk() {
  const ready = (page) => page.locator("#notices [data-kind=bad]").waitFor();
  // The browser itself complains of the answer of /readyz.
  const expected = [/status of 503.*readyz/];
  const page = await open(full, "/", {expected});
  await ready(page);
  check("a daemon that takes nothing says why", /Not ready.*DiskFull/s.test(
    await text(page, "#notices")), await text(page, "#notices"));
  check("and looks so", (await text(page, ".tiles")).includes("Not ready"));
  await done(page, "a full disk");
  await everyLook(full, "/", "not-ready", ready, expected);
}

async function policyHolds() {
  const page = await open(main, "/");
  page.expected.push(/Content Security Policy|violates/i);
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.planted = true";
    document.body.append(script);
    document.body.setAttribute("style", "color: red");
    const image = document.createElement("img");
    image.src = "http://example.com/x.png";
    document.body.append(image);
  });
  await comes("planted: script, style and picture are refused and noticed", async () =>
    (await page.evaluate(() => window.violations)).length === 3);
  equal("planted: the script did not run", await page.evaluate(() => window.planted), undefined);
  await page.evaluate(() => new EventSource("http://example.com/").addEventListener("x", null));
  await comes("planted: a connection elsewhere is refused and noticed", async () =>
    (await page.evaluate(() => window.violations)).length === 4);
  await page.context().close();
  const loud = await open(main, "/");
  await loud.evaluate(() => console.error("planted"));
  await comes("planted: an error in the console is noticed", () => loud.wrong.length === 1);
  await loud.context().close();
}

async function calmMotion() {
  const moving = (page) => page.evaluate(() => document.getAnimations().length);
  for (const [motion, moves] of [["no-preference", true], ["reduce", false]]) {
    const page = await open(main, `/#/runs/${runs.live}`, {motion});
    await page.locator(".timeline [data-active]").waitFor();
    equal(`motion ${motion}: the bar that grows ${moves ? "breathes" : "is still"}`,
          await moving(page) > 0, moves);
    await done(page, `motion ${motion}`);
  }
}

// What turns values into text, as it is served.
async function formats() {
  const page = await open(main, "/");
  const got = await page.evaluate(async () => {
    const {Cleaner, bytes, commandLine, duration, relative, remaining, visibleLine} =
      await import("/ui/format.js");
    const {widths} = await import("/ui/timeline.js");
    const cleaner = new Cleaner();
    return {
      bytes: [0, 1023, 1024, 1536, 10 * 1024, 5e6, 3 * 2 ** 40].map(bytes),
      duration: [0, 237, 999.6, 4200, 9960, 59499, 75000, 3600000, 7260000, 90000000]
        .map(duration),
      relative: [[0, 2000], [0, 42000], [90000, 0], [0, 86400000 * 2]].map((pair) =>
        relative(...pair)),
      remaining: [[90500, 0], [0, 5000]].map((pair) => remaining(...pair)),
      command: commandLine(["sh", "-c", "it's <b>", "it's $HOME", "", "a/b.txt"]),
      line: visibleLine("a\nb\tc\u0000\u202e\ufeff\u0085"),
      pieces: ["a\r", "\nb\u001b[3", "1mred\u001b[0m\r", "c\u001b", "]0;x"].map((piece) =>
        cleaner.push(piece)).concat(cleaner.end()),
      widths: widths([{ms: 0}, {ms: 1}, {ms: 999}]).map(Math.round),
    };
  });
  const mark = (name) => `\u2039${name}\u203a`;
  equal("bytes", got.bytes, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 KiB", "4.8 MiB", "3 TiB"]);
  equal("durations", got.duration, ["0 ms", "237 ms", "1.0 s", "4.2 s", "10 s", "59 s",
                                    "1 min 15 s", "1 h", "2 h 1 min", "1 d 1 h"]);
  equal("relative times", got.relative, ["just now", "42 s ago", "in 1 min", "2 d ago"]);
  equal("countdowns", got.remaining, ["1 min 31 s", "0 s"]);
  equal("a command as it is typed", got.command, "sh -c \"it's <b>\" 'it'\\''s $HOME' '' a/b.txt");
  equal("one line of anything", got.line,
        `a\u21b5 b c${mark("NUL")}${mark("202E")}${mark("FEFF")}${mark("85")}`);
  equal("output that comes in pieces", got.pieces,
        ["a", "\nb", "red", "\nc", `${mark("ESC")}]0;x`, ""]);
  equal("widths of a time line: all can be seen, 1000 in all", got.widths, [6, 6, 988]);
  await done(page, "formats");
}

// ----

async function step(work) {
  try {
    await work();
  } catch (error) {
    check(`${work.name} ends without an exception`, false, error.stack);
  }
}

const looks = async () => {
  const complete = (page) => page.locator(".log-state", {hasText: "Complete"}).waitFor();
  await everyLook(main, "/", "list", (page) => rowOf(page, runs.good).waitFor());
  await everyLook(main, `/#/runs/${runs.good}`, "succeeded", async (page) => {
    await page.locator(".artifacts").waitFor();
    await page.locator(".history li").first().waitFor();
    await complete(page);
  });
  await everyLook(main, `/#/runs/${runs.failed}`, "failed", complete);
  await everyLook(main, `/#/runs/${runs.timedOut}`, "timed-out", complete);
  await everyLook(main, `/#/runs/${runs.live}`, "running", (page) =>
    page.locator(".block[data-stream=stderr]").first().waitFor());
  await everyLook(main, `/#/runs/${runs.waiting}`, "waiting", (page) =>
    page.locator(".headline").waitFor());
  await everyLook(main, "/#/?phase=lost&label=team%3Dnobody", "nothing", nothingMatches);
  await everyLook(main, "/#/runs/01hzy0000000000000000000ab", "missing", missingRun,
                  [/status of 404/]);
};

const emptyLooks = () => everyLook(main, "/", "empty", (page) => page.locator(".empty").waitFor());

const steps = [emptyLooks, emptyState, makeRuns, formats, policyHolds, list, badQuery, goodRun,
               endings, bigLog, deepResult, liveLog, calmMotion, looks, waitingRun, flood,
               keyboard, elsewhere, loneDaemon, fullDisk, withoutStream, daemonGone, eventsGone];
const wanted = process.argv.slice(2);
for (const work of steps) {
  const needed = [emptyState, makeRuns].includes(work);
  if (wanted.length === 0 || wanted.includes(work.name) || needed) {
    const began = Date.now();
    await step(work);
    console.log(`-- ${work.name}, ${Date.now() - began} ms`);
  }
}
await closeBrowser();
process.exit(0);
