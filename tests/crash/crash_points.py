#!/usr/bin/env python3
"""One run, and mayflyd killed at each of its side effects in turn, before it and after it.

    crash_points.py [--full] [--seed N] [--only SCENARIO]

An effect is a change of the disk or of the engine; disk_shim.c numbers them and kills. After each
crash a clean mayflyd starts on the same directory. Whatever the point: the run ends as it would
have, its script was executed once (by its own trace and by the engine's events), its files are
byte for byte the same, nothing of it is left on the engine, and the database is whole. `lost` is
never right here: only the controller crashes. And one run whose script ends well before its
deadline while mayflyd is dead, which comes back long after it.

Scenarios: `fresh` is a first start, from the empty directory to the prepared image; the others are
one run of 0.05 s, 2 s or 20 s, from the start of the daemon to its orderly stop.

Without --full: every request to the engine, and of the effects that are not one more write to the
same file a stride with a random offset. With it: n = 1, 2, ... until a daemon ends without having
fired.
"""

import argparse
import concurrent.futures
import http.client
import itertools
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402
from rig import Effects  # noqa: E402
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import TERMINAL, Mayflyd  # noqa: E402

LANES = 2  # points tried at once; each lane is an instance of its own
RUN_DEADLINE_S = 40
SCENARIOS = {"fresh": 0.05, "0.05 s": 0.05, "2 s": 2, "20 s": 20}
SWEPT_AFTER_S = 120  # what is left of building an image goes with the first sweep after that


class Lane:
    """A data directory to start from, with its image prepared, and where its copies lie."""

    def __init__(self, folder, number, engine):
        self.folder = os.path.join(folder, f"lane{number}")
        self.template = os.path.join(self.folder, "template")
        self.engine = engine
        os.makedirs(self.folder)
        self.serial = itertools.count()
        with self.daemon(self.template) as daemon:
            run = daemon.client.submit(rig.spec(0))
            daemon.client.wait(run["id"])
            self.instance = rig.instance_of(daemon)
            rig.wait_nothing_left(engine, self.instance)

    def daemon(self, data_dir, flags=()):
        return Mayflyd(data_dir, os.environ["DOCKER_HOST"], list(flags))

    def copy(self, fresh):
        data_dir = os.path.join(self.folder, f"point{next(self.serial)}")
        if not fresh:
            shutil.copytree(self.template, data_dir)
        return data_dir


