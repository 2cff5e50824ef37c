"""mayflyd as a child process, and a small client of its API, for tests and benches in Python.

    with Mayflyd(data_dir, docker_host=os.environ["DOCKER_HOST"]) as daemon:
        run = daemon.client.submit({"image": "mayfly-test/busybox:1", "command": ["true"]})
        run = daemon.client.wait(run["id"])

Nothing but the standard library. Everything waits with a deadline and says what it waited for.
With MAYFLY_RECORD=FILE in the environment the client appends what it asked and what it heard to
that file, for tests/contract: a line of JSON for each request.
"""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MAYFLY_BUILD", os.path.join(ROOT, "build/release"))
TERMINAL = ("succeeded", "failed", "timed_out", "cancelled", "lost")
READY_DEADLINE_S = 30
STOP_DEADLINE_S = 30
HTTP_DEADLINE_S = 90
REUSE_S = 2  # a connection that was idle for longer may have been closed by the other side


class ApiError(Exception):
    """An answer that is not the one expected. `problem` is the parsed body, if it was JSON."""

    def __init__(self, method, path, status, body):
        super().__init__(f"{method} {path}: {status}: {body[:500].decode(errors='replace')}")
        self.status = status
        try:
            self.problem = json.loads(body)
        except ValueError:
            self.problem = None


def record(method, path, headers, body, answer, content):
    file_path = os.environ.get("MAYFLY_RECORD")
    if not file_path or not (body is None or isinstance(body, (str, bytes))):
        return
    body = body.encode() if isinstance(body, str) else body or b""
    entry = {"test": os.path.basename(sys.argv[0]), "method": method, "target": path,
             "headers": list((headers or {}).items()), "body": base64.b64encode(body).decode(),
             "status": answer.status, "answer_headers": answer.headers.items(),
             "answer_body": base64.b64encode(content).decode()}
    with open(file_path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


class Client:
    """One kept-alive connection to mayflyd. Not for several threads."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.connection = None
        self.used = 0.0  # when the connection was last used, monotonic

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes). Opens a new connection when the old one was closed."""
        if time.monotonic() - self.used > REUSE_S:
            self.close()
        for fresh in (False, True):
            if self.connection is None or fresh:
                self.close()
                self.connection = http.client.HTTPConnection(self.host, self.port,
                                                             timeout=HTTP_DEADLINE_S)
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                content = answer.read()
                self.used = time.monotonic()
                record(method, path, headers, body, answer, content)
                return answer.status, answer.headers, content
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A POST may have been heard; only what can be repeated is.
                self.close()
                if fresh or method == "POST":
                    raise
            except (OSError, http.client.HTTPException):
                self.close()  # in the middle of something: good for nothing any more
                raise
        raise AssertionError("not reached")

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def expect(self, wanted, method, path, body=None, headers=None):
        status, _, content = self.request(method, path, body, headers)
        if status not in wanted:
            raise ApiError(method, path, status, content)
        return content

    def submit(self, spec, key=None):
        """The run as accepted."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return json.loads(self.expect((200, 201), "POST", "/v1/runs", json.dumps(spec), headers))

    def get(self, run_id, wait=None):
        query = f"?wait={wait}" if wait else ""
        return json.loads(self.expect((200,), "GET", f"/v1/runs/{run_id}{query}"))

    def wait(self, run_id, deadline_s=120):
        """The run when it is terminal."""
        end = time.monotonic() + deadline_s
        while True:
            run = self.get(run_id, wait="20s")
            if run["status"]["phase"] in TERMINAL:
                return run
            if time.monotonic() > end:
                raise TimeoutError(f"run {run_id} is {run['status']['phase']} "
                                   f"after {deadline_s} s: {run['status']}")

    def cancel(self, run_id):
        return json.loads(self.expect((200, 202), "POST", f"/v1/runs/{run_id}/cancel"))

    def logs(self, run_id, stream="stdout"):
        return self.expect((200,), "GET", f"/v1/runs/{run_id}/logs?stream={stream}")

    def artifacts(self, run_id):
        """[{path, size, sha256, mode}]"""
        return json.loads(self.expect((200,), "GET", f"/v1/runs/{run_id}/artifacts"))["artifacts"]

    def artifact(self, run_id, path):
        return self.expect((200,), "GET",
                           f"/v1/runs/{run_id}/artifacts/{urllib.parse.quote(path)}")

    def metrics(self):
        """{"name{labels}": value}"""
        out = {}
        for line in self.expect((200,), "GET", "/metrics").decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out


def insist(action, deadline_s=120):
    """Repeats an idempotent call that a kill may cut, or a restart may refuse."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return action()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mayflyd:
    """One mayflyd on a data directory. start() again after kill() is a restart of the same one."""

    def __init__(self, data_dir, docker_host, flags=(), program=None):
        self.data_dir, self.docker_host, self.flags = data_dir, docker_host, list(flags)
        self.environment = {}  # laid over this process's own at each start
        self.program = program or os.path.join(BUILD, "mayflyd")
        self.log_path = data_dir.rstrip("/") + ".log"
        self.port = free_port()
        self.client = Client("127.0.0.1", self.port)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def new_client(self):
        return Client("127.0.0.1", self.port)

    def start(self, wait_ready=True):
        os.makedirs(self.data_dir, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--data-dir", self.data_dir, "--listen", f"127.0.0.1:{self.port}",
                 "--docker-host", self.docker_host, *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment})
        if wait_ready:
            self.wait_ready()

    def wait_ready(self, deadline_s=READY_DEADLINE_S):
        end = time.monotonic() + deadline_s
        said = "nothing"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"mayflyd ended with {self.process.returncode}: "
                                   f"{self.log_tail()}")
            try:
                status, _, body = self.new_client().request("GET", "/readyz")
                if status == 200:
                    return
                said = body.decode(errors="replace")
            except OSError as error:
                said = str(error)
            time.sleep(0.02)
        raise TimeoutError(f"mayflyd is not ready after {deadline_s} s: {said}\n{self.log_tail()}")

    def kill(self):
        """kill -9."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.client.close()

    def stop(self):
        """SIGTERM, and its exit status. Killed if it does not end in time."""
        self.client.close()
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"mayflyd did not stop in {STOP_DEADLINE_S} s: {self.log_tail()}")

    def log_tail(self, lines=20):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""

    def cpu_seconds(self):
        """User and system CPU time that it has spent."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
