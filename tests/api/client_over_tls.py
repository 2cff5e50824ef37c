#!/usr/bin/env python3
"""mayfly over https: all that it does over http, and nothing at all to one who cannot prove to be
the host that was meant."""

import asyncio
import os
import ssl
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from certificates import Authority  # noqa: E402
from checks import Checks, wait_for  # noqa: E402
from client_meets_others import CREATE, END, LOGS, refuse_early, routes  # noqa: E402
from client_rig import Started, mayfly  # noqa: E402
from daemon import Mayflyd  # noqa: E402
from fake_mayflyd import FakeMayflyd, log, sse  # noqa: E402

BUSYBOX = "mayfly-test/busybox:1"
INPUT = os.urandom(3_000_000)
QUICKLY_S = 20  # and not the two minutes for which one that is gone is tried again


class Front:
    """What an operator puts before mayflyd: it ends TLS, and passes bytes on."""

    def __init__(self, port, tls):
        self.port_behind = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*tls)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.soon(asyncio.start_server(self.connect, "127.0.0.1", 0,
                                                     ssl=self.context))
        self.port = self.server.sockets[0].getsockname()[1]

    def soon(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def connect(self, reader, writer):
        back, forth = await asyncio.open_connection("127.0.0.1", self.port_behind)
        sending = asyncio.ensure_future(self.pump(reader, forth))
        await self.pump(back, writer)
        sending.cancel()
        writer.close()
        forth.close()

    @staticmethod
    async def pump(source, sink):
        try:
            while piece := await source.read(65536):
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass  # one of them has gone


def whole_runs(checks, daemon, authority):
    with Front(daemon.port, authority.certificate("localhost")) as front, \
            tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "in"), "wb") as file:
            file.write(INPUT)
        url = f"https://localhost:{front.port}"
        trust = ["--ca-file", authority.file]
        done = mayfly(url, "run", *trust, "--image", BUSYBOX, "--limit", "log=8MiB", "--file",
                      f"{folder}/in=in", "--out", f"{folder}/out", "--", "sh", "-c",
                      "cat in; echo err >&2; cp in output/; exit 7")
        checks.equal("a run over https ends with its script's code", done.code, 7)
        checks.check("its input, its output and its error went whole",
                     done.out == INPUT and b"err\n" in done.err,
                     (len(done.out), done.err[-500:]))
        with open(f"{folder}/out/in", "rb") as file:
            checks.check("and its artifact came home", file.read() == INPUT)
        known = mayfly(url, "ps", MAYFLY_CA_FILE=authority.file)
        checks.check("MAYFLY_CA_FILE does the same", known.code == 0 and b"exit code 7" in
                     known.out, known)
        known = mayfly(url, "ps", SSL_CERT_FILE=authority.file)
        checks.equal("so does what OpenSSL itself reads", known.code, 0)
        started = Started(url, folder, "run", "-q", *trust, "--image", BUSYBOX, "--", "sh", "-c",
                          "echo first; sleep 600")
        checks.check("output comes while the script runs",
                     wait_for(lambda: started.out() == b"first\n"), started.err())
        started.process.terminate()
        checks.equal("and a signal cancels it", started.wait().code, 121)


