#!/usr/bin/env python3
"""Every alert fires when it must and is silent when it must; each says what it is and what to do.

The cases are played by promtool, in its own time. That they can fail is shown too: each alert is
silenced once, and made to fire always once, and the cases must notice.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../support"))
from checks import Checks  # noqa: E402

ALERTS = os.path.join(ROOT, "deploy", "prometheus", "alerts.yml")
GUIDE = os.path.join(ROOT, "deploy", "README.md")
PROMTOOL = os.environ.get("PROMTOOL", "promtool")
I = 'instance="a:7070"'


def api(code, values):
    return f'mayfly_api_requests_total{{{I}, code="{code}", route="/v1/runs"}}', values


def commits(fast, slow):
    name = f"mayfly_store_commit_seconds_bucket{{{I}, le="
    return [(name + '"0.025"}', fast), (name + '"1"}', slow), (name + '"+Inf"}', slow)]


UP = f'up{{job="mayfly", {I}}}'
ENGINE = f'mayfly_engine_up{{{I}, engine="default"}}'
FREE, LOW = f"mayfly_disk_free_bytes{{{I}}}", f"mayfly_disk_low_watermark_bytes{{{I}}}"
STUCK = f'mayfly_runs_stuck{{{I}, where="running"}}'
LEAKED = f'mayfly_leaked_objects{{{I}, kind="volume"}}'
OLDEST = f"mayfly_oldest_queued_seconds{{{I}}}"
LOST = f'mayfly_runs_finished_total{{{I}, phase="lost", reason="EngineInterrupted"}}'
FAILED = f'mayfly_runs_finished_total{{{I}, phase="failed", reason="NonZeroExit"}}'
HARVEST = f"mayfly_harvest_failures_total{{{I}}}"
WEBHOOK = f'mayfly_webhook_deliveries_total{{{I}, result="'
HELD = f"mayfly_sweep_held{{{I}}}"
STARTED = f'process_start_time_seconds{{job="mayfly", {I}}}'

# alert, what happens, series, minute, does it fire?
CASES = [
    ("MayflyDown", "it cannot be scraped for three minutes", [(UP, "0x10")], 3, True),
    ("MayflyDown", "it cannot be scraped for one minute", [(UP, "1x4 0x10")], 6, False),
    ("MayflyDown", "it is scraped", [(UP, "1x10")], 10, False),
    ("MayflyDown", "another job is down", [(UP.replace("mayfly", "other"), "0x10")], 10, False),
    ("MayflyEngineDown", "the engine is away for two minutes", [(ENGINE, "1 0x10")], 3, True),
    ("MayflyEngineDown", "the engine is back", [(ENGINE, "1 0 0 0 1x10")], 6, False),
    ("MayflyEngineDown", "the engine was never away", [(ENGINE, "1x10")], 10, False),
    ("MayflyDiskLow", "less is free than the low mark",
     [(FREE, "2000 900x10"), (LOW, "1000x11")], 4, True),
    ("MayflyDiskLow", "as much is free as the low mark",
     [(FREE, "1000x10"), (LOW, "1000x10")], 8, False),
    ("MayflyRunStuck", "a run is stuck for seven minutes", [(STUCK, "1x10")], 7, True),
    ("MayflyRunStuck", "a run was stuck for three minutes", [(STUCK, "0 1 1 1 0x10")], 8, False),
    ("MayflyLeak", "a volume is left for seven minutes", [(LEAKED, "2x10")], 7, True),
    ("MayflyLeak", "the next sweep got it", [(LEAKED, "0 2 2 0x10")], 8, False),
    ("MayflyQueueOld", "a run waits for half an hour", [(OLDEST, "1000+60x20")], 8, True),
    ("MayflyQueueOld", "the oldest waits for a quarter of an hour", [(OLDEST, "900x20")], 15,
     False),
    ("MayflyRunsLost", "a run was lost five minutes ago", [(LOST, "0 0 1x20")], 7, True),
    ("MayflyRunsLost", "a run was lost an hour ago", [(LOST, "0 0 1x90")], 62, False),
    ("MayflyRunsLost", "scripts fail", [(FAILED, "0+9x20")], 15, False),
    ("MayflyHarvestFailing", "ten attempts failed", [(HARVEST, "0 0+1x10")], 10, True),
    ("MayflyHarvestFailing", "two attempts failed", [(HARVEST, "0 1 2x20")], 8, False),
    ("MayflyApiErrorBudget", "two in a hundred answers are 5xx",
     [api("200", "0+98x90"), api("503", "0+2x90")], 80, True),
    ("MayflyApiErrorBudget", "one in a hundred answers is 5xx",
     [api("200", "0+99x90"), api("503", "0+1x90")], 80, False),
    ("MayflyApiErrorBudget", "the errors ended ten minutes ago",
     [api("200", "0+50x90"), api("503", "0+5x60 300x30")], 80, False),
    ("MayflyApiErrorBudget", "everything is the client's fault",
     [api("200", "0+50x90"), api("400", "0+50x90"), api("503", "0x90")], 80, False),
    ("MayflyApiErrorBudget", "nobody asks anything",
     [api("200", "5x90"), api("503", "5x90")], 80, False),
    ("MayflyStoreSlow", "one commit in twenty takes half a second",
     commits("0+95x30", "0+100x30"), 20, True),
    ("MayflyStoreSlow", "commits are quick", commits("0+100x30", "0+100x30"), 20, False),
    ("MayflyStoreSlow", "they were slow for five minutes",
     commits("0+95x5 580+100x30", "0+100x35"), 20, False),
    ("MayflyStoreSlow", "nothing is committed", commits("7x30", "7x30"), 20, False),
    ("MayflyWebhooksGivenUp", "one was given up ten minutes ago",
     [(WEBHOOK + 'given_up"}', "0 0 1x40")], 12, True),
    ("MayflyWebhooksGivenUp", "one was given up an hour ago",
     [(WEBHOOK + 'given_up"}', "0 0 1x90")], 62, False),
    ("MayflyWebhooksGivenUp", "tries fail and come again",
     [(WEBHOOK + 'failed"}', "0+3x30"), (WEBHOOK + 'given_up"}', "0x30")], 20, False),
    ("MayflySweepHeld", "the brake is on for two minutes", [(HELD, "1x10")], 3, True),
    ("MayflySweepHeld", "the brake is off", [(HELD, "0x10")], 9, False),
    ("MayflyRestarting", "it starts every two minutes",
     [(STARTED, "0+120x20")], 14, True),
    ("MayflyRestarting", "it was restarted twice", [(STARTED, "5 5 9 9 20x20")], 14, False),
]


def tests_file(rules, folder):
    tests = []
    for alert, what, series, minute, fires in CASES:
        firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
        tests.append({
            "interval": "1m", "name": f"{alert}: {what}",
            "input_series": [{"series": name, "values": values} for name, values in series],
            "promql_expr_test": [{"expr": firing, "eval_time": f"{minute}m", "exp_samples": [
                {"labels": "{}", "value": 1 if fires else 0}]}],
        })
    path = os.path.join(folder, "tests.yml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}, file)
    return path


def play(rules):
    """(did all cases hold?, what promtool printed)"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([PROMTOOL, "test", "rules", tests_file(rules, folder)],
                              capture_output=True, text=True, timeout=120, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def check_texts(checks, text, names):
    with open(GUIDE, encoding="utf-8") as file:
        sections = {line.lstrip("# ").strip().lower() for line in file if line.startswith("#")}
    for rule in re.split(r"\n      - alert: ", text)[1:]:
        name = rule.split("\n", 1)[0]
        whole = all(f"{key}:" in rule for key in ("severity", "summary", "description"))
        checks.check(f"{name} has a severity, a summary and a description", whole)
        checks.check(f"{name} names its section of the guide, which is there",
                     f"runbook: deploy/README.md#{name.lower()}\n" in rule + "\n"
                     and name.lower() in sections)
    for name in names:
        outcomes = {fires for alert, _, _, _, fires in CASES if alert == name}
        checks.equal(f"{name} has a case in which it fires and one in which it does not",
                     outcomes, {True, False})


