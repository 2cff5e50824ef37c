#!/usr/bin/env python3
"""mayfly against a mayflyd that is cut, lies, or is none: nothing twice, nothing lost, nothing
written where it must not be."""

import hashlib
import json
import os
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from client_rig import OnTerminal, Started, mayfly  # noqa: E402
from fake_mayflyd import FakeMayflyd, log, sse  # noqa: E402

ID = "01hzy0000000000000000000ab"
END = {"phase": "succeeded", "reason": "Completed", "exit_code": 0, "signal": None}
RUN = {"id": ID, "spec": {"image": "busybox", "command": ["true"], "labels": {}},
       "status": {**END, "created_at": "2026-03-01T12:00:00.000Z",
                  "finished_at": "2026-03-01T12:00:01.000Z"}}
CREATE, SHOW = ("POST", "/v1/runs"), ("GET", f"/v1/runs/{ID}")
LOGS, LISTING = ("GET", f"/v1/runs/{ID}/logs"), ("GET", f"/v1/runs/{ID}/artifacts")


def routes(**more):
    """A run that succeeds at once, without a word."""
    out = {CREATE: lambda ask: ask.json(201, RUN), SHOW: lambda ask: ask.json(200, RUN),
           LOGS: lambda ask: ask.stream([sse("end", END)]),
           LISTING: lambda ask: ask.json(200, {"artifacts": [], "skipped": []})}
    out.update(more.get("given", {}))
    return out


def a_cut_stream_is_resumed(checks):
    first = [sse("status", {"phase": "running"}), log("stdout", 0, "hello", "1:5:0"),
             log("stderr", 0, "oh", "1:5:2"), b"event: log\nid: 1:9:2\ndata: {\"stre"]
    second = [b": keep-alive\n\n", log("stdout", 3, "lo wor", "1:9:2")]
    third = [log("stdout", 9, "ld", "1:11:2"), sse("end", END)]
    fake = FakeMayflyd(routes(given={LOGS: [
        lambda ask: ask.stream(first, whole=False), lambda ask: ask.stream(second, whole=False),
        lambda ask: ask.problem(503, "shutting-down", "Not now."),
        lambda ask: ask.stream(third)]}))
    with fake:
        done = mayfly(fake.url, "run", "--", "true")
    checks.equal("a stream that is cut three times gives every byte once", done.out,
                 b"hello world")
    checks.check("stderr came to stderr, and what we say begins a line",
                 b"\noh\nmayfly:" in done.err, done)
    checks.equal("and the end is the run's", done.code, 0)
    resumed = [headers.get("Last-Event-ID") for _, path, headers in fake.asked
               if path.startswith(LOGS[1])]
    checks.equal("it resumed where it was", resumed, [None, "1:5:2", "1:9:2", "1:9:2"])
    checks.check("and said so", b"trying again" in done.err and b"is back" in done.err, done)


def what_comes_is_shown_at_once(checks):
    seen = threading.Event()

    def pieces():
        yield log("stdout", 0, "first\n", "1:6:0")
        seen.wait(30)
        yield sse("end", END)

    fake = FakeMayflyd(routes(given={LOGS: lambda ask: ask.stream(pieces())}))
    with fake, tempfile.TemporaryDirectory() as folder:
        started = Started(fake.url, folder, "run", "--", "true")
        checks.check("what comes is shown at once, not when more has come",
                     wait_for(lambda: started.out() == b"first\n", 10), started.out())
        seen.set()
        checks.equal("and the end ends it", started.wait().code, 0)


def a_new_attempt_begins_again(checks):
    fake = FakeMayflyd(routes(given={LOGS: [
        lambda ask: ask.stream([log("stdout", 0, "first\n", "1:6:0"),
                                sse("restart", {"attempt": 2})], whole=False),
        lambda ask: ask.stream([log("stdout", 0, "second\n", "2:7:0"), sse("end", END)])]}))
    with fake:
        done = mayfly(fake.url, "run", "--", "true")
    checks.equal("a new attempt's output is from its start", done.out, b"first\nsecond\n")
    checks.check("the person hears of it", b"attempt 2 begins" in done.err, done)
    checks.equal("it resumes in the new attempt",
                 fake.asked[2][2].get("Last-Event-ID"), "2:0:0")