class Trial:
    """One run under one crash point. problems: [(kind, sentence)]."""

    def __init__(self, lane, scenario, point, when, witness):
        self.lane, self.scenario, self.point, self.when = lane, scenario, point, when
        self.witness = witness
        self.data_dir = lane.copy(scenario == "fresh")
        self.daemon = lane.daemon(self.data_dir)
        self.effects = Effects(self.data_dir + ".effects")
        self.key = f"{scenario.replace(' ', '')}-{point}-{when}"
        self.spec = rig.spec(SCENARIOS[scenario], {"point": self.key})
        self.run_id = None
        self.fired = False
        self.build_left = False
        self.recovery_began = self.recovery_s = 0
        self.problems = []

    def wrong(self, kind, sentence):
        where = f"{self.scenario} {self.when} effect {self.point}"
        self.problems.append((kind, f"{where}: {sentence}"))

    def run(self):
        more = {"crash_at": self.point, "crash_when": self.when} if self.point else {}
        self.daemon.environment = rig.shim_environment(self.daemon, self.effects.path, **more)
        self.daemon.start(wait_ready=False)
        self.drive()
        self.fired = self.daemon.process.returncode == -9
        if not self.fired and self.daemon.process.returncode != 0:
            self.wrong("differing", f"mayflyd ended with {self.daemon.process.returncode}")
        if rig.database_problem(self.data_dir) and self.fired and self.run_id:
            self.wrong("lost", f"the database: {rig.database_problem(self.data_dir)}")
        self.daemon.environment = {}
        self.daemon.start()
        self.recovery_began = rig.now()
        try:
            self.judge()
        finally:
            self.daemon.kill()
        return self

    def alive(self):
        return self.daemon.process.poll() is None

    # Until the run has ended and the daemon was stopped, or the daemon is dead.
    def drive(self):
        end = rig.now() + RUN_DEADLINE_S
        self.submit(end)
        while self.run_id and self.alive() and rig.now() < end:
            try:
                status = self.daemon.client.get(self.run_id, wait="20s")["status"]
            except (OSError, http.client.HTTPException):
                continue  # it is dying
            if status["phase"] in TERMINAL:
                break
        owned = rig.instance_of(self.daemon) or self.lane.instance
        wait_for(lambda: not self.alive() or rig.owned_by(self.lane.engine, owned) == ([], []),
                 RUN_DEADLINE_S)
        try:
            self.daemon.stop()
        except TimeoutError as error:
            self.wrong("differing", f"it did not stop: {error}")

    def submit(self, end):
        while self.alive() and rig.now() < end:
            answered = rig.post(self.daemon, self.key, self.spec)
            if not answered:
                continue
            status, answer = answered
            if status in (200, 201):
                self.run_id = json.loads(answer)["id"]
                return
            if status < 500:
                self.wrong("differing", f"the submission was answered {status}: {answer[:200]}")
                return

    def judge(self):
        client = self.daemon.client
        accepted = self.run_id
        if not accepted:
            self.submit(rig.now() + RUN_DEADLINE_S)
        try:
            run = client.wait(self.run_id, RUN_DEADLINE_S)
        except Exception as error:  # pylint: disable=broad-except
            self.wrong("lost", f"accepted {accepted}: {error}")
            return
        self.recovery_s = rig.now() - self.recovery_began
        if run["status"]["phase"] == "lost":
            self.wrong("lost", f"{run['status']['reason']}: {run['status']['message']}")
        for problem in rig.problems_of(client, run):
            self.wrong("doubled" if "executed" in problem else "differing", problem)
        starts = self.witness.starts.get(self.run_id)
        if starts != 1:
            self.wrong("doubled", f"the engine started its container {starts} times")
        listed = json.loads(client.expect((200,), "GET", f"/v1/runs?label=point={self.key}"))
        if len(listed["runs"]) != 1:
            self.wrong("doubled", f"its key made {len(listed['runs'])} runs")
        left = self.left_over()
        if left:
            self.wrong("left", f"on the engine: {left}")

    def left_over(self):
        instance = rig.instance_of(self.daemon)

        def left():
            containers, volumes = rig.owned_by(self.lane.engine, instance)
            self.build_left = any("-build-" in name for name in containers)
            return [name for name in containers if "-build-" not in name] + volumes
        wait_for(lambda: not left(), RUN_DEADLINE_S)
        return left()

    def clean_up(self):
        """Not if somebody has to look at it, or a sweep has to come."""
        if self.problems or self.build_left:
            return
        if self.scenario == "fresh":
            rig.remove_prepared_images(self.lane.engine, rig.instance_of(self.daemon))
        shutil.rmtree(self.data_dir, ignore_errors=True)
        for suffix in (".log", ".effects"):
            if os.path.exists(self.data_dir + suffix):
                os.unlink(self.data_dir + suffix)


