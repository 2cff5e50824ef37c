#!/usr/bin/env python3
"""Webhooks of a real mayflyd on a real engine, received by servers of this test on loopback.

    webhooks.py

Signed so that anybody can verify it; delivered again after errors, timeouts and kill -9; given up
after the bound; never to an address that the operator has not allowed, whatever name leads there;
no redirect followed; TLS only with a certificate that is trusted; and the secret is nowhere to be
seen.
"""

import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
from certificates import Authority  # noqa: E402
from checks import Checks, wait_for  # noqa: E402
from daemon import ApiError, BUILD, Mayflyd  # noqa: E402

SECRET = "Xq7-not-for-anybodys-eyes-Zw3"
TOKEN = "tok3n-in-the-query"
LOOPBACK = ["--webhook-allow-network", "127.0.0.0/8,::1"]
SPEC = {"image": "mayfly-test/busybox:1", "command": ["sh", "-c", "exit 3"]}
CHECKS = Checks()


class Receiver:
    """An HTTP server on loopback that remembers what it got. `answers` is what it says, one after
    the other and then for ever the last: (status, {header: value}), or an Event that is waited for
    before it says 200."""

    def __init__(self, answers=((200, {}),), tls=None, port=0):
        self.got = []
        self.answers = list(answers)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append({"path": self.path, "headers": dict(self.headers),
                                     "body": body})
                answer = (receiver.answers.pop(0) if len(receiver.answers) > 1
                          else receiver.answers[0])
                if isinstance(answer, threading.Event):
                    answer.wait(60)
                    answer = (200, {})
                try:
                    self.send_response(answer[0])
                    for name, value in answer[1].items():
                        self.send_header(name, value)
                    self.end_headers()
                except OSError:
                    pass  # the other side has gone

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.handle_error = lambda *_: None  # of a handshake that was refused
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def url(self, host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.port}/hook?{TOKEN}"

    def ids(self):
        return [one["headers"]["Mayfly-Event-Id"] for one in self.got]


class RawReceiver:
    """Accepts connections on loopback, reads the request, and lets `speak(socket)` answer."""

    def __init__(self, speak):
        self.speak = speak
        self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                try:
                    connection.recv(65536)
                    self.speak(connection)
                except OSError:
                    pass  # cut by the other side, which is what is tested

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def told(url, **more):
    return {**SPEC, "webhook": {"url": url, "secret": SECRET, **more}}


def daemon(folder, name, flags=()):
    return Mayflyd(os.path.join(folder, name), os.environ["DOCKER_HOST"], flags)


def counted(mayflyd, result):
    return mayflyd.client.metrics()[f'mayfly_webhook_deliveries_total{{result="{result}"}}']


def explained(mayflyd, run):
    """What an explanation says of the webhook: (state, tries, last error, has it a next try?)."""
    answer = json.loads(mayflyd.client.expect((200,), "GET", f"/v1/runs/{run['id']}/explain"))
    told_of = answer["webhook"]
    return (told_of["state"], told_of["tries"], told_of["last_error"],
            told_of["next_try_at"] is not None)


def log_of(mayflyd):
    with open(mayflyd.log_path, encoding="utf-8", errors="replace") as file:
        return file.read()


def refused(mayflyd, spec):
    """The problem of a submission that is not accepted, or None."""
    try:
        mayflyd.client.submit(spec)
        return None
    except ApiError as error:
        return error.problem if error.status == 400 else None


