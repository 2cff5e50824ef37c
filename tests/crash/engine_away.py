#!/usr/bin/env python3
"""The engine is down when mayflyd starts, goes away while runs are under way, and comes back."""

import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
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


class Follower(threading.Thread):
    """Reads a run's log as it comes, to where it ends."""

    def __init__(self, daemon, run_id, query=""):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=180)
        self.connection.request("GET", f"/v1/runs/{run_id}/logs?follow=1{query}")
        self.answer = self.connection.getresponse()
        self.text = ""
        self.whole = False
        self.start()

    def run(self):
        try:
            while piece := self.answer.read1(65536):
                self.text += piece.decode()
            self.whole = True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            self.connection.close()


def followers_of(checks, daemon, run_id):
    both, raw = Follower(daemon, run_id, "&stream=both"), Follower(daemon, run_id)
    checks.check("its log is followed, by two",
                 wait_for(lambda: "attempt 1" in both.text and "attempt 1" in raw.text, 30),
                 (both.text, raw.text))
    return both, raw


def check_followers(checks, daemon, run_id, both, raw):
    both.join(60)
    raw.join(60)
    events = re.findall(r"^event: (log|restart|end)$", both.text, flags=re.M)
    checks.equal("who follows both streams hears that it begins anew, and its end", events,
                 ["log", "restart", "log", "end"])
    checks.check("with the output of each attempt", both.whole and re.search(
        r"attempt 1.*event: restart\s+data: {\"attempt\":2}.*attempt 2", both.text, flags=re.S),
                 both.text)
    checks.equal("a plain log breaks off there: what follows is another attempt's",
                 (raw.text, raw.whole), ("attempt 1\n", False))
    status, _, body = daemon.client.request(
        "GET", f"/v1/runs/{run_id}/logs?follow=1&attempt=1&offset=10")
    checks.check("going on in the old one is refused, by its name",
                 status == 409 and b"attempt-replaced" in body, (status, body))
    checks.equal("the new one is what is kept", daemon.client.logs(run_id), b"attempt 2\n")


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
    retried = daemon.client.submit(shell("echo attempt $MAYFLY_ATTEMPT; "
                                         "[ $MAYFLY_ATTEMPT = 2 ] || sleep 300",
                                         retry={"max_attempts": 2, "on": ["lost"]}))
    waiting = [daemon.client.submit(shell(f"echo {n}")) for n in range(6)]
    checks.check("two runs are under way",
                 wait_phase(daemon, running["id"], "running") and
                 wait_phase(daemon, retried["id"], "running"))
    followers = followers_of(checks, daemon, retried["id"])
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
    check_followers(checks, daemon, retried["id"], *followers)
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
