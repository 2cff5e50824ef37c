#!/usr/bin/env python3
"""Every request that the OpenAPI document shows is sent to a real mayflyd on a real engine, and
the answer is one that the document describes.

Of an example only this is replaced: images by those that the tests make, the run that it names by
one that is there, and the receiver of a webhook by one in here. What the receiver gets must be
what the document says under `webhooks`.
"""

import copy
import hashlib
import hmac
import http.server
import json
import os
import socket
import sys
import tempfile
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from checks import Checks, EngineApi, wait_for  # noqa: E402
from conversations import one_answer  # noqa: E402
from daemon import Mayflyd  # noqa: E402
from document import Document, events_of  # noqa: E402

IMAGES = {"busybox": "mayfly-test/busybox:1", "busybox:latest": "mayfly-test/busybox:1",
          "python:3-slim": "mayfly-test/python:1"}
EXAMPLE_ID = "01jd7zq5w8m3c4v6x9y0b1n2k5"
ABSENT_ID = "01hzy0000000000000000000ab"
STREAM_S = 20      # a stream shows its first events long before
BOUNDARY = "a-boundary-of-the-contract"
LEAVER = {"image": IMAGES["busybox"], "command": ["sh", "-c", (
    "echo 42; echo oops >&2; echo 0123456789 >output/report.md; ln -s report.md output/latest; "
    "echo '{\"score\": 42}' >result.json")], "labels": {"team": "maths"}}
SLEEPER = {"image": IMAGES["busybox"], "command": ["sleep", "600"]}

# Beside the examples: (method, path, headers, statuses that it may have). `ID` is a run that has
# finished, `LIVE` one that runs.
MORE = [
    ("GET", "/v1/runs/ID/logs?follow=1", {}, {200}),
    ("GET", "/v1/runs/ID/logs?follow=1&offset=1", {"Accept": "text/plain"}, {200}),
    ("GET", "/v1/runs/ID/logs?follow=1&stream=both", {}, {200}),
    ("GET", "/v1/runs/ID/logs?follow=1&stream=both", {"Last-Event-ID": "1:3:0"}, {200}),
    ("GET", "/v1/runs/ID/logs?follow=1&stream=both&last_event_id=1:0:0", {}, {200}),
    ("GET", "/v1/runs/ID/logs?stream=stderr&offset=2", {}, {200}),
    ("GET", "/v1/runs/ID/logs?offset=1000000", {}, {416}),
    ("GET", "/v1/runs/ID/logs?stream=both", {}, {400}),
    ("GET", "/v1/runs/ID/logs?tail=1&follow=1", {}, {400}),
    ("GET", "/v1/runs/LIVE/logs", {}, {409}),
    ("GET", "/v1/runs/LIVE/artifacts", {}, {409}),
    ("GET", "/v1/runs/LIVE/explain", {}, {200}),
    ("DELETE", "/v1/runs/LIVE", {}, {409}),
    ("GET", "/v1/runs/ID/artifacts/nothing", {}, {404}),
    ("GET", "/v1/runs/ID/artifacts/report.md", {"Range": "bytes=100-"}, {416}),
    ("GET", "/v1/runs/ID/artifacts.tar", {"If-None-Match": "*"}, {304}),
    ("GET", "/v1/openapi.json", {"If-None-Match": "*"}, {304}),
    ("GET", f"/v1/runs/{ABSENT_ID}/explain", {}, {404}),
    ("POST", f"/v1/runs/{ABSENT_ID}/cancel", {}, {404}),
    ("GET", "/v1/events?last_event_id=0", {}, {200}),
    ("GET", "/v1/events?run=ID&label=team=maths&last_event_id=0", {}, {200}),
    ("GET", "/v1/events", {"Last-Event-ID": "999999999"}, {410}),
    ("GET", "/v1/events", {"Last-Event-ID": "yesterday"}, {400}),
    ("GET", "/v1/events?run=nobody", {}, {400}),
    ("GET", "/v1/doctor?x=1", {}, {400}),
    ("GET", "/", {"Accept": "application/json"}, {200}),
    ("GET", "/", {"Accept": "text/html"}, {200}),
]


