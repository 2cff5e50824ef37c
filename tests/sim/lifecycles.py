#!/usr/bin/env python3
"""Whole runs a second through mayflyd, on an engine that costs nothing.

    lifecycles.py [--runs N] [--slots N] [--latency-ms MS] [--pause]

N runs of 1 ms are submitted while there is no engine; then mayfly-sim-engine starts, and the clock
runs from the first script's start until all N are terminal and nothing is left. So it measures the
controller alone: bind, create, verify, put, start, exit, harvest, remove. `per_cpu_s` divides by
the CPU time of mayflyd, all its threads: what one core could do if it had nothing else to do.

--pause waits before the engine starts, and prints mayflyd's pid: for perf.
"""

import argparse
import concurrent.futures
import os
import shutil
import sys
import tempfile
import time

from rig import IMAGE, INPUT, SimEngine  # puts support in the path
from checks import Checks, wait_for
from daemon import Mayflyd

SUBMITTERS = 8
DEADLINE_S = 300
PAUSE_S = 3


def submit_all(daemon, count):
    def lane(number):
        client = daemon.new_client()
        for index in range(number, count, SUBMITTERS):
            client.submit({"image": IMAGE, "files": INPUT,
                           "command": ["sim", "duration_ms=1", "files=1", f"seed={index}"]},
                          key=f"lifecycle-{index}")
    with concurrent.futures.ThreadPoolExecutor(SUBMITTERS) as pool:
        for done in [pool.submit(lane, number) for number in range(SUBMITTERS)]:
            done.result()


def succeeded(daemon):
    name = 'mayfly_runs_finished_total{phase="succeeded",reason="Completed"}'
    return int(daemon.client.metrics()[name])


def threads_cpu_s(pid):
    """{thread's name: CPU seconds}"""
    out = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        name = "loop" if int(task) == pid else "others"
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        out[name] = out.get(name, 0) + used
    return out


def measure(checks, folder, arguments):
    daemon = Mayflyd(os.path.join(folder, "data"), f"unix://{folder}/engine.sock",
                     ["--max-running", str(arguments.slots), "--log-level", "warn",
                      "--prepare-ahead", str(arguments.slots),
                      "--engine-work-slots", str(min(arguments.slots, 256))])
    engine = None
    try:
        daemon.start()
        began = time.monotonic()
        submit_all(daemon, arguments.runs)
        print(f"submitted {arguments.runs / (time.monotonic() - began):.0f} a second", flush=True)
        if arguments.pause:
            print(f"mayflyd's pid is {daemon.process.pid}", flush=True)
            time.sleep(PAUSE_S)
        engine = SimEngine(folder, ["--latency-ms", str(arguments.latency_ms)])
        wait_for(lambda: engine.status()["executions"] > 0, DEADLINE_S, 0.002)
        begin = time.monotonic()
        before = threads_cpu_s(daemon.process.pid)
        ended = wait_for(lambda: succeeded(daemon) == arguments.runs, DEADLINE_S, 0.05)
        ended = ended and wait_for(lambda: engine.status()["volumes"] == 0, DEADLINE_S, 0.01)
        took_s = time.monotonic() - begin
        after = threads_cpu_s(daemon.process.pid)
        cpu = {name: after[name] - before.get(name, 0) for name in after}
        status = engine.status()
        checks.check(f"all {arguments.runs} succeeded, and nothing is left", ended, status)
        checks.equal("every script ran, and none twice",
                     (status["executed"], status["executions"]), (arguments.runs,) * 2)
        all_s = max(sum(cpu.values()), 0.01)
        print(f"lifecycles_per_s={arguments.runs / took_s:.0f} "
              f"per_cpu_s={arguments.runs / all_s:.0f} seconds={took_s:.2f} "
              f"calls_per_run={status['requests'] / arguments.runs:.1f} cpu_s="
              + " ".join(f"{name}:{used:.2f}" for name, used in sorted(cpu.items())), flush=True)
    finally:
        daemon.stop()
        if engine is not None:
            engine.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--latency-ms", type=int, default=0)
    parser.add_argument("--pause", action="store_true")
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-lifecycles-")
    checks.step(measure, checks, folder, parser.parse_args())
    shutil.rmtree(folder)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
