"""A proxy in front of an engine's unix socket that loses, doubles, delays and breaks answers.

    python3 fault_proxy.py LISTEN ENGINE [--rule 'METHOD PATTERN FAULT[=V]']... [--seed N --rate P]

Each request passes through one Fault, or none. A rule names the requests by method and by a
regular expression for the path, and says how many of them it hits; in random mode every request
draws. What it does is streamed: it holds no more of a body than one piece.

    drop            forward it, and close the connection when the answer comes
    twice_first     forward it a second time after the answer, return the first answer
    twice_second    the same, return the second
    delay=S         wait that long before it is forwarded
    cut=K           return K bytes of the answer's body, then close
    error_before    answer 500, forward nothing
    error_after     forward it, answer 500
    never           read it, forward nothing, and never answer
"""

import argparse
import os
import random
import re
import socket
import sys
import threading
import time

PIECE = 1 << 16
HEAD_MAX = 1 << 20
FAULTS = ("drop", "twice_first", "twice_second", "delay", "cut", "error_before", "error_after",
          "never")
TWICE_BODY_MAX = 64 << 20
RANDOM_DELAY_S = 0.3


class Closed(Exception):
    """One of the two ends is gone."""


class Stream:
    """Reads heads and bodies from a socket."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def more(self):
        try:
            piece = self.sock.recv(PIECE)
        except OSError as error:
            raise Closed from error
        if not piece:
            raise Closed
        self.buffer += piece

    def head(self):
        """(start line, {name: value}, all of its bytes)"""
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > HEAD_MAX:
                raise Closed
            self.more()
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        fields = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
        fields = {name.lower().strip(): value.strip() for name, value in fields.items()}
        return lines[0], fields, raw + b"\r\n\r\n"

    def exactly(self, size):
        while size > 0:
            if not self.buffer:
                self.more()
            piece, self.buffer = self.buffer[:size], self.buffer[size:]
            size -= len(piece)
            yield piece

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def body(self, fields, until_close):
        """The body's bytes as they are on the wire, in pieces."""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = self.line()
                yield line + b"\r\n"
                size = int(line.split(b";")[0], 16)
                yield from self.exactly(size + 2)
                if size == 0:
                    return
        elif "content-length" in fields:
            yield from self.exactly(int(fields["content-length"]))
        elif until_close:
            while True:
                try:
                    if not self.buffer:
                        self.more()
                except Closed:
                    return
                piece, self.buffer = self.buffer, b""
                yield piece


def has_no_body(method, start):
    status = start.split(" ", 2)[1]
    return method == "HEAD" or status in ("204", "304") or status.startswith("1")


