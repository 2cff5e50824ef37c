#!/usr/bin/env python3
"""Logs that are followed while scripts run, and events, on a real engine and through kill -9.

    streams_live.py [--full]

With --full: 100 followers of one run that prints 50 MB; else 20 of one that prints 10 MB.
"""

import argparse
import hashlib
import http.client
import json
import os
import selectors
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
MIB = 1 << 20
MEMORY_GROWTH_MAX = 32 * MIB  # of mayflyd, however much is followed
SOCKET_DEADLINE_S = 60


def spec(script, **more):
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def memory_peak(process):
    """The most that it has ever had in memory, in bytes."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


class Stream:
    """One answer without an end, read as it comes."""

    def __init__(self, daemon, path, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", daemon.port,
                                                     timeout=SOCKET_DEADLINE_S)
        self.connection.request("GET", path, headers=headers or {})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.whole = False

    def pieces(self):
        """Bytes as they come; `whole` tells afterwards whether they were all."""
        try:
            while True:
                piece = self.answer.read1(1 << 16)
                if not piece:
                    self.whole = True
                    return
                yield piece
        except (OSError, http.client.HTTPException):
            return
        finally:
            self.connection.close()

    def read(self):
        return b"".join(self.pieces())


def logs_path(run_id, query=""):
    return f"/v1/runs/{run_id}/logs?follow=1{query}"


def lines_come_while_it_runs(checks, daemon):
    run = daemon.client.submit(spec("echo first; sleep 2; echo last; echo err >&2"))["id"]
    stream = Stream(daemon, logs_path(run))
    pieces = stream.pieces()
    first = next(pieces)
    phase = daemon.new_client().get(run)["status"]["phase"]
    checks.equal("the first line is there while the script runs", (first, phase),
                 (b"first\n", "running"))
    rest = b"".join(pieces)
    checks.equal("the last one comes, and the stream ends whole", (rest, stream.whole),
                 (b"last\n", True))
    checks.equal("what was followed is what is kept", first + rest, daemon.client.logs(run))
    both = Stream(daemon, logs_path(run, "&stream=both")).read().decode()
    checks.check("both streams of a finished run come with their end",
                 '"text":"first\\nlast\\n"' in both and '"text":"err\\n"' in both and
                 "event: end" in both, both)


class Crowd:
    """Many followers of one run in one thread: sockets, chunks taken apart, hashes."""

    class One:
        def __init__(self, daemon, run_id):
            self.socket = socket.create_connection(("127.0.0.1", daemon.port))
            self.socket.sendall(f"GET {logs_path(run_id)} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                .encode())
            self.buffer = b""
            self.in_head = True
            self.left = 0  # of the chunk under way, with its line end
            self.hash = hashlib.sha256()
            self.size = 0
            self.whole = False

        def feed(self, data):
            self.buffer += data
            if self.in_head:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                self.buffer, self.in_head = self.buffer[end + 4:], False
            while self.buffer:
                if self.left > 2:
                    body = self.buffer[:self.left - 2]
                    self.hash.update(body)
                    self.size += len(body)
                    self.left -= len(body)
                    self.buffer = self.buffer[len(body):]
                elif self.left > 0:
                    cut = min(self.left, len(self.buffer))
                    self.left -= cut
                    self.buffer = self.buffer[cut:]
                else:
                    end = self.buffer.find(b"\r\n")
                    if end < 0:
                        return
                    self.left = int(self.buffer[:end], 16) + 2
                    self.buffer = self.buffer[end + 2:]
                    self.whole = self.whole or self.left == 2

    def __init__(self, daemon, run_id, count):
        self.all = [Crowd.One(daemon, run_id) for _ in range(count)]

    def read(self, deadline_s=300):
        end = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as waiting:
            for one in self.all:
                waiting.register(one.socket, selectors.EVENT_READ, one)
            left = len(self.all)
            while left and time.monotonic() < end:
                for key, _ in waiting.select(1):
                    data = key.fileobj.recv(1 << 20)
                    key.data.feed(data)
                    if not data or key.data.whole:
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()
                        left -= 1


def a_crowd(checks, daemon, followers, megabytes):
    size = megabytes * 1_000_000
    line = f"{megabytes} million bytes of lines like this one, to each of the followers. " * 4
    script = f"sleep 1; yes '{line}' | head -c {size}; sleep 1"
    run = daemon.client.submit(spec(script, limits={"log_bytes": 64 * MIB, "timeout_s": 300}))
    wait_for(lambda: daemon.client.get(run["id"])["status"]["phase"] == "running")
    before = memory_peak(daemon.process)
    crowd = Crowd(daemon, run["id"], followers)
    calls = 'mayfly_log_feeds'
    wait_for(lambda: daemon.new_client().metrics().get("mayfly_api_followers") == followers)
    checks.equal(f"{followers} followers are one stream of the engine's",
                 daemon.new_client().metrics().get(calls), 1.0)
    began = time.monotonic()
    crowd.read()
    took = time.monotonic() - began
    kept = daemon.client.logs(run["id"])
    wanted = hashlib.sha256(kept).hexdigest()
    checks.equal("all of it is kept", len(kept), size)
    alike = [one for one in crowd.all if one.whole and one.hash.hexdigest() == wanted]
    checks.equal(f"each of {followers} followers got the {size} bytes that are kept, and an end",
                 len(alike), followers)
    grown = memory_peak(daemon.process) - before
    checks.check(f"mayflyd's memory is flat: {grown / MIB:.1f} MiB more at its peak",
                 grown < MEMORY_GROWTH_MAX, grown)
    print(f"        {followers} x {size} bytes in {took:.1f} s")
    return run["id"]


def a_reader_who_does_not_read(checks, daemon, engine):
    """He holds up nobody: not the run, not the engine, not the others."""
    line = "a line that is long: an engine spends its time on lines, not on bytes. " * 5
    script = f"yes '{line}' | head -c 20000000; sleep 600"
    run = daemon.client.submit(
        spec(script, limits={"log_bytes": 64 * MIB, "timeout_s": 900}))["id"]
    wait_for(lambda: daemon.client.get(run)["status"]["phase"] == "running")
    stuck = socket.create_connection(("127.0.0.1", daemon.port))
    stuck.sendall(f"GET {logs_path(run)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    other = Stream(daemon, logs_path(run))
    seen = 0
    for piece in other.pieces():
        seen += len(piece)
        if seen >= 19_990_000:  # the engine holds a line back until it ends
            break
    checks.check("another follower gets all of it", seen >= 19_990_000, seen)
    began = time.monotonic()
    container = engine.container_of(run)
    engine.inspect(container)
    checks.check("the engine answers about the container at once",
                 time.monotonic() - began < 10, time.monotonic() - began)
    daemon.client.cancel(run)
    ended = daemon.client.wait(run)
    checks.equal("and the run is cancelled, harvested and removed meanwhile",
                 ended["status"]["phase"], "cancelled")
    stuck.close()


def through_a_restart(checks, daemon):
    script = "for i in $(seq 1 40); do echo line $i; sleep 0.1; done"
    run = daemon.client.submit(spec(script))["id"]
    got = b""
    restarts = 0
    while True:
        try:
            stream = Stream(daemon, logs_path(run, f"&offset={len(got)}"))
        except OSError:
            time.sleep(0.05)
            continue
        if stream.status != 200:
            time.sleep(0.05)
            continue
        for piece in stream.pieces():
            got += piece
            if restarts < 2 and len(got) > 80 * (restarts + 1):
                restarts += 1
                daemon.kill()
                daemon.start()
        if stream.whole:
            break
    checks.equal("a log that is followed through two kill -9 has each line once", got,
                 b"".join(b"line %d\n" % i for i in range(1, 41)))
    checks.equal("and is what is kept", got, daemon.client.logs(run))


class EventReader(threading.Thread):
    """Reads events, and comes again at its last id whenever it is cut off."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_of = daemon
        self.events = []
        self.last = 0
        self.connects = 0
        self.stop = threading.Event()

    def run(self):
        while not self.stop.is_set():
            try:
                headers = {"Last-Event-ID": str(self.last)}
                stream = Stream(self.daemon_of, "/v1/events", headers)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if stream.status != 200:
                time.sleep(0.02)
                continue
            self.connects += 1
            text = b""
            for piece in stream.pieces():
                text += piece
                while b"\n\n" in text:
                    block, text = text.split(b"\n\n", 1)
                    self.take(block.decode())
                if self.stop.is_set():
                    return

    def take(self, block):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields.get("event") != "status":
            return
        event = json.loads(fields["data"])
        self.events.append(event)
        self.last = int(fields["id"])


