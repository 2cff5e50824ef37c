"""The simulator's part of tests/run.sh.

    python3 tests/sim/suite.py             fresh seeds, rare branches, crash points, planted faults
    python3 tests/sim/suite.py --million   10^6 seeds, and nothing else; about two hours
    python3 tests/sim/suite.py --seeds N [--from S]    N seeds from S on, and nothing else

It needs MAYFLY_BUILD, the folder with mayfly-sim and mayfly-sim-mutants.
"""
import argparse
import os
import re
import subprocess
import sys
import threading
import time

BUILD = os.environ.get("MAYFLY_BUILD", "build/release")
HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = str(os.cpu_count() or 1)
SIM = os.path.join(BUILD, "mayfly-sim")
MUTANTS = os.path.join(BUILD, "mayfly-sim-mutants")

PARTS = [
    ("a minute of seeds that were never played", [SIM, "--for-seconds=60", "--from=0"]),
    ("every named rare branch is hit", [SIM, "--seeds=6000", "--from=1", "--probes"]),
    ("every scenario, crashed at every side effect, and at every two of the smallest",
     [SIM, "--crash-points", "--pairs"]),
]


def once_failed():
    with open(os.path.join(HERE, "once_failed.txt"), encoding="utf-8") as file:
        return [line.split()[0] for line in file if not line.startswith("#")]


def run(name, command):
    print(f"-- {name}", flush=True)
    began = time.monotonic()
    status = subprocess.run(command + [f"--jobs={JOBS}"], check=False).returncode
    good = status == 0
    print(f"{'ok' if good else 'FAILED':<7} {name} ({time.monotonic() - began:.0f} s)", flush=True)
    return good


class Many:
    """Seeds by the chunk, one process a core, until all are played or one is wrong. What stopped
    goes on with --from."""

    CHUNK = 25_000
    TOLD = re.compile(r"(\d+) seeds in .*?: (\d+) runs, (\d+) scripts ran, (\d+) lives, "
                      r"(\d+) side effects\nlost (\d+) ")

    def __init__(self, first, seeds):
        self.first, self.end = first, first + seeds
        self.next = first
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.sums = [0] * 6  # as in TOLD
        self.good = True

    def _take(self):
        with self.lock:
            if not self.good or self.next >= self.end:
                return None
            begin, self.next = self.next, min(self.next + self.CHUNK, self.end)
            return begin, self.next - begin

    def _work(self):
        while chunk := self._take():
            begin, seeds = chunk
            done = subprocess.run([SIM, f"--seeds={seeds}", f"--from={begin}", "--jobs=1"],
                                  check=False, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            with self.lock:
                self._told(begin, seeds, done)

    def _told(self, begin, seeds, done):
        told = self.TOLD.search(done.stdout)
        if done.returncode != 0 or told is None:
            self.good = False
            print(f"from {begin}, {seeds} seeds: exit status {done.returncode}\n{done.stdout}",
                  flush=True)
            return
        self.sums = [sum_ + int(more) for sum_, more in zip(self.sums, told.groups())]
        took = time.monotonic() - self.began
        left = (self.end - self.first - self.sums[0]) * took / self.sums[0]
        print(f"{time.strftime('%H:%M:%S')}  {self.sums[0]} seeds, {self.sums[0] / took:.0f}/s, "
              + (f"0 violations; {left / 60:.0f} min to go" if self.good else "stopping"),
              flush=True)

    def run(self):
        # The revision is what the program says of itself: it may be older than the work tree.
        head = subprocess.run([SIM, "--seeds=1", f"--from={self.first}"], check=False, text=True,
                              stdout=subprocess.PIPE).stdout.split("\n")[0]
        print(f"{head}: {self.end - self.first} seeds, {JOBS} at a time", flush=True)
        workers = [threading.Thread(target=self._work) for _ in range(int(JOBS))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seeds, runs, scripts, lives, effects, lost = self.sums
        print(f"{seeds} seeds in {time.monotonic() - self.began:.0f} s: {runs} runs, {scripts} "
              f"scripts ran, {lives} lives, {effects} side effects, {lost} lost; "
              f"{'0 violations' if self.good else 'VIOLATED, see above'}", flush=True)
        return self.good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--million", action="store_true", help="the same as --seeds 1000000")
    parser.add_argument("--seeds", type=int, default=0, metavar="N")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="S")
    args = parser.parse_args()
    if not os.access(SIM, os.X_OK):
        sys.exit(f"there is no {SIM}: build it first (CONTRIBUTING.md), or say where with "
                 "MAYFLY_BUILD")
    if args.million or args.seeds > 0:
        sys.exit(0 if Many(args.first, args.seeds or 1_000_000).run() else 1)
    results = [run(f"seed {seed}, which once failed", [SIM, "--seeds=1", f"--from={seed}"])
               for seed in once_failed()]
    results += [run(name, command) for name, command in PARTS]
    results.append(run("every planted fault is found",
                       [sys.executable, os.path.join(HERE, "mutants.py"), "--run", MUTANTS]))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