class Rule:
    """`count` requests whose method and path match get this fault, after `skip` that do not."""

    def __init__(self, method, path, fault, value=None, count=1, skip=0):
        if fault not in FAULTS:
            raise ValueError(f"no fault {fault!r}; there are: {', '.join(FAULTS)}")
        self.method, self.path = method, re.compile(path)
        self.fault, self.value, self.left, self.skip = fault, value, count, skip
        self.hits = 0

    def take(self, method, path):
        if self.left == 0 or method != self.method or not self.path.search(path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.left -= 1
        self.hits += 1
        return True


class FaultProxy:
    """Listens on `listen`, forwards to `engine`. Rules may be changed at any time."""

    def __init__(self, listen, engine, rules=(), rate=0.0, seed=0, spare=None):
        self.listen, self.engine = listen, engine
        self.rules, self.rate, self.rng = list(rules), rate, random.Random(seed)
        self.spare = re.compile(spare) if spare else None  # random mode leaves these alone
        self.lock = threading.Lock()
        self.log = []  # (monotonic time, method, path, fault)
        self.forwarded_hooks = []  # called with (method, path) right after a request went out
        self.sockets = set()
        if os.path.exists(listen):
            os.unlink(listen)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(listen)
        self.server.listen(128)
        self.closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self):
        return f"unix://{self.listen}"

    def close(self):
        self.closing = True
        self.server.close()
        self.cut_all()

    def cut_all(self):
        """Closes every connection that is open now."""
        for sock in list(self.sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def done(self, fault=None):
        """[(method, path, fault)] of what got a fault so far."""
        with self.lock:
            return [(m, p, f) for _, m, p, f in self.log if f and fault in (None, f)]

    def choose(self, method, path):
        """(fault, value) for this request, or (None, None)."""
        with self.lock:
            fault, value = None, None
            for rule in self.rules:
                if rule.take(method, path):
                    fault, value = rule.fault, rule.value
                    break
            else:
                spared = self.spare and self.spare.search(path)
                if self.rate and not spared and self.rng.random() < self.rate:
                    fault = self.rng.choice([f for f in FAULTS if f != "never"])
                    value = self.rng.uniform(0, RANDOM_DELAY_S)
                    if fault == "cut":
                        value = self.rng.randrange(200)
            self.log.append((time.monotonic(), method, path, fault))
            return fault, value

    def _accept(self):
        while not self.closing:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self.sockets.add(client)
        connection = Connection(self, client)
        try:
            while connection.one_request():
                pass
        except (Closed, OSError, ValueError):
            pass
        finally:
            self.sockets.discard(client)
            connection.close()


class Connection:
    """One client's connection, and the one to the engine that belongs to it."""

    def __init__(self, proxy, client):
        self.proxy, self.client = proxy, client
        self.from_client = Stream(client)
        self.engine = self.from_engine = None

    def close(self):
        for sock in (self.client, self.engine):
            if sock is not None:
                sock.close()

    def connect(self):
        self.engine = socket.socket(socket.AF_UNIX)
        self.engine.connect(self.proxy.engine)
        self.from_engine = Stream(self.engine)

    def one_request(self):
        """Whether the connection may carry another one."""
        start, fields, raw = self.from_client.head()
        method, path, _ = start.split(" ", 2)
        fault, value = self.proxy.choose(method, path)
        body = self.from_client.body(fields, until_close=False)
        if fault == "delay":
            time.sleep(float(value))
        if fault in ("never", "error_before"):
            return self.unheard(body, fault)
        if fault in ("twice_first", "twice_second"):
            return self.twice(method, path, raw, body, fault == "twice_second")
        self.forward(raw, body, method, path)
        return self.answer(method, fault, value)

    def unheard(self, body, fault):
        for _ in body:
            pass
        if fault == "never":
            self.from_client.more()  # until the client gives up
            return False
        self.refuse()
        return True

    def refuse(self):
        said = b'{"message":"planted by the fault proxy"}'
        self.client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json"
                            b"\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    def forward(self, raw, body, method, path):
        if self.engine is None:
            self.connect()
        self.engine.sendall(raw)
        for piece in body:
            self.engine.sendall(piece)
        for hook in list(self.proxy.forwarded_hooks):
            hook(method, path)

    def answer(self, method, fault, value):
        start, fields, raw = self.from_engine.head()
        while start.split(" ", 2)[1].startswith("1"):  # 100 Continue
            start, fields, raw = self.from_engine.head()
        if fault == "drop":
            return False
        empty = has_no_body(method, start)
        body = iter(()) if empty else self.from_engine.body(fields, until_close=True)
        if fault == "error_after":
            for _ in body:
                pass
            self.refuse()
            return True
        self.client.sendall(raw)
        left = int(value) if fault == "cut" else None
        for piece in body:
            if left is not None:
                self.client.sendall(piece[:left])
                left -= len(piece)
                if left <= 0:
                    return False
            else:
                self.client.sendall(piece)
        lasting = empty or "content-length" in fields or "transfer-encoding" in fields
        return left is None and lasting and fields.get("connection", "").lower() != "close"

    def twice(self, method, path, raw, body, second):
        whole = b"".join(body)
        if len(whole) > TWICE_BODY_MAX:
            raise Closed
        answers = []
        for _ in range(2):
            self.forward(raw, iter((whole,)), method, path)
            start, fields, head = self.from_engine.head()
            while start.split(" ", 2)[1].startswith("1"):
                start, fields, head = self.from_engine.head()
            empty = has_no_body(method, start)
            answers.append(head + b"".join(() if empty else self.from_engine.body(fields, True)))
            if fields.get("connection", "").lower() == "close":
                self.engine.close()
                self.engine = None
        self.client.sendall(answers[1 if second else 0])
        return True


def parse_rule(text):
    method, path, fault = text.rsplit(" ", 2) if text.count(" ") >= 2 else text.split(" ")
    fault, _, value = fault.partition("=")
    return Rule(method, path, fault, value or None)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listen")
    parser.add_argument("engine")
    parser.add_argument("--rule", action="append", default=[], type=parse_rule)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    arguments = parser.parse_args()
    proxy = FaultProxy(arguments.listen, arguments.engine, arguments.rule, arguments.rate,
                       arguments.seed)
    print(f"listening at {proxy.host}", flush=True)
    shown = 0
    try:
        while True:
            time.sleep(0.2)
            for _, method, path, fault in proxy.log[shown:]:
                print(f"{fault or '-':12} {method} {path}", flush=True)
                shown += 1
    except KeyboardInterrupt:
        proxy.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