class Table:
    """What was done and found, by scenario and by side of the effect."""

    COLUMNS = ("effects", "crashes", "lost", "doubled", "left", "differing")

    def __init__(self):
        self.rows = {}
        self.problems = []
        self.slowest = (0, "", "")
        self.lock = threading.Lock()

    def row(self, scenario, when):
        return self.rows.setdefault((scenario, when), dict.fromkeys(self.COLUMNS, 0))

    def add(self, trial):
        with self.lock:
            row = self.row(trial.scenario, trial.when)
            row["crashes"] += trial.fired
            self.slowest = max(self.slowest, (trial.recovery_s, trial.key, trial.data_dir))
            for kind in {kind for kind, _ in trial.problems}:
                row[kind] += 1
            for kind, sentence in trial.problems:
                print(f"{kind}: {sentence} ({trial.data_dir})", flush=True)
            self.problems += trial.problems

    def print(self):
        print(f"{'scenario':10}{'when':8}" + "".join(f"{c:>10}" for c in self.COLUMNS))
        for (scenario, when), row in self.rows.items():
            print(f"{scenario:10}{when:8}" + "".join(f"{row[c]:>10}" for c in self.COLUMNS),
                  flush=True)
        print("slowest recovery: %.1f s, %s" % self.slowest[:2], flush=True)


class Explorer:
    def __init__(self, arguments, engine, witness, folder):
        self.full, self.rng = arguments.full, random.Random(arguments.seed)
        self.lanes = [Lane(folder, n, engine) for n in range(LANES)]
        self.free = list(self.lanes)
        self.lock = threading.Lock()
        self.witness = witness
        self.table = Table()
        self.to_be_swept = []

    def try_point(self, scenario, point, when):
        with self.lock:
            lane = self.free.pop()
        try:
            trial = Trial(lane, scenario, point, when, self.witness)
            try:
                trial.run()
            except Exception as error:  # pylint: disable=broad-except
                trial.wrong("differing", f"{type(error).__name__}: {error}")
            self.table.add(trial)
            if trial.build_left and not trial.problems:
                self.to_be_swept.append((trial, rig.now()))
            trial.clean_up()
            return trial
        finally:
            with self.lock:
                self.free.append(lane)

    def undisturbed(self, scenario):
        """[(n, kind, call, path)] of a run without a crash. It is checked, too."""
        lane = self.lanes[0]
        trial = Trial(lane, scenario, 0, "never", self.witness)
        trial.run()
        effects = trial.effects.numbered()
        for kind, sentence in trial.problems:
            print(f"{kind}: {sentence}", flush=True)
        self.table.problems += trial.problems
        if scenario == "fresh":  # what comes after the image is the other scenarios'
            last = max(n for n, _, _, path in effects if path.startswith("DELETE /") and
                       n < next(m for m, _, _, p in effects if "create?name=mayfly-0" in p))
            effects = effects[:last]
        trial.clean_up()
        return effects

    def explore(self, scenario):
        effects = self.undisturbed(scenario)
        points = self.choose(scenario, effects)
        for when in ("before", "after"):
            self.table.row(scenario, when)["effects"] = len(effects)
        with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
            list(pool.map(lambda p: self.try_point(scenario, *p), points))
        if not (self.full and scenario in ("0.05 s", "2 s")):
            return
        for when in ("before", "after"):  # a run varies by a few: on until none fires
            n = len(effects) + 1
            while self.try_point(scenario, n, when).fired:
                n += 1

    def choose(self, scenario, effects):
        """[(n, when)]"""
        if self.full and scenario != "20 s":
            return [(n, when) for n, *_ in effects for when in ("before", "after")]
        plain = [(kind, call, re.sub(r"[0-9a-z]{26}|\d+$", "*", path))
                 for _, kind, call, path in effects]
        points = []
        for index, (n, kind, call, _) in enumerate(effects):
            if index == 0 or plain[index] != plain[index - 1]:
                points.append((n, "before"))
            # After a call on a file is before the next one; of a request, it is not.
            if kind == "engine" or call in ("rename", "mkdir"):
                points.append((n, "after"))
        several = [n for n, *_ in effects]
        points += [(self.rng.choice(several), self.rng.choice(("before", "after")))
                   for _ in range(4)]
        stride = {"fresh": 5, "0.05 s": 2, "2 s": 9, "20 s": 2}[scenario]
        offset = self.rng.randrange(stride)
        chosen = points[offset::stride]
        if scenario in ("fresh", "0.05 s"):
            chosen += [p for p in points if effects[p[0] - 1][1] == "engine" and p not in chosen]
        print(f"{scenario}: {len(effects)} effects, {len(chosen)} points, "
              f"stride {stride} from {offset}", flush=True)
        return chosen

    def sweeps(self):
        """Names of build containers that a sweep did not take when their grace was over."""
        left = []
        for trial, since in self.to_be_swept:
            trial.daemon.flags = ["--sweep-every-s", "1"]
            trial.daemon.start()
            instance = rig.instance_of(trial.daemon)
            deadline_s = SWEPT_AFTER_S + 30 - (rig.now() - since)
            gone = wait_for(
                lambda i=instance, t=trial: rig.owned_by(t.lane.engine, i) == ([], []), deadline_s)
            trial.daemon.kill()
            if gone:
                trial.build_left = False
                trial.clean_up()
            else:
                left += rig.owned_by(trial.lane.engine, instance)[0]
        return left


