"""What soak.py and converge.py share: the simulated engine as a child process, and runs of which
it is known how they must end and what they must leave.

MAYFLY_BUILD is the folder with mayflyd and mayfly-sim-engine.
"""

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import EngineApi, wait_for  # noqa: E402
from daemon import BUILD  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
INPUT = [{"path": "in.txt", "content": "given\n"}]
MASK = (1 << 64) - 1


class SimEngine:
    """mayfly-sim-engine on a socket in `folder`."""

    def __init__(self, folder, flags=()):
        self.path = os.path.join(folder, "engine.sock")
        self.host = f"unix://{self.path}"
        self.api = EngineApi(self.host)
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "mayfly-sim-engine"), "--socket", self.path,
             "--image", IMAGE, *flags], stdin=subprocess.DEVNULL)
        if not wait_for(self._answers, 10, 0.01):
            raise TimeoutError("mayfly-sim-engine does not answer")

    def _answers(self):
        try:
            return self.api.request("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def status(self):
        """What is there, and what ran: counts of mayfly-sim-engine's GET /sim/status."""
        return self.api.json("GET", "/sim/status")

    def executions(self, run_id, attempt=1):
        path = f"/sim/executions?run={run_id}&attempt={attempt}"
        return self.api.json("GET", path)["executions"]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)


# ---- what a simulated script writes: tests/sim/script.cc, in Python

@functools.lru_cache(maxsize=256)
def filler(seed, size):
    state, out = seed & MASK, bytearray()
    for _ in range(size):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(97 + (z ^ (z >> 31)) % 26)
    return bytes(out)


def files_of(script):
    names = [f"file-{i}" if i % 2 == 0 else f"sub/file-{i}" for i in range(script.get("files", 0))]
    return {name: filler(script.get("seed", 0) * 1000 + i, script.get("file_bytes", 200) + i)
            for i, name in enumerate(names)}


class Kind:
    """A spec, how it must end, and what must be kept of it."""

    def __init__(self, weight, command, phase, reason, files=None, stdout=b"", **limits):
        self.weight, self.phase, self.reason = weight, phase, reason
        self.files, self.stdout = files, stdout  # None: nobody knows
        self.cancels = phase == "cancelled"
        self.spec = {"image": IMAGE, "command": command, "files": INPUT,
                     "limits": {"timeout_s": 60, **limits}}

    def problems(self, client, run):
        """[] or what is wrong with a run of this kind that has ended."""
        status = run["status"]
        wrong = []
        if (status["phase"], status["reason"]) != (self.phase, self.reason):
            wrong.append(f"ended {status['phase']} {status['reason']}: {status['message']}")
        if self.files is None:
            return wrong
        kept = {a["path"]: a for a in client.artifacts(run["id"])}
        wanted = dict(self.files)
        if kept.keys() != wanted.keys():
            wrong.append(f"kept {sorted(kept)}, wanted {sorted(wanted)}")
        for path in kept.keys() & wanted.keys():
            content = wanted[path] or f"{run['id']} {status['attempt']}\n".encode()
            if client.artifact(run["id"], path) != content or \
                    kept[path]["sha256"] != hashlib.sha256(content).hexdigest():
                wrong.append(f"artifact {path} differs")
        if client.logs(run["id"]) != self.stdout:
            wrong.append("stdout differs")
        return wrong


def simulated(weight, phase, reason, limits=None, keeps=True, **script):
    command = ["sim"] + [f"{key}={value}" for key, value in script.items()]
    if not keeps:
        return Kind(weight, command, phase, reason, **(limits or {}))
    return Kind(weight, command, phase, reason, files_of(script),
                filler(script.get("seed", 0) + 7_000_000, script.get("out_bytes", 0)),
                **(limits or {}))


def simulated_kinds():
    done = ("succeeded", "Completed")
    return {
        "short": simulated(8, *done, duration_ms=50, files=2, seed=1, out_bytes=200),
        "second": simulated(4, *done, duration_ms=1000, files=3, seed=2, out_bytes=100),
        "large": simulated(1, *done, duration_ms=200, files=2, file_bytes=40_000, seed=3,
                           out_bytes=20_000),
        "failing": simulated(2, "failed", "NonZeroExit", duration_ms=100, exit_code=7, files=1,
                             seed=4, err_bytes=90),
        "timing_out": simulated(1, "timed_out", "RunTimeout", {"timeout_s": 1}, keeps=False,
                                duration_ms=100_000),
        "cancelled": simulated(1, "cancelled", "CancelRequested", keeps=False,
                               duration_ms=100_000),
    }


def real_kinds():
    """The like on a real engine. The line in `ran` is the script's own witness that it ran once:
    a file with the content None is that line."""
    done = ("succeeded", "Completed")
    once = 'echo "$MAYFLY_RUN_ID $MAYFLY_ATTEMPT" >> output/ran; '
    shell = ["sh", "-c"]
    given = {"ran": None, "out.txt": b"given\n"}
    return {
        "short": Kind(8, [*shell, once + "cat in.txt > output/out.txt; echo said"], *done, given,
                      b"said\n"),
        "second": Kind(4, [*shell, once + "sleep 1; cat in.txt > output/out.txt"], *done, given),
        "failing": Kind(2, [*shell, once + "exit 7"], "failed", "NonZeroExit", {"ran": None}),
        "timing_out": Kind(1, [*shell, once + "sleep 100"], "timed_out", "RunTimeout",
                           {"ran": None}, timeout_s=1),
        "cancelled": Kind(1, [*shell, once + "sleep 100"], "cancelled", "CancelRequested"),
    }


# ---- a client that outlives the daemon

def allow(client, wanted, method, path):
    """One call whose answer must be one of `wanted`."""
    status, _, body = client.request(method, path)
    if status not in wanted:
        raise RuntimeError(f"{method} {path}: {status} {body[:300]!r}")
    return json.loads(body) if body else None
