#!/usr/bin/env python3
"""A steady load for a long time: mayflyd loses nothing, doubles nothing, leaves nothing, and does
not grow.

    soak.py [--minutes N] [--rate RUNS_PER_S] [--real] [--seed N] [--life-s S]

Runs of mixed kinds are submitted with their input, waited for, compared with what their scripts
write, and deleted. In the first half mayflyd is killed with kill -9 every --life-s seconds and
started again: what grows from life to life, seen at the same age, is what it keeps on disk. In the
second half it lives on: what grows there is a leak. The engine is mayfly-sim-engine, or the one at
DOCKER_HOST with --real; it is never killed.

A line is fitted through the samples of each half, but for the first third of the calm one, when
caches fill. Growth fails when the line rises faster than the bound per hour AND by more in all
than samples scatter by (BOUNDS). So a minute finds only gross leaks; an hour finds a leak of 9 MiB
an hour, about 130 bytes a run.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time

from rig import (SimEngine, allow, real_kinds, simulated_kinds)  # puts support in the path
from checks import Checks, EngineApi, wait_for
from daemon import TERMINAL, Mayflyd, insist

WORKERS = 48
RUN_DEADLINE_S = 180
SAMPLE_EVERY_S = 2
CALM_SKIPPED = 1 / 3
# field: (bound per hour, scatter in all)
BOUNDS = {
    "rss_mib": (4, 3),
    "fds": (6, 12),  # most are the connections of the workers
    "threads": (1, 0.5),
    "disk_mib": (16, 24),
}


class Load:
    """Submits at a steady rate until told to stop; counts what went wrong."""

    def __init__(self, daemon, kinds, rate, seed):
        self.daemon, self.kinds, self.rate = daemon, kinds, rate
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.index = self.submitted = self.ended = self.deleted = self.late = 0
        self.by_kind = dict.fromkeys(kinds, 0)
        self.wrong, self.latencies = [], []
        self.begin = time.monotonic()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in self.threads:
            thread.start()

    def _next(self):
        """(index, kind) when its time has come; None at the end."""
        with self.lock:
            index = self.index
            self.index += 1
            names = list(self.kinds)
            name = self.rng.choices(names, [self.kinds[n].weight for n in names])[0]
        delay = self.begin + index / self.rate - time.monotonic()
        if delay < -1:
            self.late += 1
        if self.stopping.wait(max(delay, 0)):
            return None
        return index, name

    def _work(self):
        client = self.daemon.new_client()
        while (task := self._next()) is not None:
            try:
                self._one(client, *task)
            except Exception as error:  # pylint: disable=broad-except
                self._complain(f"{task}: {error!r}")

    def _one(self, client, index, name):
        kind = self.kinds[name]
        began = time.monotonic()
        run = insist(lambda: client.submit(kind.spec, key=f"soak-{index}"))
        run_id = run["id"]
        with self.lock:
            self.submitted += 1
            self.by_kind[name] += 1
        if kind.cancels:
            time.sleep(0.3)
            insist(lambda: allow(client, (200, 202, 409), "POST", f"/v1/runs/{run_id}/cancel"))
        while run["status"]["phase"] not in TERMINAL:
            if time.monotonic() > began + RUN_DEADLINE_S:
                return self._complain(f"{run_id} ({name}) is {run['status']} at its deadline")
            run = insist(lambda: client.get(run_id, wait="10s"))
        with self.lock:
            self.ended += 1
            self.latencies.append(time.monotonic() - began)
        for problem in insist(lambda: kind.problems(client, run)):
            self._complain(f"{run_id} ({name}): {problem}")
        # A deletion whose answer was lost is repeated, and finds nothing.
        insist(lambda: allow(client, (200, 202, 204, 404), "DELETE", f"/v1/runs/{run_id}"))
        with self.lock:
            self.deleted += 1

    def _complain(self, text):
        with self.lock:
            self.wrong.append(text)
            if len(self.wrong) <= 20:
                print(f"        {text}", flush=True)

    def take_latencies(self):
        with self.lock:
            taken, self.latencies = sorted(self.latencies), []
        return taken

    def finish(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(RUN_DEADLINE_S + 60)
        return not any(thread.is_alive() for thread in self.threads)


# ---- samples

def tree_bytes(folder):
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except OSError:
                pass  # gone meanwhile
    return total


def rss_mib(pid):
    with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def sample(daemon):
    pid = daemon.process.pid
    return {"rss_mib": rss_mib(pid),
            "fds": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
            "disk_mib": tree_bytes(daemon.data_dir) / 2**20}


def slope(points):
    """Of the line through (x, y) with the least squares; 0 for fewer than three points."""
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def check_growth(checks, what, samples):
    """`samples`: [(seconds, sample)] of the same kind of moment."""
    span_s = samples[-1][0] - samples[0][0] if samples else 0
    for field, (per_hour, scatter) in BOUNDS.items():
        rises = slope([(at, values[field]) for at, values in samples])
        seen = rises * span_s
        checks.check(f"{what}: {field} does not grow ({rises * 3600:+.2f} an hour, {seen:+.2f} in "
                     f"{span_s:.0f} s, {len(samples)} samples)",
                     len(samples) >= 3 and not (rises * 3600 > per_hour and seen > scatter),
                     f"the bound is {per_hour} an hour and {scatter} in all; the last: "
                     f"{samples[-1][1] if samples else None}")


class Table:
    """One line a minute, for whoever watches."""

    def __init__(self, load, engine):
        self.load, self.engine = load, engine
        self.begin = self.last = time.monotonic()
        self.ended = 0
        print(" min  life  age_s   ended  runs/s  p50_ms  p99_ms  rss_mib  fds  threads  disk_mib"
              "  engine_mib  objects", flush=True)

    def print_if_due(self, life, age_s, values, now, every_s=60):
        if now - self.last < every_s:
            return
        took = self.load.take_latencies() or [0]
        ended = self.load.ended
        speed = (ended - self.ended) / (now - self.last)
        engine_mib, objects = self._engine()
        print(f"{(now - self.begin) / 60:4.0f} {life:5d} {age_s:6.0f} {ended:7d} {speed:7.1f} "
              f"{took[len(took) // 2] * 1e3:7.0f} {took[len(took) * 99 // 100] * 1e3:7.0f} "
              f"{values['rss_mib']:8.1f} {values['fds']:4d} {values['threads']:8d} "
              f"{values['disk_mib']:9.1f} {engine_mib:11.1f} {objects:8d}", flush=True)
        self.last, self.ended = now, ended

    def _engine(self):
        if not isinstance(self.engine, SimEngine):
            return 0.0, sum(len(names) for names in self.engine.owned())
        status = self.engine.status()
        return rss_mib(self.engine.process.pid), status["containers"] + status["volumes"]


# ---- the two halves

def under_kills(daemon, load, table, seconds, life_s):
    """(kills, samples at the same age of each life)."""
    end = time.monotonic() + seconds
    begin = time.monotonic()
    kills, samples = 0, []
    while time.monotonic() < end:
        born = time.monotonic()
        while (age_s := time.monotonic() - born) < life_s:
            time.sleep(min(SAMPLE_EVERY_S, life_s - age_s))
            now = time.monotonic()
            values = sample(daemon)
            table.print_if_due(kills + 1, now - born, values, now)
        samples.append((born - begin, sample(daemon)))
        daemon.kill()
        kills += 1
        daemon.start()
    return kills, samples


def calm(daemon, load, table, seconds, life):
    begin = time.monotonic()
    samples = []
    while (now := time.monotonic()) < begin + seconds:
        values = sample(daemon)
        if now - begin > seconds * CALM_SKIPPED:
            samples.append((now - begin, values))
        table.print_if_due(life, now - begin, values, now)
        time.sleep(SAMPLE_EVERY_S)
    return samples


def check_runs(checks, daemon, load, engine, drained):
    checks.check(f"every one of {load.submitted} accepted runs has ended",
                 drained and load.ended == load.submitted, f"{load.ended} ended")
    checks.check("each ended as it must, with its own files", not load.wrong, load.wrong[:5])
    left = daemon.client.expect((200,), "GET", "/v1/runs?limit=5")
    checks.check("no deleted run is listed", b'"runs":[]' in left.replace(b" ", b""), left[:300])
    if isinstance(engine, SimEngine):
        gone = wait_for(lambda: engine.status()["containers"] + engine.status()["volumes"] == 0)
        status = engine.status()
        checks.check("no container and no volume is left on the engine", gone, status)
        checks.check("no script ran twice", not status["doubled"] and
                     status["executions"] == status["executed"], status)
        may = sum(n for name, n in load.by_kind.items() if load.kinds[name].cancels)
        checks.check("every script ran that was not cancelled", load.submitted - may <=
                     status["executed"] <= load.submitted, (load.by_kind, status))
        checks.equal("the engine saw nothing impossible", status["violation"], "")
    else:
        wait_for(lambda: engine.owned() == ([], []))
        checks.equal("no container and no volume is left on the engine", engine.owned(), ([], []))
    spool = os.path.join(daemon.data_dir, "spool")
    empty = wait_for(lambda: os.listdir(spool) in ([], [".tmp"]))
    checks.check("no file of a deleted run is left", empty, os.listdir(spool)[:5])


def soak(checks, daemon, engine, kinds, arguments):
    daemon.start()
    load = Load(daemon, kinds, arguments.rate, arguments.seed)
    table = Table(load, engine)
    half_s = arguments.minutes * 30
    kills, lives = under_kills(daemon, load, table, half_s, min(arguments.life_s, half_s / 5))
    samples = calm(daemon, load, table, half_s, kills + 1)
    drained = load.finish()
    print(f"submitted={load.submitted} ended={load.ended} deleted={load.deleted} kills={kills} "
          f"late={load.late} {load.by_kind}", flush=True)
    if isinstance(engine, SimEngine):
        print(f"engine: {engine.status()}", flush=True)
    check_runs(checks, daemon, load, engine, drained)
    check_growth(checks, "from life to life", lives)
    check_growth(checks, "in one life", samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--rate", type=float, help="runs a second; 20, or 1 with --real")
    parser.add_argument("--life-s", type=float, default=20)
    parser.add_argument("--real", action="store_true", help="the engine at DOCKER_HOST")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    arguments.rate = arguments.rate or (1 if arguments.real else 20)
    print(f"minutes={arguments.minutes:g} rate={arguments.rate:g} seed={arguments.seed}")
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-soak-")
    engine = EngineApi() if arguments.real else SimEngine(folder, ["--latency-ms", "2",
                                                                   "--start-ms", "20"])
    host = os.environ["DOCKER_HOST"] if arguments.real else engine.host
    kinds = real_kinds() if arguments.real else simulated_kinds()
    daemon = Mayflyd(os.path.join(folder, "data"), host,
                     ["--max-running", "32", "--prepare-ahead", "8", "--engine-work-slots", "8"])
    try:
        checks.step(soak, checks, daemon, engine, kinds, arguments)
    finally:
        daemon.stop()
        if not arguments.real:
            engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    sys.exit(main())
