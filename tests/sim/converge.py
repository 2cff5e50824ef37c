#!/usr/bin/env python3
"""How long a new mayflyd needs until it has taken up what the killed one left.

    converge.py [--runs N,N,...] [--rounds R] [--latency-ms MS] [--start-ms MS]

N scripts run on the simulated engine, mayflyd is killed with kill -9 and started again. From the
start of the new process:

    ready_s      /readyz says 200
    converged_s  the engine is up and was listed, all N hold their run slots, no key waits for a
                 step and none is in one: every run has been seen, and nothing is left to do
    finished_s   (running) from the end of the last script until all N are terminal
                 (ended)   the scripts ended while nobody was there; until all N are terminal

Afterwards none is lost, none ran twice, and nothing is left on the engine. The times are medians
of the rounds.
"""

import argparse
import concurrent.futures
import os
import shutil
import statistics
import sys
import tempfile
import time

from rig import IMAGE, INPUT, SimEngine  # puts support in the path
from checks import Checks, wait_for
from daemon import Mayflyd

SUBMITTERS = 8
SUBMIT_S_PER_RUN = 0.02  # generous: what the ramp up to N takes before the scripts may end
SETTLED_SCRAPES = 3
DEADLINE_S = 180
CALLS = ("GET /containers/json", "GET /containers/{id}/json")


class Round:
    """One engine, one data directory, N runs, one kill."""

    def __init__(self, checks, count, arguments):
        self.checks, self.count = checks, count
        self.folder = tempfile.mkdtemp(prefix="mayfly-converge-")
        self.engine = SimEngine(self.folder, ["--latency-ms", str(arguments.latency_ms),
                                              "--start-ms", str(arguments.start_ms)])
        self.daemon = Mayflyd(os.path.join(self.folder, "data"), self.engine.host,
                              ["--max-running", str(count), "--prepare-ahead", "64",
                               "--engine-work-slots", "64", "--log-level", "warn",
                               "--max-timeout-s", "600"])
        self.calls = {}

    def close(self):
        self.daemon.stop()
        self.engine.stop()
        shutil.rmtree(self.folder)

    def launch(self):
        """Submits so that all scripts end at one time, and returns that when all of them run."""
        self.daemon.start()
        end = time.monotonic() + 5 + self.count * SUBMIT_S_PER_RUN
        with concurrent.futures.ThreadPoolExecutor(SUBMITTERS) as pool:
            clients = [self.daemon.new_client() for _ in range(SUBMITTERS)]
            for lane in pool.map(lambda i: self._submit_lane(clients[i], i, end),
                                 range(SUBMITTERS)):
                assert lane is None
        if not wait_for(lambda: self.engine.status()["running"] == self.count and self._settled(),
                        end - time.monotonic(), 0.02):
            raise TimeoutError(f"not all run in time: {self.engine.status()}")
        return end

    def _submit_lane(self, client, lane, end):
        for index in range(lane, self.count, SUBMITTERS):
            left_ms = int((end - time.monotonic()) * 1000)
            client.submit({"image": IMAGE, "files": INPUT, "limits": {"timeout_s": 600},
                           "command": ["sim", f"duration_ms={left_ms}", "files=1",
                                       f"seed={index}"]}, key=f"converge-{index}")

    def _stored(self):
        """{phase: runs} of the phases that have any; brought up to date every few seconds."""
        found = self.daemon.client.metrics()
        prefix = 'mayfly_runs{phase="'
        return {name[len(prefix):-2]: int(value) for name, value in found.items()
                if name.startswith(prefix) and value}

    def _finished(self):
        """Runs that this process has finished."""
        return sum(value for name, value in self.daemon.client.metrics().items()
                   if name.startswith("mayfly_runs_finished_total"))

    def restart(self):
        """(start, ready_s)."""
        begin = time.monotonic()
        self.daemon.start(wait_ready=False)
        client = self.daemon.new_client()
        while True:
            try:
                if client.request("GET", "/readyz")[0] == 200:
                    return begin, time.monotonic() - begin
            except OSError:
                pass
            if time.monotonic() > begin + DEADLINE_S:
                raise TimeoutError(self.daemon.log_tail())
            time.sleep(0.001)

    def _settled(self):
        now = self.daemon.client.metrics()
        looked = now["mayfly_resyncs_total"] - now["mayfly_resync_errors_total"] >= 1
        up = any(value == 1 for name, value in now.items()
                 if name.startswith("mayfly_engine_up"))
        self.calls = {call: sum(int(v) for name, v in now.items() if v and
                                name.startswith("mayfly_engine_calls_total") and
                                f'"{call}"' in name) for call in CALLS}
        return (looked and up and now["mayfly_workqueue_depth"] == 0 and
                now["mayfly_workqueue_longest_running_seconds"] == 0 and
                now['mayfly_slots_used{kind="engine_work"}'] == 0 and
                now['mayfly_slots_used{kind="run"}'] == self.count)

    def converge(self, begin):
        """converged_s: when the first of several scrapes in a row found it settled."""
        since, seen = None, 0
        while seen < SETTLED_SCRAPES:
            if time.monotonic() > begin + DEADLINE_S:
                raise TimeoutError("it does not settle")
            if self._settled():
                since, seen = since or time.monotonic(), seen + 1
            else:
                since, seen = None, 0
            time.sleep(0.001)
        return since - begin

    def await_last_end(self, end):
        """When the last script ended, or a moment later: they began after they were submitted."""
        time.sleep(max(end - time.monotonic(), 0))
        ended = wait_for(lambda: self.engine.status()["running"] == 0, DEADLINE_S, 0.005)
        self.checks.check(f"{self.count} scripts end", ended, self.engine.status())
        return time.monotonic()

    def finish(self, since):
        """Seconds after `since` until all are terminal."""
        if not wait_for(lambda: self._finished() == self.count, DEADLINE_S, 0.005):
            self.checks.check(f"{self.count} runs end", False, self._stored())
        return time.monotonic() - since

    def check(self, what):
        wait_for(lambda: self._stored() == {"succeeded": self.count}, 15)
        self.checks.equal(f"{self.count} {what}: every run has succeeded", self._stored(),
                          {"succeeded": self.count})
        gone = wait_for(lambda: self.engine.status()["containers"] +
                        self.engine.status()["volumes"] == 0)
        status = self.engine.status()
        self.checks.check(f"{self.count} {what}: nothing is left on the engine", gone, status)
        self.checks.equal(f"{self.count} {what}: every script ran, and none twice",
                          (status["executed"], status["executions"], status["doubled"]),
                          (self.count, self.count, []))


