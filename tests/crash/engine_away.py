#!/usr/bin/env python3
"""The engine is down when mayflyd starts, goes away while runs are under way, and comes back."""

import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi  # noqa: E402
from daemon import ROOT, Mayflyd  # noqa: E402

ENGINE = os.path.join(ROOT, "tests/support/engine.sh")
IMAGES = os.path.join(ROOT, "tests/support/images.sh")
IMAGE = "mayfly-test/busybox:1"


class OwnEngine:
    """An engine of this test alone: it is killed here."""

    def __init__(self, folder):
        self.folder = folder
        self.host = None

    def start(self):
        self.host = subprocess.run([ENGINE, "start", self.folder], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.strip()
        return self.host

    def kill(self):
        subprocess.run([ENGINE, "kill", self.folder], check=True)

    def stop(self):
        subprocess.run([ENGINE, "stop", self.folder, "--purge"], check=True)


def shell(script, **more):
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def pending_of(daemon, run_id, wanted, deadline_s=30):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        status = daemon.client.get(run_id)["status"]
        if status["pending_reason"] == wanted:
            return status
        time.sleep(0.1)
    return daemon.client.get(run_id)["status"]


def wait_phase(daemon, run_id, wanted, deadline_s=60):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if daemon.client.get(run_id)["status"]["phase"] == wanted:
            return True
        time.sleep(0.05)
    return False


def down_at_start(checks, daemon, engine):
    daemon.start()
    run = daemon.client.submit(shell("echo late"))
    status = pending_of(daemon, run["id"], "EngineDown")
    checks.equal("a run submitted while the engine is down is queued and says why",
                 (status["phase"], status["pending_reason"]), ("queued", "EngineDown"))
    engine.start()
    ended = daemon.client.wait(run["id"])
    checks.equal("it runs when the engine comes", ended["status"]["phase"], "succeeded")


def away_and_back(checks, daemon, engine):
    running = daemon.client.submit(shell("echo began; sleep 300; echo never"))
    retried = daemon.client.submit(shell("echo once; [ $MAYFLY_ATTEMPT = 2 ] || sleep 300",
                                         retry={"max_attempts": 2, "on": ["lost"]}))
    waiting = [daemon.client.submit(shell(f"echo {n}")) for n in range(6)]
    checks.check("two runs are under way",
                 wait_phase(daemon, running["id"], "running") and
                 wait_phase(daemon, retried["id"], "running"))
    engine.kill()
    queued = daemon.client.submit(shell("echo during"))
    status = pending_of(daemon, queued["id"], "EngineDown")
    checks.equal("a run submitted while the engine is away says why it waits",
                 status["pending_reason"], "EngineDown")
    engines = daemon.client.expect((200,), "GET", "/v1/engines")
    checks.check("/v1/engines says that it does not answer", b'"up":false' in engines, engines)
    engine.start()
    ended = daemon.client.wait(running["id"])["status"]
    checks.equal("a run whose engine died under it is lost, and says so",
                 (ended["phase"], ended["reason"]), ("lost", "EngineInterrupted"))
    ended = daemon.client.wait(retried["id"])["status"]
    checks.equal("one that asked for a retry has run again", (ended["phase"], ended["attempt"]),
                 ("succeeded", 2))
    phases = {daemon.client.wait(r["id"])["status"]["phase"] for r in [*waiting, queued]}
    checks.check("the others end well, or are lost if they were running",
                 phases <= {"succeeded", "lost"}, phases)
    checks.equal("what waited for the engine has run",
                 daemon.client.get(queued["id"])["status"]["phase"], "succeeded")


def nothing_left(checks, engine):
    api = EngineApi(engine.host)
    end = time.monotonic() + 60
    while api.owned() != ([], []) and time.monotonic() < end:
        time.sleep(0.2)
    checks.equal("nothing is left on the engine", api.owned(), ([], []))


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-engine-away-")
    engine = OwnEngine(os.path.join(folder, "engine"))
    host = engine.start()
    subprocess.run([IMAGES, "busybox"], check=True, env={**os.environ, "DOCKER_HOST": host})
    subprocess.run([ENGINE, "stop", engine.folder], check=True)
    daemon = Mayflyd(os.path.join(folder, "data"), host, ["--max-running", "4"])
    try:
        checks.step(down_at_start, checks, daemon, engine)
        checks.step(away_and_back, checks, daemon, engine)
        checks.step(nothing_left, checks, engine)
    finally:
        daemon.stop()
        engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