def test_signed(mayflyd):
    with Receiver() as receiver:
        run = mayflyd.client.submit(told(receiver.url()))
        ended = mayflyd.client.wait(run["id"])
        CHECKS.check("the end of a run is told", wait_for(lambda: receiver.got, 10))
        got = receiver.got[0]
        event, headers = json.loads(got["body"]), got["headers"]
        CHECKS.equal("the body is the event",
                     [event["type"], event["run_id"], event["phase"], event["reason"],
                      event["exit_code"], event["revision"]],
                     ["finished", run["id"], "failed", "NonZeroExit", 3, event["revision"]])
        CHECKS.equal("the event's id is in the header", headers["Mayfly-Event-Id"],
                     str(event["id"]))
        CHECKS.equal("the first try says so", headers["Mayfly-Delivery-Try"], "1")
        CHECKS.check("the time is now", abs(time.time() - int(headers["Mayfly-Timestamp"])) < 30)
        signed = hmac.new(SECRET.encode(),
                          headers["Mayfly-Timestamp"].encode() + b"." + got["body"],
                          hashlib.sha256).hexdigest()
        CHECKS.equal("the signature is that of time and body", headers["Mayfly-Signature"],
                     "v1=" + signed)
        CHECKS.equal("path and query arrive", got["path"], f"/hook?{TOKEN}")
        CHECKS.equal("the content is JSON", headers["Content-Type"], "application/json")
        CHECKS.check("the sender says who it is", headers["User-Agent"].startswith("mayfly/"))
        CHECKS.equal("a spec comes back without its secret", ended["spec"]["webhook"],
                     {"url": receiver.url(), "on": ["finished"], "signed": True})
        CHECKS.check("it is counted",
                     wait_for(lambda: counted(mayflyd, "delivered") == 1
                              and mayflyd.client.metrics()["mayfly_webhook_pending"] == 0, 10))
        CHECKS.equal("once", len(receiver.got), 1)
        CHECKS.equal("the explanation says so", explained(mayflyd, run),
                     ("delivered", 1, None, False))


def test_unsigned_and_all(mayflyd):
    with Receiver() as receiver:
        spec = {**SPEC, "webhook": {"url": receiver.url("localhost"), "on": ["all"]}}
        run = mayflyd.client.submit(spec)
        CHECKS.equal("without a secret nothing is signed", run["spec"]["webhook"]["signed"], False)
        CHECKS.check("every event arrives", wait_for(
            lambda: receiver.got and b'"finished"' in receiver.got[-1]["body"], 30))
        types = [json.loads(one["body"])["type"] for one in receiver.got]
        wanted = ["created", "preparing", "running", "harvesting", "finished"]
        CHECKS.equal("in the order in which they happened",
                     [name for name in types if name != "pending"], wanted)
        CHECKS.check("and none has a signature",
                     all("Mayfly-Signature" not in one["headers"] for one in receiver.got))


def test_again(mayflyd):
    with Receiver([(500, {}), (404, {}), (503, {"Retry-After": "1"}), (204, {})]) as receiver:
        mayflyd.client.submit(told(receiver.url()))
        CHECKS.check("a delivery comes again after 500, 404 and 503",
                     wait_for(lambda: len(receiver.got) == 4, 60), receiver.ids())
        CHECKS.equal("under the same id", len(set(receiver.ids())), 1)
        CHECKS.equal("each try with its number",
                     [one["headers"]["Mayfly-Delivery-Try"] for one in receiver.got],
                     ["1", "2", "3", "4"])
        CHECKS.equal("with the same body", len({one["body"] for one in receiver.got}), 1)
        CHECKS.check("and is then done",
                     wait_for(lambda: mayflyd.client.metrics()["mayfly_webhook_pending"] == 0, 10))
        CHECKS.equal("each failure is counted", counted(mayflyd, "failed"), 3)


def test_timeout(mayflyd):
    never = threading.Event()
    with Receiver([never, (200, {})]) as receiver:
        mayflyd.client.submit(told(receiver.url()))
        CHECKS.check("a receiver that hangs is asked again",
                     wait_for(lambda: len(receiver.got) == 2, 30))
        never.set()
    CHECKS.check("the log says that it took too long",
                 "not done within 1000 ms" in log_of(mayflyd), mayflyd.log_tail())