def while_running(checks, count, arguments):
    """The scripts run on while mayflyd comes back."""
    it = Round(checks, count, arguments)
    try:
        end = it.launch()
        it.daemon.kill()
        begin, ready_s = it.restart()
        converged_s = it.converge(begin)
        in_time = time.monotonic() < end
        checks.check(f"{count} running: it converged while all of them ran", in_time)
        calls = it.calls
        finished_s = it.finish(it.await_last_end(end))
        it.check("running")
    finally:
        it.close()
    return ready_s, converged_s, finished_s, calls


def while_ended(checks, count, arguments):
    """The scripts end before mayflyd comes back."""
    it = Round(checks, count, arguments)
    try:
        end = it.launch()
        it.daemon.kill()
        it.await_last_end(end)
        begin, ready_s = it.restart()
        finished_s = it.finish(begin)
        it.check("ended")
    finally:
        it.close()
    return ready_s, finished_s


def measure(checks, count, arguments):
    running = [while_running(checks, count, arguments) for _ in range(arguments.rounds)]
    ended = [while_ended(checks, count, arguments) for _ in range(arguments.rounds)]
    ready_s, converged_s, finished_s = (statistics.median(r[i] for r in running)
                                        for i in range(3))
    calls = " ".join(f"{call}={n}" for call, n in running[-1][3].items())
    return [f"{count:5d}  running  {ready_s:7.3f}  {converged_s:11.3f}  {finished_s:10.3f}"
            f"  {calls}",
            f"{count:5d}  ended    {statistics.median(r[0] for r in ended):7.3f}  {'-':>11}"
            f"  {statistics.median(r[1] for r in ended):10.3f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="10,100")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--latency-ms", type=int, default=5)
    parser.add_argument("--start-ms", type=int, default=150)
    arguments = parser.parse_args()
    checks = Checks()
    table = ["    N  scripts  ready_s  converged_s  finished_s"]
    for count in (int(word) for word in arguments.runs.split(",")):
        checks.step(lambda n=count: table.extend(measure(checks, n, arguments)))
    print("\n".join(table), flush=True)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