def a_lost_answer_doubles_nothing(checks):
    fake = FakeMayflyd(routes(given={CREATE: [
        lambda ask: ask.hang_up(), lambda ask: ask.problem(503, "overloaded", "Too many."),
        lambda ask: ask.json(200, RUN)]}))
    with fake, tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(300_000))
        file.flush()
        done = mayfly(fake.url, "run", "--stdin", "-", "--file", file.name + "=x", "--", "true",
                      given=b"typed" * 50_000)
    keys = [headers["Idempotency-Key"] for method, _, headers in fake.asked if method == "POST"]
    bodies = [body for body in fake.bodies if body]
    checks.equal("a lost answer is asked for again", (done.code, len(keys)), (0, 3))
    checks.equal("with one key", len(set(keys)), 1)
    checks.check("and the same bytes, standard input too",
                 len(bodies) == 3 and len(set(bodies)) == 1 and b"typed" * 50_000 in bodies[0],
                 [len(body) for body in bodies])
    checks.check("that it had been heard before is said", b"submitted before" in done.err, done)


def refuse_early(ask):
    """Before the body was read, as mayflyd does it."""
    ask.problem(413, "body-too-large", "The body may be at most 5 bytes long.")
    ask.wfile.flush()
    ask.connection.shutdown(socket.SHUT_WR)
    while ask.connection.recv(65536):
        pass


def a_refusal_is_heard_before_all_is_sent(checks):
    fake = FakeMayflyd(routes(given={("EARLY", "/v1/runs"): refuse_early}))
    with fake, tempfile.NamedTemporaryFile() as file:
        file.truncate(50 << 20)
        done = mayfly(fake.url, "run", "--file", file.name + "=x", "--", "true")
    checks.equal("a refusal while the body is sent is exit code 123", done.code, 123)
    checks.check("and its reason is shown", b"at most 5 bytes" in done.err, done)


def artifact(path, content, sha256=None):
    return {"path": path, "size": len(content), "mode": "0644",
            "sha256": sha256 or hashlib.sha256(content).hexdigest()}


def nothing_is_saved_outside(checks):
    content = b"evil"
    hostile = ["../evil", "/tmp/mayfly-evil", "a/../../evil", "link/evil", "..", "", "a//evil",
               "./evil", "x" * 300]
    good = ["ok.txt", "deep/er/ok.txt", "esc\x1b[31m.txt", "link2"]
    listing = {"artifacts": [artifact(path, content) for path in hostile + good], "skipped": []}
    fake = FakeMayflyd(routes(given={LISTING: lambda ask: ask.json(200, listing)}))
    class Everything(dict):
        def get(self, key, default=None):
            if key[1].startswith(LISTING[1] + "/"):
                return lambda ask: ask.bytes(200, content)
            return dict.get(self, key, default)
    fake.routes = Everything(fake.routes)
    with fake, tempfile.TemporaryDirectory() as folder:
        out, outside = os.path.join(folder, "out"), os.path.join(folder, "outside")
        os.mkdir(out)
        os.mkdir(outside)
        os.symlink(outside, os.path.join(out, "link"))
        with open(os.path.join(outside, "mine"), "w", encoding="utf-8") as file:
            file.write("mine")
        os.symlink(os.path.join(outside, "mine"), os.path.join(out, "link2"))
        done = mayfly(fake.url, "artifacts", "get", ID, "--out", out)
        found = sorted(os.path.relpath(os.path.join(at, name), folder)
                       for at, _, names in os.walk(folder) for name in names)
        checks.equal("hostile names are exit code 125", done.code, 125)
        checks.equal("only what has a plain path is saved, and nothing outside", found,
                     sorted(["outside/mine"] + ["out/" + path for path in good]))
        with open(os.path.join(outside, "mine"), encoding="utf-8") as file:
            checks.equal("a link is replaced, not followed", file.read(), "mine")
        checks.equal("each refusal is told", done.err.count(b"not saved")
                     + done.err.count(b"cannot be saved"), len(hostile))
        checks.check("no name steers the terminal", b"\x1b" not in done.err + done.out, done)
        run = mayfly(fake.url, "run", "--out", out, "--", "true")
        checks.equal("run says so by its code too", run.code, 125)
    checks.check("nothing in /tmp either", not os.path.exists("/tmp/mayfly-evil"))


def what_comes_damaged_is_not_saved(checks):
    listing = {"artifacts": [artifact("cut", b"12345"), artifact("wrong", b"12345")]}
    fake = FakeMayflyd(routes(given={
        LISTING: lambda ask: ask.json(200, listing),
        ("GET", LISTING[1] + "/wrong"): lambda ask: ask.bytes(200, b"54321"),
        ("GET", LISTING[1] + "/cut"): [
            lambda ask: ask.stream([b"12"], whole=False), lambda ask: ask.bytes(200, b"12345")]}))
    with fake, tempfile.TemporaryDirectory() as out:
        done = mayfly(fake.url, "artifacts", "get", ID, "--out", out)
        with open(os.path.join(out, "cut"), "rb") as file:
            checks.equal("a file that was cut is fetched again, from its start", file.read(),
                         b"12345")
        checks.equal("one with another sum is not there", os.listdir(out), ["cut"])
    checks.check("and that is told", done.code == 125 and b"SHA-256" in done.err, done)