def test_parallel(mayflyd):
    never = threading.Event()
    with Receiver([never]) as slow, Receiver() as quick:
        mayflyd.client.submit(told(slow.url()))
        CHECKS.check("a slow receiver is being asked", wait_for(lambda: slow.got, 20))
        mayflyd.client.submit(told(quick.url()))
        CHECKS.check("another one does not wait for it", wait_for(lambda: quick.got, 20))
        never.set()
        CHECKS.check("and the slow one is told in the end",
                     wait_for(lambda: mayflyd.client.metrics()["mayfly_webhook_pending"] == 0,
                              60))


def test_redirect(mayflyd):
    with Receiver() as other:
        with Receiver([(302, {"Location": other.url()}), (410, {})]) as receiver:
            mayflyd.client.submit(told(receiver.url()))
            CHECKS.check("a redirect is a failure that comes again",
                         wait_for(lambda: len(receiver.got) == 2, 30))
            CHECKS.check("410 is given up at once",
                         wait_for(lambda: counted(mayflyd, "given_up") == 1, 10))
        CHECKS.equal("no redirect is followed", other.got, [])
        CHECKS.check("the log says so", "redirects are not followed" in log_of(mayflyd))


def test_deleted(mayflyd):
    with Receiver([(500, {}), (200, {})]) as receiver:
        run = mayflyd.client.submit(told(receiver.url()))
        mayflyd.client.wait(run["id"])
        CHECKS.check("the first try fails", wait_for(lambda: receiver.got, 10))
        mayflyd.client.expect((202, 204), "DELETE", f"/v1/runs/{run['id']}")
        CHECKS.check("a run that was deleted is still told of",
                     wait_for(lambda: len(receiver.got) == 2, 30))


def test_main(folder):
    with daemon(folder, "main", [*LOOPBACK, "--webhook-timeout-s", "1"]) as mayflyd:
        for test in (test_signed, test_unsigned_and_all, test_again, test_timeout, test_parallel,
                     test_redirect, test_deleted):
            CHECKS.step(test, mayflyd)
        shown = mayflyd.client.expect((200,), "GET", "/v1/runs?limit=100").decode()
        shown += mayflyd.client.expect((200,), "GET", "/metrics").decode()
        ids = [run["id"] for run in json.loads(
            mayflyd.client.expect((200,), "GET", "/v1/runs?limit=100"))["runs"]]
        explanations = [f"/v1/runs/{run_id}/explain" for run_id in ids]
        for path in ("/", "/v1/engines", "/v1/doctor", *explanations):
            shown += mayflyd.client.expect((200,), "GET", path).decode()
        CHECKS.check("the secret is in no answer", SECRET not in shown)
    log = log_of(mayflyd)
    CHECKS.check("nor in the log", SECRET not in log)
    CHECKS.check("and no query is in the log", TOKEN not in log)
    CHECKS.check("but where it went to is", "to=http://127.0.0.1:" in log, log[-2000:])


def test_killed(folder):
    """kill -9 after the terminal commit and before the answer: told again, never lost."""
    hold = threading.Event()
    with Receiver([hold, (200, {})]) as receiver:
        mayflyd = daemon(folder, "killed", [*LOOPBACK, "--webhook-timeout-s", "60"])
        with mayflyd:
            run = mayflyd.client.submit(told(receiver.url()))
            mayflyd.client.wait(run["id"])
            CHECKS.check("a delivery is under way", wait_for(lambda: receiver.got, 10))
            mayflyd.kill()
            hold.set()
            mayflyd.start()
            CHECKS.check("after kill -9 in the middle of a delivery it is sent again",
                         wait_for(lambda: len(receiver.got) == 2, 20))
            CHECKS.equal("as the same event", len(set(receiver.ids())), 1)
    with Receiver() as away:
        port = away.port
    mayflyd = daemon(folder, "killed", LOOPBACK)
    with mayflyd:
        run = mayflyd.client.submit(told(away.url()))
        mayflyd.client.wait(run["id"])
        mayflyd.kill()
        with Receiver(port=port) as back:
            mayflyd.start()
            CHECKS.check("one whose receiver was away at kill -9 is told when both are back",
                         wait_for(lambda: back.got, 20), mayflyd.log_tail())


