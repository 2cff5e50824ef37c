"""Checks with sentences for names, and the closing line that tests/run.sh counts."""

import json
import http.client
import os
import shutil
import socket
import sys
import time
import traceback
import urllib.parse


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, sentence, holds, detail=""):
        """Counts one sentence; prints it when it does not hold."""
        if holds:
            self.passed += 1
            print(f"ok      {sentence}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {sentence}: {detail}", flush=True)
        return holds

    def equal(self, sentence, got, wanted):
        return self.check(sentence, got == wanted, f"got {got!r}, wanted {wanted!r}")

    def step(self, function, *arguments):
        """Runs a test function; an exception in it is one failure."""
        try:
            function(*arguments)
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc()
            self.failed += 1
            print(f"FAILED  {function.__name__}: ended by an exception", flush=True)

    def finish(self, folder=None):
        """Ends the program. Its `folder` is removed, or kept for a look when something failed."""
        if folder and self.failed:
            print(f"kept: {folder}", flush=True)
        elif folder:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class EngineApi:
    """The engine, asked directly: what is there, whatever mayflyd says."""

    def __init__(self, docker_host=None):
        host = docker_host or os.environ["DOCKER_HOST"]
        if not host.startswith("unix://"):
            sys.exit("checks: DOCKER_HOST must be a unix socket of a private engine")
        self.path = host[len("unix://"):]
        self.before = ((), ())
        try:
            self.before = self.owned()
        except OSError:
            pass  # an engine that is not there yet has nothing

    def request(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.path)
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def json(self, method, path, body=None):
        status, content = self.request(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
        return json.loads(content) if content else None

    def owned(self):
        """(containers, volumes) that carry any instance's label, but for those of images, and for
        what was there when this was made: other tests leave what daemons leave that are killed and
        never started again."""
        wanted = urllib.parse.quote(json.dumps({"label": ["io.mayfly.instance"]}))
        containers = self.json("GET", f"/containers/json?all=1&filters={wanted}")
        volumes = self.json("GET", f"/volumes?filters={wanted}")["Volumes"] or []
        names = [c["Names"][0] for c in containers if c["Labels"].get("io.mayfly.instance")]
        return ([name for name in names if name not in self.before[0]],
                [v["Name"] for v in volumes if v["Name"] not in self.before[1]])

    def container_of(self, run_id):
        wanted = urllib.parse.quote(json.dumps({"label": [f"io.mayfly.run={run_id}"]}))
        found = self.json("GET", f"/containers/json?all=1&filters={wanted}")
        return found[0]["Id"] if found else None

    def inspect(self, container_id):
        return self.json("GET", f"/containers/{container_id}/json")


def wait_for(condition, deadline_s=60, every_s=0.05):
    """Whether `condition` came true before the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        if condition():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
