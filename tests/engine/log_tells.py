#!/usr/bin/env python3
"""The log: a line for each decision, in both forms, and nothing that a script or client gave."""

import json
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
SECRET = "hunter2-never-in-a-log"
DECISIONS = ["accepted", "BindAttempt", "RecordStartIntent", "RecordStarted", "RecordExit",
             "FinishRun", "MarkCollected"]
TEXT = r'"(?:[^"\\]|\\.)*"'
LOGFMT = re.compile(rf'^ts=\S+Z level=\w+ msg={TEXT}( \w+=(?:{TEXT}|[^\s"]+))*$')
SPEC = {
    "image": IMAGE, "stdin": SECRET, "env": {"TOKEN": SECRET},
    "files": [{"path": "in.txt", "content": SECRET}],
    "command": ["sh", "-c", "cat in.txt; echo $TOKEN >&2; cat; cp in.txt output/; "
                            f"echo '\"{SECRET}\"' > result.json; exit 3"],
}


def lines_of(daemon):
    with open(daemon.log_path, encoding="utf-8") as log:
        return log.read().splitlines()


def run_one(folder, name, *flags):
    """(run id, lines) of a daemon that ran SPEC once."""
    with Mayflyd(os.path.join(folder, name), os.environ["DOCKER_HOST"],
                 ["--log-level", "debug", *flags]) as daemon:
        run = daemon.client.wait(daemon.client.submit(SPEC)["id"])
        assert run["status"]["reason"] == "NonZeroExit", run["status"]
        collected = wait_for(lambda: "MarkCollected" in "".join(lines_of(daemon)), 30)
        assert collected, "it is not cleaned up"
    return run["id"], lines_of(daemon)


def check_json(checks, folder):
    run_id, lines = run_one(folder, "json", "--log-format", "json")
    told = [json.loads(line) for line in lines]
    checks.check("each line is JSON with time, level and message",
                 all({"ts", "level", "msg"} <= set(line) for line in told))
    of_run = [line for line in told if line.get("run") == run_id]
    decisions = [line for line in of_run if line["level"] == "info"]
    checks.equal("one line for each decision, in order",
                 [line["msg"] for line in decisions if line["msg"] in DECISIONS], DECISIONS)
    recorded = [line for line in decisions if line["msg"] in DECISIONS[1:]]
    checks.check("with run, attempt, phase and how long its commit took",
                 all({"attempt", "phase", "commit_ms"} <= set(line) for line in recorded),
                 recorded)
    checks.check("what came after an engine step names it and its duration",
                 any(line.get("after") == "StartContainer" and line["after_ms"] > 0
                     for line in recorded), recorded)
    finish = next(line for line in recorded if line["msg"] == "FinishRun")
    checks.equal("the end has phase and reason", (finish["phase"], finish["reason"]),
                 ("failed", "NonZeroExit"))
    calls = [line for line in told if line["msg"] == "engine call"]
    checks.check("at debug, each engine call with result and duration",
                 any(line["call"] == "POST /containers/{id}/start" and line["result"] == "ok"
                     and line["ms"] > 0 for line in calls), calls[:3])
    checks.check("nothing of environment, input, output or result is in it",
                 SECRET not in "\n".join(lines))


def check_logfmt(checks, folder):
    run_id, lines = run_one(folder, "logfmt")
    strange = [line for line in lines if not LOGFMT.match(line)]
    checks.check("by default each line is logfmt", lines and not strange, strange[:3])
    checks.check("a run can be found by its id",
                 sum(f"run={run_id}" in line for line in lines) >= len(DECISIONS))
    checks.check("nothing of environment, input, output or result is in it",
                 SECRET not in "\n".join(lines))


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-log-")
    checks.step(check_json, checks, folder)
    checks.step(check_logfmt, checks, folder)
    checks.finish(folder)


if __name__ == "__main__":
    main()
