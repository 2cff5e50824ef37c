"""What the crash tests share: a spec that counts its executions, the shim, and the witnesses.

A run is checked against three witnesses that know nothing of each other: what mayflyd says, what
the script wrote (one line for each execution, in its own volume), and the engine's own events (one
`start` for each container that it started, whatever happened to the volume since).
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import UnixConnection, wait_for  # noqa: E402
from daemon import BUILD  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
SHIM = os.path.join(BUILD, "libmayfly-crash-shim.so")
# A second execution of an attempt would show as a second line.
ONCE = 'echo "$MAYFLY_RUN_ID $MAYFLY_ATTEMPT" >> output/ran; '
ARTIFACT_BYTES = 200_000
GIVEN = "given\n"


def spec(seconds, labels=None, **more):
    """A script that takes `seconds`, and leaves a trace and two artifacts."""
    script = (f"{ONCE}sleep {seconds}; cat in.txt > output/out.txt; echo said; "
              f'yes "$MAYFLY_RUN_ID" | head -c {ARTIFACT_BYTES} > output/big')
    return {"image": IMAGE, "command": ["sh", "-c", script], "labels": labels or {},
            "files": [{"path": "in.txt", "content": GIVEN}], **more}


def expected_files(run_id, attempt=1):
    line = f"{run_id}\n".encode()
    big = (line * (ARTIFACT_BYTES // len(line) + 1))[:ARTIFACT_BYTES]
    return {"ran": f"{run_id} {attempt}\n".encode(), "out.txt": GIVEN.encode(), "big": big}


def problems_of(client, run, ending=("succeeded", "Completed"), engine_died=False):
    """[] or what is wrong with a run of spec() that has ended. What a script prints while dockerd
    is dead is lost with it: then the run must say so."""
    wrong = []
    status = run["status"]
    if (status["phase"], status["reason"]) != ending:
        wrong.append(f"ended {status['phase']} {status['reason']}: {status['message']}")
    kept = {a["path"]: a for a in client.artifacts(run["id"])}
    if "ran" in kept:
        lines = client.artifact(run["id"], "ran").splitlines()
        if len(lines) != 1:
            wrong.append(f"executed {len(lines)} times: {lines}")
    if ending[0] != "succeeded":
        return wrong
    said, facts = client.logs(run["id"]), status["stdout"]
    told = engine_died and facts["truncated"] and facts["bytes_total"] == len(b"said\n")
    if said != b"said\n" and not (told and b"said\n".startswith(said)):
        wrong.append(f"stdout differs: {said}, {facts}")
    for path, content in expected_files(run["id"], status["attempt"]).items():
        got = client.artifact(run["id"], path) if path in kept else b""
        if got != content or kept[path]["sha256"] != hashlib.sha256(content).hexdigest():
            wrong.append(f"artifact {path} differs: {len(got)} bytes, wanted {len(content)}")
    return wrong


# ---- the engine

class StartWitness:
    """Counts the engine's `start` events by run. For an engine that is not killed meanwhile."""

    def __init__(self, engine):
        self.starts = {}
        self.broken = None
        self.connection = UnixConnection(engine.path)
        filters = urllib.parse.quote(json.dumps({"type": ["container"], "event": ["start"]}))
        self.connection.request("GET", f"/events?filters={filters}")
        self.connection.sock.settimeout(None)
        self.sock = self.connection.sock
        self.answer = self.connection.getresponse()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            while True:
                line = self.answer.readline()
                if not line:
                    break
                labels = json.loads(line)["Actor"]["Attributes"]
                run_id = labels.get("io.mayfly.run")
                if run_id:
                    self.starts[run_id] = self.starts.get(run_id, 0) + 1
        except (OSError, ValueError) as error:
            self.broken = error

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def owned_by(engine, instance):
    """Names of the containers and volumes that carry this instance's label."""
    wanted = urllib.parse.quote(json.dumps({"label": [f"io.mayfly.instance={instance}"]}))
    containers = engine.json("GET", f"/containers/json?all=1&filters={wanted}")
    volumes = engine.json("GET", f"/volumes?filters={wanted}")["Volumes"] or []
    return [c["Names"][0] for c in containers], [v["Name"] for v in volumes]


