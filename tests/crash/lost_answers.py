#!/usr/bin/env python3
"""Every kind of call to the engine whose answer is lost, doubled, late, cut or an error, once.

    lost_answers.py [--full] [--seed N] [--only WORD]

Between mayflyd and a real engine stands fault_proxy.py. For each call that a run makes and each
fault (without --full: each lost answer, and a share of the other faults, chosen by the seed): the
run ends as undisturbed (never `lost`: the engine has kept everything), its script was executed
once, nothing is left. Then runs of mixed kinds while any call may get any fault.
"""

import argparse
import concurrent.futures
import os
import queue
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402
from fault_proxy import FAULTS, FaultProxy, Rule  # noqa: E402
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

LANES = 3
RUN_DEADLINE_S = 150  # a call that is never answered is given up after 30 to 60 s
CUT_AT = 10
DELAY_S = 0.5
RANDOM_RUNS = 30
RANDOM_RATE = 0.1

# Calls of every run. The start of a build container has no call of its own: it is never started.
CALLS = {
    "create": ("POST", r"/containers/create\?name=mayfly-0"),
    "put archive": ("PUT", r"/archive\?path=%2Fwork"),
    "start": ("POST", r"/containers/[^/]+/start$"),
    "inspect": ("GET", r"/containers/[0-9a-f]{64}/json"),
    "list": ("GET", r"/containers/json"),
    "logs": ("GET", r"/logs"),
    "get archive": ("GET", r"/archive"),
    "rm container": ("DELETE", r"/containers/"),
    "rm volume": ("DELETE", r"/volumes/"),
}
# Calls of a cancelled run.
CANCELLED = {"kill": ("POST", r"/kill\?")}
# Calls of the first run on an image.
FIRST = {
    "image create": ("POST", r"/containers/create\?name=mayfly-prepared"),
    "image put": ("PUT", r"/archive\?path=%2F$"),
    "image commit": ("POST", r"/commit\?"),
    "image rm": ("DELETE", r"/containers/"),
    "image inspect": ("GET", r"/images/mayfly-prepared"),
}
# Calls of the fence, which a start that was refused brings on.
FENCE = {
    "fence rm": ("DELETE", r"/containers/"),
    "probe create": ("POST", r"/containers/create\?name=mayfly-0.*probe"),
    "probe volume": ("GET", r"/volumes/"),
    "probe stat": ("HEAD", r"/archive"),
}
REFUSED_START = ("POST", r"/start$", "error_before")
# An engine that never answers is given up after 30 to 60 s.
NEVER_BY_DEFAULT = ("start",)
# Without --full: every answer lost once, and this share of all other faults.
SHARE = 0.2
VALUES = {"cut": CUT_AT, "delay": DELAY_S}


class Lane:
    """An instance behind a proxy of its own."""

    def __init__(self, folder, name, engine, flags=()):
        self.engine = engine
        # Short: a socket's path has at most 107 bytes.
        self.proxy = FaultProxy(os.path.join(folder, f"{name}.sock"), engine.path)
        self.daemon = Mayflyd(os.path.join(folder, name), self.proxy.host,
                              ["--resync-every-s", "5", "--term-grace-ms", "200", *flags])

    def open(self, warm):
        self.daemon.start()
        if warm:
            self.daemon.client.wait(self.daemon.client.submit(rig.spec(0))["id"])
            rig.wait_nothing_left(self.engine, rig.instance_of(self.daemon))
        return self

    def close(self):
        self.daemon.stop()
        rig.remove_prepared_images(self.engine, rig.instance_of(self.daemon))
        self.proxy.close()


class Trial:
    """One run, one call of it with one fault."""

    def __init__(self, group, call, fault):
        self.group, self.call, self.fault = group, call, fault
        self.name = f"{call}, {fault}"
        method, path = {**CALLS, **CANCELLED, **FIRST, **FENCE}[call]
        self.rules = [Rule(method, path, fault, VALUES.get(fault))]
        if group is FENCE:
            self.rules.insert(0, Rule(*REFUSED_START))

    def run(self, lane, witness):
        """[] or what is wrong."""
        client = lane.daemon.new_client()
        lane.proxy.rules = self.rules
        cancels = self.group is CANCELLED
        run_id = client.submit(rig.spec(60 if cancels else 0.1))["id"]
        if cancels:
            wait_for(lambda: client.get(run_id)["status"]["phase"] == "running")
            client.cancel(run_id)
        try:
            run = client.wait(run_id, RUN_DEADLINE_S)
        except TimeoutError as error:
            return [f"stuck: {error}"]
        ending = ("cancelled", "CancelRequested") if cancels else ("succeeded", "Completed")
        wrong = rig.problems_of(client, run, ending)
        starts = witness.starts.get(run_id)
        # Started anew, an ended container runs PID 1 again; the claim keeps the script from it.
        most = 2 if self.call == "start" and self.fault.startswith("twice") else 1
        if starts is None or starts > most:
            wrong.append(f"the engine started its container {starts} times")
        patience_s = 100 if self.fault == "never" else 40
        left = rig.wait_nothing_left(lane.engine, rig.instance_of(lane.daemon), patience_s)
        left = [name for name in left[0] + left[1] if "-build-" not in name]
        if left:
            wrong.append(f"left on the engine: {left}")
        if not self.rules[-1].hits:
            wait_for(lambda: self.rules[-1].hits, 8)  # a list comes by itself, with the next round
        if not self.rules[-1].hits:
            wrong.append("the call was never made, so nothing was tested")
        return wrong