def events_through_restarts(checks, daemon):
    first = json.loads(daemon.client.expect((200,), "GET", "/v1/engines"))["runs"]
    reader = EventReader(daemon)
    reader.start()
    wait_for(lambda: reader.connects > 0)
    runs = []
    for round_number in range(3):
        for i in range(4):
            runs.append(daemon.new_client().submit(spec(f"sleep 0.{i}; echo {i}"))["id"])
        time.sleep(0.3 + round_number * 0.4)  # the moment of the kill, not a wait for anything
        daemon.kill()
        daemon.start()
    for run in runs:
        daemon.new_client().wait(run)
    newest = {}

    def all_heard():
        newest.update({e["run_id"]: e["type"] for e in list(reader.events)})
        return all(newest.get(run) == "finished" for run in runs)
    checks.check("the reader hears the end of every run", wait_for(all_heard, 30), newest)
    ids = [event["id"] for event in list(reader.events)]
    checks.equal("ids through three kill -9: no gap, nothing twice, in order",
                 ids, list(range(1, len(ids) + 1)))
    checks.check("the reader was cut off and came again", reader.connects >= 4, reader.connects)
    for run in runs:
        types = [e["type"] for e in list(reader.events) if e["run_id"] == run]
        if types[0] != "created" or types.count("finished") != 1 or types.count("created") != 1:
            checks.check("each run is created once and finished once", False, (run, types))
            break
    else:
        checks.check("each run is created once and finished once", True)
    reader.stop.set()
    print(f"        {len(ids)} events of {len(runs)} runs and {first}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    checks = Checks()
    engine = EngineApi()
    folder = tempfile.mkdtemp(prefix="mayfly-streams-")
    with Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"]) as daemon:
        checks.step(events_through_restarts, checks, daemon)
        checks.step(lines_come_while_it_runs, checks, daemon)
        checks.step(through_a_restart, checks, daemon)
        checks.step(a_reader_who_does_not_read, checks, daemon, engine)
        checks.step(a_crowd, checks, daemon, 100 if arguments.full else 20,
                    50 if arguments.full else 10)
        being_written = os.path.join(daemon.data_dir, "spool", ".tmp")
        checks.check("no live log is left behind",
                     wait_for(lambda: not os.listdir(being_written), 30),
                     os.listdir(being_written))
        checks.check("nothing is left on the engine",
                     wait_for(lambda: engine.owned() == ([], []), 120),
                     engine.owned())
    checks.finish(folder)


if __name__ == "__main__":
    main()