def wait_nothing_left(engine, instance, deadline_s=60):
    """([], []), or what is still there at the deadline."""
    wait_for(lambda: owned_by(engine, instance) == ([], []), deadline_s, 0.05)
    return owned_by(engine, instance)


def instance_of(daemon):
    """The id of the instance that it last said it is; it carries all that it makes."""
    with open(daemon.log_path, encoding="utf-8", errors="replace") as file:
        found = re.findall(r" instance=([0-9a-f]+) ", file.read())
    return found[-1] if found else None


def remove_prepared_images(engine, instance):
    """What an instance would have used again; the instances of these tests do not come back."""
    wanted = urllib.parse.quote(json.dumps({"label": [f"io.mayfly.image.instance={instance}"]}))
    for image in engine.json("GET", f"/images/json?filters={wanted}"):
        engine.request("DELETE", f"/images/{image['Id']}?force=1&noprune=1")


# ---- the data directory

def database_problem(data_dir):
    """None, or what is wrong with the database of a daemon that is not running. Looks at a copy:
    to open it is to recover it, which is the daemon's to do."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("mayfly.db", "mayfly.db-wal", "mayfly.db-journal"):
            if os.path.exists(os.path.join(data_dir, name)):
                shutil.copy(os.path.join(data_dir, name), folder)
        return _problem_of_copy(os.path.join(folder, "mayfly.db"))


def _problem_of_copy(path):
    connection = sqlite3.connect(path)
    try:
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()
    if verdict != "ok":
        return verdict
    return f"foreign keys: {orphan}" if orphan else None


# ---- a client

def post(daemon, key, wanted):
    """(status, body) of one submission, or None when nobody answered. A client repeats it with the
    same key until it is answered: that is its part of the contract."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    try:
        status, _, answer = daemon.new_client().request("POST", "/v1/runs", json.dumps(wanted),
                                                        headers)
        return status, answer
    except (OSError, http.client.HTTPException):
        time.sleep(0.01)
        return None


# ---- the shim

class Effects:
    """The log that the shim writes: what a daemon did to its disk and to the engine."""

    def __init__(self, path):
        self.path = path

    def clear(self):
        if os.path.exists(self.path):
            os.unlink(self.path)

    def lines(self):
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return [line.rstrip("\n").split(" ", 3) for line in file if line.strip()]
        except FileNotFoundError:
            return []

    def numbered(self):
        """[(n, kind, call, path)] of the effects themselves."""
        return [(int(n), kind, call, rest[0] if rest else "")
                for n, kind, call, *rest in self.lines() if kind in ("db", "spool", "engine")]

    def crashed_at(self):
        for n, kind, *_ in self.lines():
            if kind == "CRASH":
                return int(n)
        return None

    def faults(self):
        return [line for line in self.lines() if line[1] == "FAULT"]


def shim_environment(daemon, log_path, **more):
    """For Mayflyd.environment. `more` in lower case: crash_at=3, disk_fault="eio"."""
    if not os.path.exists(SHIM):
        raise FileNotFoundError(f"{SHIM} is not built; build the target mayfly-crash-shim")
    return {"LD_PRELOAD": SHIM, "SHIM_DATA": os.path.realpath(daemon.data_dir),
            "SHIM_ENGINE": daemon.docker_host[len("unix://"):], "SHIM_LOG": log_path,
            **{name.upper(): str(value) for name, value in more.items()}}


def wait_dead(daemon, deadline_s):
    """Whether its process ends by itself in time."""
    return wait_for(lambda: daemon.process.poll() is not None, deadline_s, 0.01)


def now():
    return time.monotonic()
