#!/usr/bin/env python3
"""Many runs of mixed kinds while mayflyd is killed with kill -9 every 1 to 3 seconds.

    kill_loop.py [--runs N] [--seed N]

Afterwards: no run is lost, none ran twice, nothing is left on the engine, every artifact is byte
for byte what its script wrote.
"""

import argparse
import hashlib
import os
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checks import Checks, EngineApi  # noqa: E402
from daemon import TERMINAL, Mayflyd, insist  # noqa: E402
from rig import instance_of, wait_nothing_left  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
# Appended in the run's own volume: a second execution of an attempt would show as a second line.
ONCE = 'echo "$MAYFLY_RUN_ID $MAYFLY_ATTEMPT" >> output/ran; '
PRINTED_BYTES = 50_000_000
ARTIFACT_BYTES = 20_000_000
CALM_S = 240
SWEPT_S = 240


def spec(script, **limits):
    return {"image": IMAGE, "command": ["sh", "-c", ONCE + script],
            "files": [{"path": "in.txt", "content": "given\n"}],
            "limits": {"timeout_s": 60, **limits}}


KINDS = {
    "short": (spec("sleep 0.05; cat in.txt > output/out.txt"), "succeeded", "Completed"),
    "two_seconds": (spec("sleep 2; cat in.txt > output/out.txt"), "succeeded", "Completed"),
    "failing": (spec("sleep 0.2; echo no >&2; exit 7"), "failed", "NonZeroExit"),
    "timing_out": (spec("sleep 100", timeout_s=1), "timed_out", "RunTimeout"),
    "cancelled": (spec("sleep 100"), "cancelled", "CancelRequested"),
    "printing": (spec(f"yes mayfly | head -c {PRINTED_BYTES}"), "succeeded", "Completed"),
    "artifacts": (spec(f'yes "$MAYFLY_RUN_ID" | head -c {ARTIFACT_BYTES} > output/big'),
                  "succeeded", "Completed"),
}
# Most are short: a kill should find runs in every phase.
WEIGHTS = {"short": 10, "two_seconds": 4, "failing": 3, "timing_out": 2, "cancelled": 2,
           "printing": 1, "artifacts": 2}


class Killer:
    """Restarts the daemon again and again, until it is told to stop."""

    def __init__(self, daemon, rng):
        self.daemon, self.rng = daemon, rng
        self.kills = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping.wait(self.rng.uniform(1, 3)):
            self.daemon.kill()
            self.kills += 1
            self.daemon.start(wait_ready=False)

    def stop(self):
        self.stopping.set()
        self.thread.join()


def submit_all(daemon, count, rng):
    names = rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=count)
    names[:len(WEIGHTS)] = list(WEIGHTS)  # at least one of each
    rng.shuffle(names)
    runs = []
    client = daemon.new_client()
    for index, name in enumerate(names):
        run = insist(lambda i=index, n=name: client.submit(KINDS[n][0], key=f"kill-loop-{i}"))
        runs.append((run["id"], name))
        if name == "cancelled":
            insist(lambda r=run["id"]: cancel_once(client, r))
        time.sleep(rng.uniform(0, 0.1))
    return runs


def cancel_once(client, run_id):
    status, _, body = client.request("POST", f"/v1/runs/{run_id}/cancel")
    if status not in (200, 202, 409):
        raise RuntimeError(f"cancel: {status} {body[:200]!r}")


def wait_all(daemon, runs, deadline_s):
    end = time.monotonic() + deadline_s
    client = daemon.new_client()
    finished = {}
    while len(finished) < len(runs) and time.monotonic() < end:
        for run_id, _ in runs:
            if run_id in finished:
                continue
            run = insist(lambda r=run_id: client.get(r))
            if run["status"]["phase"] in TERMINAL:
                finished[run_id] = run
        time.sleep(0.3)
    return finished


def expected_artifacts(run_id, kind):
    if kind in ("short", "two_seconds"):
        return {"out.txt": b"given\n"}
    if kind == "artifacts":
        line = f"{run_id}\n".encode()
        return {"big": (line * (ARTIFACT_BYTES // len(line) + 1))[:ARTIFACT_BYTES]}
    return {}


def check_run(daemon, run, kind):
    """[] or what is wrong with it."""
    wrong = []
    _, phase, reason = KINDS[kind]
    status = run["status"]
    if (status["phase"], status["reason"]) != (phase, reason):
        wrong.append(f"ended {status['phase']} {status['reason']}: {status['message']}")
    client = daemon.client
    kept = {a["path"]: a for a in client.artifacts(run["id"])}
    if "ran" in kept:
        lines = client.artifact(run["id"], "ran").decode().splitlines()
        if len(lines) != 1:
            wrong.append(f"ran {len(lines)} times")
    elif phase != "cancelled":
        wrong.append("left no trace of having run")
    for path, content in expected_artifacts(run["id"], kind).items():
        got = client.artifact(run["id"], path) if path in kept else b""
        if got != content or kept[path]["sha256"] != hashlib.sha256(content).hexdigest():
            wrong.append(f"artifact {path} differs")
    if kind == "failing" and (client.logs(run["id"], "stderr") != b"no\n" or
                              status["exit_code"] != 7):
        wrong.append("its exit code or stderr differs")
    if kind == "printing" and status["stdout"]["bytes_total"] != PRINTED_BYTES:
        wrong.append(f"printed {status['stdout']}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("MAYFLY_KILL_RUNS", 60)))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"runs={arguments.runs} seed={arguments.seed}", flush=True)
    rng = random.Random(arguments.seed)
    checks = Checks()
    engine = EngineApi()
    folder = tempfile.mkdtemp(prefix="mayfly-kill-loop-")
    daemon = Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"],
                     ["--max-running", "8"])
    began = time.monotonic()
    daemon.start()
    killer = Killer(daemon, rng)
    try:
        runs = submit_all(daemon, arguments.runs, rng)
        finished = wait_all(daemon, runs, 30 + 3 * arguments.runs)
        killer.stop()
        under_kills_s = time.monotonic() - began
        daemon.wait_ready()
        finished.update(wait_all(daemon, runs, CALM_S))
        report(checks, daemon, engine, runs, finished)
        print(f"kills={killer.kills} seconds={under_kills_s:.0f}", flush=True)
    finally:
        killer.stopping.set()
        killer.stop()
        daemon.stop()
    checks.finish(folder)


def report(checks, daemon, engine, runs, finished):
    open_runs = [r for r, _ in runs if r not in finished]
    checks.check(f"every one of {len(runs)} accepted runs has ended", not open_runs, open_runs[:5])
    checks.equal("each submission made one run", len({r for r, _ in runs}), len(runs))
    lost = [r for r, k in runs if r in finished and finished[r]["status"]["phase"] == "lost"]
    checks.check("none is lost", not lost, [finished[r]["status"] for r in lost[:3]])
    wrong = {}
    for run_id, kind in runs:
        if run_id in finished:
            problems = check_run(daemon, finished[run_id], kind)
            if problems:
                wrong[run_id] = (kind, problems)
    twice = [w for w in wrong.values() if any("times" in p for p in w[1])]
    checks.check("none ran twice", not twice, twice[:5])
    checks.check("each ended as it would have, and its files are byte for byte its own", not wrong,
                 list(wrong.items())[:5])
    # What a kill left of building an image goes with the sweep, after its grace.
    left = wait_nothing_left(engine, instance_of(daemon), SWEPT_S)
    checks.equal("no container and no volume is left on the engine", left, ([], []))


if __name__ == "__main__":
    main()
