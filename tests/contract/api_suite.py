#!/usr/bin/env python3
"""Every answer of the whole API suite is one that the OpenAPI document describes, and every
request that was taken is one that it allows.

The suite's test client records what goes over each connection; here it is read and judged.
"""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from checks import Checks  # noqa: E402
from conversations import Exchange, Request  # noqa: E402
from document import ROOT, Answer, Document  # noqa: E402
from judge import Judge  # noqa: E402

BUILD = os.environ.get("MAYFLY_BUILD", os.path.join(ROOT, "build/release"))
PROGRAM = os.path.join(BUILD, "mayfly-api-tests")
SUITE_S = 900


def planted(document):
    """(what is wrong, exchange)"""
    nosniff = [("Date", "x"), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]
    as_json = [*nosniff, ("Content-Type", "application/json")]

    def exchange(target, status, headers, body, method="GET", sent=b"", content_type=None):
        asked = [("Content-Type", content_type)] if content_type else []
        return Exchange("planted", Request("", method, target, asked, sent),
                        Answer(status, headers, body))
    yield "a status that is not described", exchange("/healthz", 204, nosniff, b"")
    yield "a field too much", exchange("/healthz", 200, as_json, b'{"ok":true,"more":1}')
    yield "a header that is not described", exchange(
        "/healthz", 200, [*as_json, ("X-More", "1")], b'{"ok":true}')
    yield "a header that is missing", exchange("/healthz", 200, as_json[:2] + as_json[3:],
                                               b'{"ok":true}')
    yield "another type of content", exchange(
        "/healthz", 200, [*nosniff, ("Content-Type", "text/html")], b"<p>")
    yield "a query that is not described", exchange("/healthz?x=1", 200, as_json, b'{"ok":true}')
    yield "a problem without a type", exchange(
        "/nowhere", 404, [*nosniff, ("Content-Type", "application/problem+json")],
        b'{"title":"no","status":404,"detail":"no"}')
    _, example = document.resolve(["components", "responses", "Created", "content",
                                   "application/json", "examples", "queued", "value"])
    created = [*as_json, ("Location", "/v1/runs/" + example["id"])]
    yield "a request that the document does not allow", exchange(
        "/v1/runs", 201, created, json.dumps(example).encode(), "POST",
        b'{"image":"a","command":"a"}', "application/json")


def record(path):
    done = subprocess.run([PROGRAM, "--gtest_brief=1"], timeout=SUITE_S, check=False,
                          env={**os.environ, "MAYFLY_RECORD": path})
    return done.returncode


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-contract-")
    recording = os.path.join(folder, "recording.jsonl")
    checks.equal("the API suite passes while it is recorded", record(recording), 0)
    with Document() as document:
        for what, exchange in planted(document):
            spoiled = Judge(document)
            spoiled.judge(exchange)
            checks.check(f"planted: {what} is noticed", any(spoiled.complaints.values()))
        judge = Judge(document)
        judge.judge_all(recording)
        judge.report(checks)
        unasked = judge.unasked()
        checks.check("the suite asks for every operation", not unasked, unasked)
    checks.finish(folder)


if __name__ == "__main__":
    main()
