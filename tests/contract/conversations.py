"""Recorded connections, read as HTTP/1.1: which request got which answer.

A line of a recording is one connection (tests/support/recording.h) or one exchange
(tests/support/daemon.py). What was sent may be anything, on purpose; what came must be HTTP.
"""

import base64
import json
import re

from document import Answer

REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/1\.[01]\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Request:
    """`line` as it was sent. `method` and `target` are None where it cannot be read; `body` is
    None where its end did not come or its framing cannot be told."""

    def __init__(self, line, method=None, target=None, headers=(), body=None):
        self.line, self.method, self.target = line, method, target
        self.headers, self.body = list(headers), body

    def path_and_query(self):
        target = re.sub(r"\Ahttps?://[^/?]*", "", self.target) or "/"
        path, _, query = target.partition("?")
        return path or "/", query


class Exchange:
    def __init__(self, test, request, answer):
        self.test, self.request, self.answer = test, request, answer


def header_lines(head):
    pairs = []
    for line in re.split(rb"\r?\n", head)[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            pairs.append((name.decode("latin-1"), value.strip().decode("latin-1")))
    return pairs


def chunked(bytes_, at):
    """(content, where it ends), or (what there is, None) when its end is missing."""
    content = b""
    while True:
        end = bytes_.find(b"\r\n", at)
        size = bytes_[at:end].split(b";")[0] if end >= 0 else b""
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size):
            return content, None
        length = int(size, 16)
        piece = bytes_[end + 2:end + 2 + length]
        content += piece
        at = end + 2 + length + 2
        if len(piece) < length or len(bytes_) < at:
            return content, None
        if length == 0:
            return content, at


def one_request(sent, at):
    """(request, where the next one begins, or None)"""
    line_end = sent.find(b"\n", at)
    line = sent[at:line_end if line_end >= 0 else len(sent)].rstrip(b"\r")
    shown = line[:120].decode("latin-1")
    match = REQUEST_LINE.match(line)
    head_end = sent.find(b"\r\n\r\n", at)
    if not match:
        return Request(shown), None
    method, target = (part.decode() for part in match.groups())
    if head_end < 0:
        return Request(shown, method, target), None
    headers = header_lines(sent[at:head_end])
    lower = [(name.lower(), value) for name, value in headers]
    lengths = [value for name, value in lower if name == "content-length"]
    encodings = [value for name, value in lower if name == "transfer-encoding"]
    at = head_end + 4
    if len(lengths) + len(encodings) > 1 or any(not value.isdigit() for value in lengths):
        return Request(shown, method, target, headers), None
    if encodings:
        body, end = chunked(sent, at)
        return Request(shown, method, target, headers, body if end else None), end
    length = int(lengths[0]) if lengths else 0
    body = sent[at:at + length]
    if len(body) < length:
        return Request(shown, method, target, headers), None
    return Request(shown, method, target, headers, body), at + length


def requests_in(sent):
    requests, at = [], 0
    while at is not None and at < len(sent):
        while sent[at:at + 2] == b"\r\n":
            at += 2
        if at < len(sent):
            request, at = one_request(sent, at)
            requests.append(request)
    return requests


def one_answer(received, at, method):
    """(answer, where the next one begins)"""
    head_end = received.find(b"\r\n\r\n", at)
    match = STATUS_LINE.match(received[at:])
    if not match or head_end < 0:
        raise ValueError(f"no HTTP: {received[at:at + 80]!r}")
    status = int(match.group(1))
    answer = Answer(status, header_lines(received[at:head_end]), b"")
    at = head_end + 4
    length = answer.header("content-length")
    if method == "HEAD" or status < 200 or status in (204, 304):
        return answer, at
    if answer.header("transfer-encoding") == "chunked":
        answer.body, end = chunked(received, at)
        answer.cut = end is None
        return answer, len(received) if end is None else end
    if length is None:
        answer.body = received[at:]
        return answer, len(received)
    answer.body = received[at:at + int(length)]
    answer.cut = len(answer.body) < int(length)
    return answer, at + int(length)


def exchanges_of(test, sent, received):
    """(exchanges, requests without an answer). An answer without a request has none."""
    requests = requests_in(sent)
    exchanges, at = [], 0
    while at < len(received):
        if b"\r\n\r\n" not in received[at:]:
            break  # the test left in the middle of a head
        request = requests[0] if requests else None
        answer, at = one_answer(received, at, request.method if request else None)
        if answer.status < 200:
            continue
        exchanges.append(Exchange(test, request, answer))
        requests = requests[1:]
    return exchanges, requests


def recorded_exchange(entry):
    line = f"{entry['method']} {entry['target']}"
    return Exchange(entry["test"],
                    Request(line, entry["method"], entry["target"], entry["headers"],
                            base64.b64decode(entry["body"])),
                    Answer(entry["status"], entry["answer_headers"],
                           base64.b64decode(entry["answer_body"])))


def read(path):
    """(exchanges, how many requests got no answer) of a whole recording."""
    exchanges, unanswered = [], 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            if "status" in entry:
                exchanges.append(recorded_exchange(entry))
                continue
            made, left = exchanges_of(entry["test"], base64.b64decode(entry["sent"]),
                                      base64.b64decode(entry["received"]))
            exchanges += made
            unanswered += len(left)
    return exchanges, unanswered