class Results:
    def __init__(self):
        self.wrong = []
        self.done = 0
        self.slowest = (0, "")

    def add(self, trial, wrong, seconds):
        self.done += 1
        self.slowest = max(self.slowest, (seconds, trial.name))
        for problem in wrong:
            print(f"        {trial.name}: {problem}", flush=True)
        if wrong:
            self.wrong.append((trial.name, wrong))


def all_trials(full, only, rng):
    faults = [fault for fault in FAULTS if fault != "never"]
    trials = [Trial(group, call, fault) for group in (CALLS, CANCELLED, FENCE, FIRST)
              for call in group for fault in faults]
    if not full and not only:
        trials = [t for t in trials if t.fault == "drop" or rng.random() < SHARE]
    never = CALLS if full else NEVER_BY_DEFAULT
    trials += [Trial(CALLS, call, "never") for call in never]
    return [t for t in trials if not only or only in t.name]


def try_each(results, lanes, trials, folder, engine, witness):
    """Trials that wait for nobody go first in the pool, so that they overlap with all others."""
    free = queue.Queue()
    for lane in lanes:
        free.put(lane)

    def one(numbered):
        index, trial = numbered
        own = trial.group is FIRST or trial.fault == "never"
        lane = free.get()
        used = lane
        began = rig.now()
        try:
            if own:
                if trial.fault == "never":
                    free.put(lane)  # it only waits
                used = Lane(folder, f"o{index}", engine).open(warm=trial.group is not FIRST)
            wrong = trial.run(used, witness)
        except Exception as error:  # pylint: disable=broad-except
            wrong = [f"{type(error).__name__}: {error}"]
        if own:
            used.close()
        if not (own and trial.fault == "never"):
            free.put(lane)
        results.add(trial, wrong, rig.now() - began)

    trials = sorted(trials, key=lambda t: t.fault != "never")
    waiting = sum(t.fault == "never" for t in trials)
    with concurrent.futures.ThreadPoolExecutor(LANES + waiting) as pool:
        list(pool.map(one, enumerate(trials)))


def singly(checks, arguments, folder, engine, witness):
    trials = all_trials(arguments.full, arguments.only, random.Random(arguments.seed))
    lanes = [Lane(folder, f"l{n}", engine).open(warm=True) for n in range(LANES)]
    results = Results()
    began = rig.now()
    try:
        try_each(results, lanes, trials, folder, engine, witness)
    finally:
        for lane in lanes:
            lane.close()
    print(f"calls x faults: {results.done}, wrong: {len(results.wrong)}, "
          f"slowest: {results.slowest[1]} {results.slowest[0]:.1f} s, "
          f"seconds={rig.now() - began:.0f}", flush=True)
    checks.check(f"each of {len(trials)} faults, once: ended as undisturbed, executed once, "
                 "nothing left", not results.wrong, [name for name, _ in results.wrong])


def at_random(checks, arguments, folder, engine, witness):
    rng = random.Random(arguments.seed)
    lane = Lane(folder, "random", engine, ["--max-running", "4"]).open(warm=True)
    client = lane.daemon.client
    began = rig.now()
    lane.proxy.rng.seed(arguments.seed)
    lane.proxy.rate = RANDOM_RATE
    runs = []
    for _ in range(arguments.runs):
        cancels = rng.random() < 0.15
        run_id = client.submit(rig.spec(30 if cancels else rng.choice((0.05, 0.05, 1))))["id"]
        runs.append((run_id, cancels))
        if cancels:
            client.cancel(run_id)
    wrong = []
    for run_id, cancels in runs:
        ending = ("cancelled", "CancelRequested") if cancels else ("succeeded", "Completed")
        run = client.wait(run_id, RUN_DEADLINE_S)
        wrong += [f"{run_id}: {p}" for p in rig.problems_of(client, run, ending)]
    faults = lane.proxy.done()
    lane.proxy.rate = 0
    left = rig.wait_nothing_left(engine, rig.instance_of(lane.daemon), 40)
    print(f"random: runs={len(runs)} calls={len(lane.proxy.log)} faults={len(faults)} "
          f"seconds={rig.now() - began:.0f}", flush=True)
    kinds = {f for _, _, f in faults}
    checks.check("there were faults of most kinds", len(kinds) > len(FAULTS) / 2, kinds)
    checks.equal("under random faults each run ended as undisturbed, executed once", wrong, [])
    checks.equal("and left nothing on the engine", left, ([], []))
    lane.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every call with every fault")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--runs", type=int, default=RANDOM_RUNS, help="of the random part")
    parser.add_argument("--only", help="only faults whose name holds this word")
    arguments = parser.parse_args()
    print(f"seed={arguments.seed}", flush=True)
    checks = Checks()
    engine = EngineApi()
    witness = rig.StartWitness(engine)
    folder = tempfile.mkdtemp(prefix="mayfly-lost-")
    checks.step(singly, checks, arguments, folder, engine, witness)
    if not arguments.only:
        checks.step(at_random, checks, arguments, folder, engine, witness)
    checks.finish(folder)


if __name__ == "__main__":
    main()