def drip(connection):
    """A head that never ends, a byte at a time."""
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def flood(head):
    def speak(connection):
        connection.sendall(head)
        while True:
            connection.sendall(b"x" * 65536)
    return speak


def test_hostile(folder):
    """Receivers that do not behave hold a try for its time, and nothing longer."""
    cases = (("says nothing and closes", lambda _: None, "closed the connection"),
             ("speaks no HTTP", lambda to: to.sendall(b"220 smtp ready\r\n\r\n"),
              "waiting for an answer"),
             ("drips its answer", drip, "not done within 1000 ms"),
             ("floods the head", flood(b"HTTP/1.1 200 OK\r\nX: "), "header limit exceeded"),
             ("answers 1xx for ever", flood(b"HTTP/1.1 103 Early\r\n\r\n" * 100), "answered 103"))
    with daemon(folder, "hostile", [*LOOPBACK, "--webhook-timeout-s", "1",
                                    "--webhook-tries-max", "1"]) as mayflyd:
        for number, (sentence, speak, says) in enumerate(cases, 1):
            with RawReceiver(speak) as receiver:
                mayflyd.client.submit(told(receiver.url))
                CHECKS.check(f"a receiver that {sentence} is a failed try",
                             wait_for(lambda: counted(mayflyd, "given_up") == number, 15))
                CHECKS.check("with the reason in the log", says in log_of(mayflyd),
                             mayflyd.log_tail(4))
        for sentence, speak in (
                ("floods the body", flood(b"HTTP/1.1 200 OK\r\n\r\n")),
                ("hints early", lambda to: to.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n"
                                                      b"HTTP/1.1 204 No Content\r\n\r\n"))):
            delivered = counted(mayflyd, "delivered")
            with RawReceiver(speak) as receiver:
                mayflyd.client.submit(told(receiver.url))
                CHECKS.check(f"a receiver that {sentence} is told all the same",
                             wait_for(lambda: counted(mayflyd, "delivered") == delivered + 1, 15),
                             mayflyd.log_tail(4))
        CHECKS.check("and its memory stays small", mayflyd.resident_bytes() < 200 << 20,
                     mayflyd.resident_bytes())


def test_bound(folder):
    with Receiver([(500, {})]) as receiver:
        flags = [*LOOPBACK, "--webhook-tries-max", "2"]
        with daemon(folder, "bound", flags) as mayflyd:
            waiting = mayflyd.client.submit({**told(receiver.url()),
                                             "command": ["sleep", "1"]})
            CHECKS.equal("a run that has not ended waits to be told of",
                         explained(mayflyd, waiting), ("waiting", 0, None, False))
            CHECKS.check("one that failed is explained with its next try", wait_for(
                lambda: explained(mayflyd, waiting) == ("pending", 1, "answered 500", True), 30))
            CHECKS.check("after the last try it is given up",
                         wait_for(lambda: counted(mayflyd, "given_up") == 1, 30))
            CHECKS.equal("with as many tries as are allowed", len(receiver.got), 2)
            CHECKS.check("the explanation says why", wait_for(
                lambda: explained(mayflyd, waiting) == ("given_up", 2, "answered 500", False), 10))
            CHECKS.check("and nothing is pending", wait_for(
                lambda: mayflyd.client.metrics()["mayfly_webhook_pending"] == 0, 10))
            CHECKS.check("the log says so", "webhook given up" in log_of(mayflyd))