def check_that_cases_notice(checks, text, names):
    """Each alert silenced, and each made to fire always."""
    with tempfile.TemporaryDirectory() as folder:
        rules = os.path.join(folder, "alerts.yml")
        for name in names:
            unnoticed = []
            for expr in ("vector(0) == 1", "vector(1)"):
                wrong = re.sub(rf"(- alert: {name}\n(?:        #.*\n)*        expr: )(?:.|\n)*?"
                               r"(\n        (?:for|labels):)", rf"\g<1>{expr}\2", text, count=1)
                with open(rules, "w", encoding="utf-8") as file:
                    file.write(wrong)
                held, _ = play(rules)
                if held or wrong == text:
                    unnoticed.append(expr)
            checks.check(f"planted: the cases notice that {name} never fires, or always",
                         not unnoticed, unnoticed)


def main():
    checks = Checks()
    done = subprocess.run([PROMTOOL, "check", "rules", ALERTS], capture_output=True, text=True,
                          timeout=60, check=False)
    checks.check("promtool check rules finds nothing", done.returncode == 0,
                 done.stdout + done.stderr)
    with open(ALERTS, encoding="utf-8") as file:
        text = file.read()
    names = re.findall(r"- alert: (\w+)", text)
    held, said = play(ALERTS)
    checks.check(f"{len(CASES)} cases: each alert fires when it must, and only then", held,
                 said[-2000:])
    check_texts(checks, text, names)
    check_that_cases_notice(checks, text, names)
    checks.finish()


if __name__ == "__main__":
    main()