def nobody_else_is_told_anything(checks, authority):
    other = Authority(os.path.join(authority.folder, "other"))
    with tempfile.NamedTemporaryFile() as no_file:
        no_file.write(b"no certificate\n")
        no_file.flush()
        # sentence, certificate, --ca-file, exit code, what is said
        cases = [
            ("a certificate of an authority that nobody knows", authority.certificate("localhost"),
             None, 124, [b"certificate", b"--ca-file"]),
            ("one of another authority", other.certificate("localhost"), authority.file, 124,
             [b"certificate", b"--ca-file"]),
            ("one for another name", authority.certificate("other.example"), authority.file, 124,
             [b"ostname mismatch", b"who answers"]),
            ("one for an address, when a name was meant",
             authority.certificate("127.0.0.1", "IP"), authority.file, 124, [b"mismatch"]),
            ("a CA file that holds none", authority.certificate("localhost"), no_file.name, 125,
             [b"--ca-file", b"PEM"]),
            ("a CA file that is not there", authority.certificate("localhost"), "/no/such", 125,
             [b"--ca-file /no/such", b"o such file"]),
        ]
        for sentence, tls, ca_file, code, said in cases:
            trust = ["--ca-file", ca_file] if ca_file else []
            with FakeMayflyd(routes(), tls) as fake:
                began = time.monotonic()
                done = mayfly(fake.url, "run", *trust, "--", "true")
                checks.check(f"{sentence}: refused, and why",
                             done.code == code and all(text in done.err for text in said), done)
                checks.check(f"{sentence}: at once, and nothing was sent",
                             not fake.asked and time.monotonic() - began < QUICKLY_S, fake.asked)
                doctor = mayfly(fake.url, "doctor", *trust)
                checks.check(f"{sentence}: the doctor says the fix",
                             doctor.code == 1 and b"fix:" in doctor.out, doctor)


def addresses_are_names_too(checks, authority):
    with FakeMayflyd(routes(), authority.certificate("127.0.0.1", "IP")) as fake:
        url = fake.url.replace("localhost", "127.0.0.1")
        done = mayfly(url, "run", "--ca-file", authority.file, "--", "true")
        checks.equal("a certificate for an address is good for that address", done.code, 0)


def one_that_speaks_no_tls(checks, authority):
    with FakeMayflyd(routes()) as fake:
        done = mayfly(fake.url.replace("http://", "https://"), "ps")
        checks.check("https to one that speaks none says what to do",
                     done.code == 124 and b"say http://" in done.err, done)
    with FakeMayflyd(routes(), authority.certificate("localhost")) as fake:
        done = mayfly(fake.url.replace("https://", "http://"), "ps")
        checks.check("http to one that wants https is told as well",
                     done.code == 124 and not fake.asked, done)


def streams(checks, authority):
    tls = authority.certificate("localhost")
    seen = threading.Event()

    def pieces():
        yield log("stdout", 0, "first\n", "1:6:0")
        seen.wait(30)
        yield sse("end", END)

    with FakeMayflyd(routes(given={LOGS: lambda ask: ask.stream(pieces())}), tls) as fake, \
            tempfile.TemporaryDirectory() as folder:
        started = Started(fake.url, folder, "run", "--ca-file", authority.file, "--", "true")
        checks.check("what comes is shown at once", wait_for(lambda: started.out() == b"first\n",
                                                             10), started.err())
        seen.set()
        checks.equal("and the end ends it", started.wait().code, 0)
    cut = [lambda ask: ask.stream([log("stdout", 0, "hello", "1:5:0")], whole=False),
           lambda ask: ask.stream([log("stdout", 5, " world", "1:11:0"), sse("end", END)])]
    with FakeMayflyd(routes(given={LOGS: cut}), tls) as fake:
        done = mayfly(fake.url, "run", "--ca-file", authority.file, "--", "true")
        checks.equal("a stream that is cut is resumed", (done.code, done.out),
                     (0, b"hello world"))
    with FakeMayflyd(routes(given={("EARLY", CREATE[1]): refuse_early}), tls) as fake, \
            tempfile.NamedTemporaryFile() as file:
        file.truncate(50 << 20)
        done = mayfly(fake.url, "run", "--ca-file", authority.file, "--file", file.name + "=x",
                      "--", "true")
        checks.check("a refusal is heard before all is sent",
                     done.code == 123 and b"at most 5 bytes" in done.err, done)


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-tls-")
    authority = Authority(os.path.join(folder, "pki"))
    with Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"],
                 ["--pull-policy", "never", "--term-grace-ms", "200"]) as daemon:
        checks.step(whole_runs, checks, daemon, authority)
    for test in (nobody_else_is_told_anything, addresses_are_names_too, one_that_speaks_no_tls,
                 streams):
        checks.step(test, checks, authority)
    checks.finish(folder)


if __name__ == "__main__":
    main()