def test_not_allowed(folder):
    with Receiver() as receiver, daemon(folder, "closed") as mayflyd:
        for host in ("127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:127.0.0.1]",
                     "0.0.0.0"):
            problem = refused(mayflyd, told(receiver.url(host)))
            CHECKS.check(f"{host} is refused when a run is submitted",
                         problem and problem["errors"][0]["field"] == "webhook.url"
                         and "public internet" in problem["errors"][0]["message"], problem)
        problem = refused(mayflyd, told(receiver.url("127.1")))
        CHECKS.check("and so is another spelling", problem is not None, problem)
        run = mayflyd.client.submit(told(receiver.url("localhost")))
        CHECKS.equal("the run itself is not held up by it",
                     mayflyd.client.wait(run["id"])["status"]["phase"], "failed")
        CHECKS.check("a name that leads to loopback is refused when it is resolved",
                     wait_for(lambda: counted(mayflyd, "refused") >= 1, 20))
        CHECKS.check("the log says which address, and the option",
                     "loopback address" in log_of(mayflyd), mayflyd.log_tail())
        CHECKS.check("with the option", "--webhook-allow-network" in log_of(mayflyd))
        CHECKS.equal("and nothing was sent", receiver.got, [])


def test_off(folder):
    with daemon(folder, "off", ["--webhooks", "off"]) as mayflyd:
        problem = refused(mayflyd, told("https://example.com/"))
        CHECKS.check("where webhooks are off a run with one is refused, with the reason",
                     problem and "switched webhooks off" in problem["errors"][0]["message"],
                     problem)
        run = mayflyd.client.submit(SPEC)
        CHECKS.equal("and one without is as ever",
                     mayflyd.client.wait(run["id"])["status"]["phase"], "failed")


def test_tls(folder):
    authority = Authority(os.path.join(folder, "pki"))
    ca_file = authority.file
    with Receiver(tls=authority.certificate("localhost")) as good, \
            Receiver(tls=authority.certificate("other.example")) as wrong:
        with daemon(folder, "tls", [*LOOPBACK, "--webhook-ca-file", ca_file]) as mayflyd:
            mayflyd.client.submit(told(good.url("localhost", "https")))
            CHECKS.check("a receiver with a certificate of the CA file is told",
                         wait_for(lambda: good.got, 20), mayflyd.log_tail())
            mayflyd.client.submit(told(wrong.url("localhost", "https")))
            CHECKS.check("one with another name in its certificate is not",
                         wait_for(lambda: counted(mayflyd, "failed") >= 1, 20))
            mayflyd.client.submit(told(good.url("127.0.0.1", "https")))
            CHECKS.check("nor one that is called by an address that is not in it",
                         wait_for(lambda: counted(mayflyd, "failed") >= 2, 20))
        CHECKS.equal("once", len(good.got), 1)
        with daemon(folder, "no-ca", LOOPBACK) as mayflyd:
            mayflyd.client.submit(told(good.url("localhost", "https")))
            CHECKS.check("without the CA file it is not trusted",
                         wait_for(lambda: "is not trusted" in log_of(mayflyd), 20),
                         mayflyd.log_tail())
        CHECKS.equal("and nothing arrived", (len(good.got), wrong.got), (1, []))


def test_options(folder):
    for flags, says in ((["--webhook-allow-network", "10.0.0.1/8"], "beyond its first 8"),
                        (["--webhook-allow-network", "home"], "is no network"),
                        (["--webhook-ca-file", "/nowhere.pem"], "/nowhere.pem"),
                        (["--webhook-timeout-s", "0"], "webhook-timeout-s"),
                        (["--webhooks", "maybe"], "on,off")):
        done = subprocess.run([os.path.join(BUILD, "mayflyd"), "--data-dir",
                               os.path.join(folder, "options"), "--listen", "127.0.0.1:0",
                               "--docker-host", os.environ["DOCKER_HOST"], *flags],
                              capture_output=True, text=True, timeout=20, check=False)
        CHECKS.check(f"{' '.join(flags)} is refused at the start",
                     done.returncode == 2 and says in done.stdout + done.stderr,
                     (done.returncode, done.stdout, done.stderr))


def main():
    folder = tempfile.mkdtemp(prefix="mayfly-webhooks-")
    for test in (test_main, test_killed, test_hostile, test_bound, test_not_allowed, test_off,
                 test_tls, test_options):
        CHECKS.step(test, folder)
    CHECKS.finish(folder)


if __name__ == "__main__":
    main()
