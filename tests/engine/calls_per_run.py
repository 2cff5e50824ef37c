#!/usr/bin/env python3
"""Engine calls for one run without trouble, counted at the socket by a proxy: at most 9."""

import os
import shutil
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

CALLS_MAX = 9
METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ")
# Calls for all runs together, not for one.
SHARED = (b"/_ping", b"/version", b"/info", b"/events", b"/containers/json", b"/volumes?",
          b"/images/")


class CountingProxy:
    """Forwards a unix socket, and notes the first line of every request."""

    def __init__(self, target, path):
        self.target, self.lines = target, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self.target)
            threading.Thread(target=self.pump, args=(client, engine, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(engine, client, False), daemon=True).start()

    def pump(self, source, sink, is_request):
        try:
            while piece := source.recv(65536):
                if is_request and piece.startswith(METHODS):
                    self.lines.append(piece.split(b"\r\n", 1)[0])
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    checks = Checks()
    beside = EngineApi()
    folder = tempfile.mkdtemp(prefix="mayfly-calls-")
    engine = os.environ["DOCKER_HOST"].removeprefix("unix://")
    proxy = CountingProxy(engine, os.path.join(folder, "proxy.sock"))
    spec = {"image": "mayfly-test/busybox:1",
            "command": ["sh", "-c", "cat in > output/out; echo said"],
            "files": [{"path": "in", "content": "x"}]}
    with Mayflyd(os.path.join(folder, "data"), f"unix://{folder}/proxy.sock") as daemon:
        daemon.client.wait(daemon.client.submit(spec)["id"])  # makes the prepared image
        wait_for(lambda: beside.owned() == ([], []))
        run = daemon.client.submit(spec)
        status = daemon.client.wait(run["id"])["status"]
        checks.equal("the run succeeded", status["phase"], "succeeded")
        wait_for(lambda: beside.owned() == ([], []))
    last = [line for line in proxy.lines if not any(s in line for s in SHARED)]
    create = [i for i, line in enumerate(last) if b"/containers/create" in line][-1]
    calls = last[create:]
    for line in calls:
        print("       ", line.decode())
    checks.check(f"one run takes at most {CALLS_MAX} calls", len(calls) <= CALLS_MAX, len(calls))
    checks.check("volume and container are removed within them",
                 sum(line.startswith(b"DELETE ") for line in calls) == 2, calls)
    print(f"calls={len(calls)}")
    shutil.rmtree(folder)
    checks.finish()


if __name__ == "__main__":
    main()