class LongAbsence:
    """A run whose script ends in time, under a daemon that is dead until its deadline is over."""

    TIMEOUT_S = 1
    MARGIN_S = 8  # grace and slack that a deadline has on top of timeout_s, and some

    def __init__(self, lane):
        self.daemon = lane.daemon(lane.copy(fresh=False))
        self.daemon.start()
        limits = {"timeout_s": self.TIMEOUT_S}
        self.run_id = self.daemon.client.submit(rig.spec(0.3, limits=limits))["id"]
        wait_for(lambda: self.daemon.client.get(self.run_id)["status"]["phase"] == "running")
        self.daemon.kill()
        self.back_at = rig.now() + self.TIMEOUT_S + self.MARGIN_S

    def check(self, checks):
        wait_for(lambda: rig.now() > self.back_at)
        self.daemon.start()
        run = self.daemon.client.wait(self.run_id)
        checks.equal("a run that ended in time while mayflyd was dead past its deadline ends so",
                     rig.problems_of(self.daemon.client, run), [])
        self.daemon.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every point; hours")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", choices=SCENARIOS)
    arguments = parser.parse_args()
    print(f"seed={arguments.seed}", flush=True)
    checks = Checks()
    engine = EngineApi()
    witness = rig.StartWitness(engine)
    folder = tempfile.mkdtemp(prefix="mayfly-crash-points-")
    began = rig.now()
    explorer = Explorer(arguments, engine, witness, folder)
    absence = LongAbsence(Lane(folder, LANES, engine))  # an instance that nobody else checks
    names = ["fresh", "0.05 s", "2 s"] + (["20 s"] if arguments.full else [])
    for scenario in [arguments.only] if arguments.only else names:
        checks.step(explorer.explore, scenario)
    checks.step(absence.check, checks)
    swept = len(explorer.to_be_swept)
    report(checks, explorer.table, witness)
    if arguments.full:
        checks.equal(f"what {swept} crashes left of building an image is swept",
                     explorer.sweeps(), [])
    print(f"seconds={rig.now() - began:.0f}", flush=True)
    for lane in explorer.lanes:
        rig.remove_prepared_images(engine, lane.instance)
    checks.finish(folder)


def report(checks, table, witness):
    table.print()
    crashes = sum(row["crashes"] for row in table.rows.values())
    checks.check("mayflyd was killed at effects of every scenario",
                 all(table.row(s, "before")["crashes"] for s, _ in table.rows), table.rows)
    checks.check("the engine's events were heard throughout", witness.broken is None,
                 witness.broken)
    for kind, sentence in (("lost", "no accepted run is lost"),
                           ("doubled", "none was executed twice, and a key made one run"),
                           ("left", "nothing is left on the engine"),
                           ("differing", "each ended as without a crash, its files the same")):
        found = [s for k, s in table.problems if k == kind]
        checks.check(f"{crashes} crashes: {sentence}", not found, found[:5])


if __name__ == "__main__":
    main()
