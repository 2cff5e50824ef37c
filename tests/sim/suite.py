"""The simulator's part of tests/run.sh.

    python3 tests/sim/suite.py             fresh seeds, rare branches, crash points, planted faults
    python3 tests/sim/suite.py --million   10^6 seeds, and nothing else; takes hours

It needs MAYFLY_BUILD, the folder with mayfly-sim and mayfly-sim-mutants.
"""
import argparse
import os
import subprocess
import sys
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--million", action="store_true")
    if parser.parse_args().million:
        sys.exit(0 if run("10^6 seeds", [SIM, "--seeds=1000000", "--from=1"]) else 1)
    results = [run(f"seed {seed}, which once failed", [SIM, "--seeds=1", f"--from={seed}"])
               for seed in once_failed()]
    results += [run(name, command) for name, command in PARTS]
    results.append(run("every planted fault is found",
                       [sys.executable, os.path.join(HERE, "mutants.py"), "--run", MUTANTS]))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
