#!/usr/bin/env python3
"""Through a socket proxy that lets through what the operator's guide lists, and nothing else.

Runs that end well, that fail, that are cancelled, and one whose image is nowhere, with the sweep
running: no call of mayflyd is refused. What the guide lists is also all that mayflyd has a metric
for, and nothing in it is there in vain.
"""
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../support"))
sys.path.insert(0, os.path.join(HERE, "../crash"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from rig import instance_of, wait_nothing_left  # noqa: E402

GUIDE = os.path.join(ROOT, "deploy", "README.md")
IMAGE = "mayfly-test/busybox:1"
# Called after a crash in the middle of a start, and when a prepared image has become old.
RARE = {("GET", "/volumes/*"), ("HEAD", "/containers/*/archive"), ("DELETE", "/images/*")}


def listed():
    """[(method, pattern)] of the guide's table."""
    found = []
    with open(GUIDE, encoding="utf-8") as file:
        for line in file:
            row = re.match(r"\| `(GET|HEAD|POST|PUT|DELETE)` \| (.*) \|$", line)
            if row:
                found += [(row[1], pattern) for pattern in re.findall(r"`([^`]+)`", row[2])]
    return found


def matches(pattern, path):
    """`*` is one name; an image's name may have slashes, escaped or not."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), path) is not None


class AllowingProxy(FaultProxy):
    """Answers with an error whatever is not allowed, and remembers both."""

    def __init__(self, listen, engine, allowed):
        self.allowed, self.refused, self.used = allowed, [], set()
        super().__init__(listen, engine)

    def choose(self, method, path):
        plain = re.sub(r"^/v\d+\.\d+/", "/", path.partition("?")[0])
        found = {(of, pattern) for of, pattern in self.allowed
                 if of == method and matches(pattern, plain)}
        self.used |= found
        if found:
            return None, None
        self.refused.append((method, plain))
        return "error_before", None


def shell(script, **more):
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def play(checks, daemon):
    client = daemon.client
    well = client.submit(shell("echo said; echo kept > output/a.txt"))["id"]
    bad = client.submit(shell("exit 3"))["id"]
    nowhere = client.submit({**shell("true"), "image": "mayfly-test/nowhere:1"})["id"]
    stopped = client.submit(shell("trap '' TERM; sleep 60"))["id"]
    wait_for(lambda: client.get(stopped)["status"]["phase"] == "running", 60)
    client.cancel(stopped)
    ends = [client.wait(run_id)["status"]["phase"] for run_id in (well, bad, nowhere, stopped)]
    checks.equal("runs end as without a proxy", ends,
                 ["succeeded", "failed", "failed", "cancelled"])
    checks.equal("with what they left", client.artifact(well, "a.txt"), b"kept\n")


def main():
    checks = Checks()
    allowed = listed()
    checks.check("the guide has a table of endpoints", len(allowed) > 15, allowed)
    folder = tempfile.mkdtemp(prefix="mayfly-proxy-")
    engine = os.environ["DOCKER_HOST"].removeprefix("unix://")
    proxy = AllowingProxy(os.path.join(folder, "proxy.sock"), engine, allowed)
    with Mayflyd(os.path.join(folder, "data"), proxy.host, ("--sweep-every-s", "1")) as daemon:
        checks.step(play, checks, daemon)
        left = wait_nothing_left(EngineApi(), instance_of(daemon))
        checks.check("nothing of it is left", not any(left), left)
        # The sweep has looked, too.
        wait_for(lambda: ("GET", "/volumes") in proxy.used, 30)
        metrics = daemon.client.metrics()
    proxy.close()
    checks.equal("no call was refused", proxy.refused, [])
    checks.equal("nothing is allowed in vain", set(allowed) - proxy.used - RARE, set())
    # A log that is followed is counted apart; to a proxy it is the same endpoint.
    called = {tuple(re.search(r'endpoint="([^"?]*)', name)[1].split(" ", 1)) for name in metrics
              if name.startswith("mayfly_engine_calls_total") and "other" not in name}
    checks.equal("and it is all that mayflyd counts",
                 {(method, re.sub(r"\{\w+\}", "*", path)) for method, path in called},
                 set(allowed))
    checks.finish(folder)


if __name__ == "__main__":
    main()