def texts_do_not_steer(checks):
    nasty = "a\x1b[31mb\x9b2J\u202ec\nd"
    run = json.loads(json.dumps(RUN))
    run["spec"]["labels"] = {"k": nasty}
    run["spec"]["command"] = [nasty]
    run["status"].update(phase="failed", reason="Odd" + nasty, message=nasty)
    fake = FakeMayflyd(routes(given={
        ("GET", "/v1/runs"): lambda ask: ask.bytes(
            200, json.dumps({"runs": [run], "next_cursor": None}, ensure_ascii=False).encode()),
        SHOW: lambda ask: ask.bytes(200, json.dumps(run, ensure_ascii=False).encode()),
        ("POST", f"/v1/runs/{ID}/cancel"): lambda ask: ask.problem(409, "already-finished",
                                                                   nasty)}))
    bad = ["\x1b[31mb", "\x9b", "\u202e"]
    with fake:
        for arguments in (["ps"], ["get", ID], ["cancel", ID], ["ps", "--json"],
                          ["get", ID, "--json"]):
            terminal = OnTerminal(fake.url, *arguments)
            terminal.wait()
            screen = terminal.screen.decode()
            checks.check(f"{' '.join(arguments[:1] + arguments[2:])}: no text of a run steers "
                         "the terminal", not any(text in screen for text in bad), screen)
        raw = mayfly(fake.url, "get", ID, "--json")
        checks.equal("without a terminal, JSON is as it came", json.loads(raw.out), run)


def what_is_not_mayflyd_is_told(checks):
    fake = FakeMayflyd({("GET", "/v1/runs"): lambda ask: ask.bytes(
        502, b"<html>Bad Gateway</html>", "text/html")})
    with fake:
        done = mayfly(fake.url, "ps")
        checks.check("a proxy's page", done.code == 123 and b"not one of mayflyd" in done.err,
                     done)
        doctor = mayfly(fake.url, "doctor")
        checks.check("doctor says so", doctor.code == 1 and b"fix:" in doctor.out, doctor)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def talk():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=talk, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = mayfly(url, "ps")
        checks.check("something that speaks no HTTP",
                     done.code == 124 and b"mayflyd" in done.err, done)
        doctor = mayfly(url, "doctor")
        checks.check("and the doctor says the fix", doctor.code == 1 and b"--url" in doctor.out,
                     doctor)
        listener.shutdown(socket.SHUT_RDWR)


def events_resume(checks):
    def status(number):
        return sse("status", {"id": number, "at": "2026-03-01T12:00:00.123Z", "type": "running",
                              "run_id": ID, "labels": {}, "phase": "running"}, number)
    fake = FakeMayflyd({("GET", "/v1/events"): [
        lambda ask: ask.stream([sse("hello", {"oldest": 1, "newest": 41}, 41), status(42)],
                               whole=False),
        lambda ask: ask.stream([status(43), status(44)])]})
    with fake:
        done = mayfly(fake.url, "events", "--json", "--count", "3", "--label", "a=b c")
        numbers = [json.loads(line)["id"] for line in done.out.splitlines()]
        checks.equal("events go on where they were cut", numbers, [42, 43, 44])
        checks.equal("by the last one's number", [h.get("Last-Event-ID") for _, _, h in
                                                  fake.asked], [None, "42"])
        checks.equal("with the same filter", {path for _, path, _ in fake.asked},
                     {"/v1/events?label=a%3Db%20c"})
        fake.routes[("GET", "/v1/events")] = lambda ask: ask.problem(
            410, "events-gone", "Those events are not kept any more.")
        gone = mayfly(fake.url, "events", "--since", "1")
        checks.check("events that are gone say what to do",
                     gone.code == 123 and b"mayfly ps" in gone.err, gone)


def main():
    checks = Checks()
    for test in (a_cut_stream_is_resumed, what_comes_is_shown_at_once,
                 a_new_attempt_begins_again, a_lost_answer_doubles_nothing,
                 a_refusal_is_heard_before_all_is_sent, nothing_is_saved_outside,
                 what_comes_damaged_is_not_saved, texts_do_not_steer,
                 what_is_not_mayflyd_is_told, events_resume):
        checks.step(test, checks)
    checks.finish()


if __name__ == "__main__":
    main()