def ask(port, method, target, headers=None, body=b""):
    """An Answer. A stream without an end is left after its first events."""
    with socket.create_connection(("127.0.0.1", port), timeout=STREAM_S) as connection:
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close",
                 *[f"{name}: {value}" for name, value in (headers or {}).items()]]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        received = b""
        while not (b"event: hello" in received and
                   received.endswith((b"\n\n", b"\n\n\r\n"))):
            piece = connection.recv(1 << 16)
            if not piece:
                break
            received += piece
    return one_answer(received, 0, method)[0]


def multipart(example):
    parts = []
    for name, content in example.items():
        more = ""
        if name == "spec":
            content, more = json.dumps(content), "\r\nContent-Type: application/json"
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
                     f"{content}\r\n")
    return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode()


class Receiver:
    """Of webhooks: keeps what comes."""

    def __init__(self):
        self.got = []
        got = self.got

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((list(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mayfly"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Sender:
    def __init__(self, checks, document, daemon):
        self.engine = EngineApi()
        self.checks, self.document, self.daemon = checks, document, daemon
        self.receiver = Receiver()
        self.requests = self.responses = 0
        self.finished = daemon.client.wait(daemon.client.submit(LEAVER)["id"])["id"]
        self.live = daemon.client.submit(SLEEPER)["id"]
        wait_for(lambda: daemon.client.get(self.live)["status"]["phase"] == "running")

    def send(self, found, target, headers=None, body=b"", wanted=None):
        """The answer, when it is as described."""
        self.requests += 1
        answer = ask(self.daemon.port, found.method, target, headers, body)
        said = self.document.response_complaints(found, answer)
        self.responses += 1
        shown = f"{found.method} {target[:90]} {headers or ''}".strip()
        good = self.checks.check(f"{shown} -> {answer.status}, as described", not said, said[:3])
        if wanted:
            self.checks.check(f"{shown} is answered as it should be", answer.status in wanted,
                              f"{answer.status}, not {wanted}: {answer.body[:300]}")
        return answer if good else None

    # ---- submissions

    def spec_of(self, example):
        """The example with an image that is there, and a receiver that listens."""
        spec = copy.deepcopy(example)
        spec["image"] = IMAGES[spec["image"]]
        if "webhook" in spec:
            spec["webhook"]["url"] = self.receiver.url
        return spec

    def submissions(self):
        found = self.document.find("POST", "/v1/runs")
        content = found.operation["requestBody"]["content"]
        for name, example in content["application/json"]["examples"].items():
            spec = self.spec_of(example["value"])
            answer = self.send(found, "/v1/runs", {
                "Content-Type": "application/json", "Idempotency-Key": "example-" + name},
                json.dumps(spec).encode(), {201})
            self.ends_well(name, answer)
            self.send(found, "/v1/runs?wait=30s", {
                "Content-Type": "application/json", "Idempotency-Key": "example-" + name},
                json.dumps(spec).encode(), {200})
            if "webhook" in spec:
                self.told(answer, spec)
        for name, example in content["multipart/form-data"]["examples"].items():
            parts = {**example["value"], "spec": self.spec_of(example["value"]["spec"])}
            answer = self.send(found, "/v1/runs?wait=30s", {
                "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, multipart(parts),
                {201})
            self.ends_well(name, answer)

    def ends_well(self, name, answer):
        if answer is None:
            return
        run = self.daemon.client.wait(json.loads(answer.body)["id"])
        self.checks.equal(f"the run of the example `{name}` succeeds", run["status"]["phase"],
                          "succeeded")

    def told(self, answer, spec):
        """The webhook of the example was delivered, as `webhooks` says, and signed."""
        run_id = json.loads(answer.body)["id"]
        self.checks.check("the webhook of the example is delivered",
                          wait_for(lambda: self.receiver.got, 30))
        headers, body = self.receiver.got[0]
        given = {name.lower(): value for name, value in headers}
        steps = ["webhooks", "runEvent", "post"]
        errors = self.document.schema_complaints(
            [*steps, "requestBody", "content", "application/json", "schema"], json.loads(body))
        self.checks.check("its body is as described", not errors, errors)
        _, operation = self.document.resolve(steps)
        for at, parameter in enumerate(operation["parameters"]):
            value = given.get(parameter["name"].lower())
            errors = ["is missing"] if value is None else self.document.text_complaints(
                [*steps, "parameters", at, "schema"], value)
            self.checks.check(f"its header {parameter['name']} is as described", not errors,
                              errors)
        mine = hmac.new(spec["webhook"]["secret"].encode(),
                        given["mayfly-timestamp"].encode() + b"." + body, hashlib.sha256)
        self.checks.equal("its signature is the one that the document tells how to make",
                          given["mayfly-signature"], "v1=" + mine.hexdigest())
        self.checks.equal("it is about the run", json.loads(body)["run_id"], run_id)

    # ---- everything else, parameter by parameter

    def value_of(self, parameter):
        example = parameter["example"]
        return json.loads(json.dumps(example).replace(EXAMPLE_ID, self.finished))

    def run_for(self, found):
        """A run that the operation can be asked of."""
        if found.name == "POST /v1/runs/{id}/cancel":
            return self.daemon.client.submit(SLEEPER)["id"]
        if found.method == "DELETE":
            return self.daemon.client.wait(self.daemon.client.submit(LEAVER)["id"])["id"]
        return self.finished

    def target_of(self, found):
        target = found.template.replace("{id}", self.run_for(found))
        for _, parameter in self.document.parameters(found):
            if parameter["in"] == "path" and parameter["name"] != "id":
                target = target.replace("{" + parameter["name"] + "}",
                                        urllib.parse.quote(self.value_of(parameter)))
        return target

    def operation(self, found):
        self.send(found, self.target_of(found), {}, b"", {200, 202})
        for _, parameter in self.document.parameters(found):
            if parameter["in"] == "path":
                continue
            value, name = self.value_of(parameter), parameter["name"]
            if parameter["in"] == "header":
                self.send(found, self.target_of(found), {name: value})
                continue
            values = value if isinstance(value, list) else [value]
            if not parameter.get("explode", True):
                values = [",".join(values)]
            query = urllib.parse.urlencode([(name, one) for one in values], safe="=,:")
            self.send(found, self.target_of(found) + "?" + query)

    def operations(self):
        for found in self.document.operations():
            if found.name != "POST /v1/runs":
                self.operation(found)

    def more(self):
        for method, path, headers, wanted in MORE:
            path = path.replace("ID/", self.finished + "/").replace("ID&", self.finished + "&")
            path = path.replace("LIVE", self.live)
            found = self.document.find(method, path.partition("?")[0])
            self.send(found, path, headers, b"", wanted)

    def elsewhere(self):
        """What is no operation is answered by a problem."""
        for method, path in [("GET", "/nowhere"), ("PUT", "/v1/runs"), ("POST", "/v1/events"),
                             ("GET", "/v1"), ("PATCH", f"/v1/runs/{self.finished}")]:
            answer = ask(self.daemon.port, method, path)
            said = self.document.problem_complaints(answer)
            self.checks.check(f"{method} {path} -> {answer.status}, a problem", not said, said)

    def clean(self):
        """What still runs is cancelled, and goes from the engine."""
        for run in json.loads(self.daemon.client.expect((200,), "GET", "/v1/runs?limit=200&phase="
                                                        "queued,preparing,running"))["runs"]:
            self.daemon.client.cancel(run["id"])
        self.checks.check("nothing is left on the engine",
                          wait_for(lambda: self.engine.owned() == ([], [])),
                          self.engine.owned())

    def live_stream(self):
        """Both streams of a run that is tried while it is followed."""
        spec = {"image": IMAGES["busybox"], "command": [
            "sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.1; done"]}
        found = self.document.find("GET", f"/v1/runs/{self.finished}/logs")
        run_id = self.daemon.client.submit(spec)["id"]
        answer = self.send(found, f"/v1/runs/{run_id}/logs?follow=1&stream=both", {}, b"", {200})
        if answer is None:
            return
        events = events_of(answer.body.decode())
        self.checks.equal("a followed run is told to its end", events[-1]["event"], "end")
        text = "".join(event["data"]["text"] for event in events if event["event"] == "log" and
                       event["data"]["stream"] == "stdout")
        self.checks.equal("with all that it printed", text, "out 1\nout 2\nout 3\n")


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-contract-")
    flags = ["--webhook-allow-network", "127.0.0.0/8"]
    with Document() as document, Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"],
                                         flags) as daemon:
        sender = Sender(checks, document, daemon)
        for step in (sender.submissions, sender.operations, sender.more, sender.live_stream,
                     sender.elsewhere, sender.clean):
            checks.step(step)
        print(f"requests sent: {sender.requests}, responses validated: {sender.responses}")
    checks.finish(folder)


if __name__ == "__main__":
    main()
