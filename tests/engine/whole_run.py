#!/usr/bin/env python3
"""Whole runs through mayflyd on a real engine: every ending, every kind of image, the contract."""

import hashlib
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import ApiError, Mayflyd  # noqa: E402

BUSYBOX = "mayfly-test/busybox:1"
PYTHON = "mayfly-test/python:1"


def shell(script, image=BUSYBOX, **more):
    return {"image": image, "command": ["sh", "-c", script], **more}


# sentence, spec, phase, reason
ENDINGS = [
    ("a script that exits with 0 succeeds", shell("exit 0"), "succeeded", "Completed"),
    ("a script that exits with 3 fails", shell("exit 3"), "failed", "NonZeroExit"),
    ("a script's own 137 is its own", shell("exit 137"), "failed", "NonZeroExit"),
    ("a script's own 86 is its own", shell("exit 86"), "failed", "NonZeroExit"),
    ("a script that dies of a signal fails", {"image": BUSYBOX, "command": [
        "sh", "-c", "kill -SEGV $$"]}, "failed", "Signaled"),
    ("a command that is not in the image is not started", {"image": BUSYBOX, "command": [
        "no-such-program"]}, "failed", "CommandNotStarted"),
    ("a script over its time is stopped", shell("sleep 60", limits={"timeout_s": 1}),
     "timed_out", "RunTimeout"),
    ("one that ignores TERM is killed", shell("trap '' TERM; sleep 60 & wait; sleep 60",
                                              limits={"timeout_s": 1}), "timed_out", "RunTimeout"),
    ("a script over its memory is killed",
     shell("dd if=/dev/zero of=/dev/null bs=200M count=1", limits={"memory_bytes": 33554432}),
     "failed", "OutOfMemory"),
    ("a script over its work limit is stopped",
     shell("for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=f$i bs=1M count=8; sleep .3; done; "
           "sleep 30", limits={"work_bytes": 16777216}), "failed", "WorkLimit"),
    ("a script with more artifact bytes than allowed fails",
     shell("dd if=/dev/zero of=output/f bs=1M count=4", limits={"artifact_bytes": 1048576}),
     "failed", "ArtifactLimit"),
    ("a script with more artifacts than allowed fails",
     shell("cd output; touch 1 2 3 4", limits={"artifact_files": 3}), "failed", "ArtifactLimit"),
    ("an image that is not there and cannot be pulled ends the run",
     shell("true", image="mayfly-test/missing:1"), "failed", "ImageUnavailable"),
    ("an image that declares a volume is refused",
     shell("true", image="mayfly-test/volume:1"), "failed", "ImageUnsupported"),
    ("an image of another architecture is refused",
     shell("true", image="mayfly-test/arch:1"), "failed", "ImageUnsupported"),
    ("a Python image runs a Python script", {
        "image": PYTHON, "command": ["python3", "s.py"],
        "files": [{"path": "s.py", "content": "print(sum(range(9)), 'hi')"}]},
     "succeeded", "Completed"),
    ("an image's own ENTRYPOINT, USER root and WORKDIR have no say",
     shell('[ "$(id -u)" = 10001 ] && [ "$PWD" = /work ]', image="mayfly-test/entrypoint:1"),
     "succeeded", "Completed"),
    ("an image FROM scratch with one static program runs",
     {"image": "mayfly-test/scratch:1", "command": ["/hello"]}, "succeeded", "Completed"),
    ("`loopback` resolves localhost", shell("ping -c1 -W1 localhost || grep localhost /etc/hosts",
                                            network="loopback"), "succeeded", "Completed"),
    ("`none` has lo up and nothing else",
     shell('[ "$(ls /sys/class/net)" = lo ] && ifconfig lo | grep -q UP'), "succeeded",
     "Completed"),
    ("environment, home and run id are set",
     shell('[ "$A" = "1 2" ] && [ "$HOME" = /tmp ] && [ ${#MAYFLY_RUN_ID} = 26 ] && '
           '[ "$MAYFLY_ATTEMPT" = 1 ]', env={"A": "1 2"}), "succeeded", "Completed"),
    ("standard input is what was given, and then ends",
     shell('[ "$(cat)" = given ]', stdin="given"), "succeeded", "Completed"),
    ("without stdin it is at its end at once", shell('[ -z "$(cat)" ]'), "succeeded",
     "Completed"),
    ("modes of inputs are kept", {"image": BUSYBOX, "command": ["/work/bin/x"], "files": [
        {"path": "bin/x", "content": "#!/bin/sh\n[ -w in/y ] && [ ! -x in/y ]", "mode": "0755"},
        {"path": "in/y", "content": "1"}]}, "succeeded", "Completed"),
]


def endings(checks, daemon):
    runs = [(case, daemon.client.submit(case[1])["id"]) for case in ENDINGS]
    for (sentence, _, phase, reason), run_id in runs:
        status = daemon.client.wait(run_id)["status"]
        checks.check(sentence, (status["phase"], status["reason"]) == (phase, reason),
                     json.dumps(status))


def contract(checks, daemon):
    script = r"""
import json, os, sys
print("out"); print("err", file=sys.stderr)
os.makedirs("output/deep/er")
open("output/deep/er/\u00e9 \"q\".bin", "wb").write(bytes(range(256)) * 100)
os.symlink("/etc/passwd", "output/link"); os.mkfifo("output/fifo")
os.link("output/deep/er/\u00e9 \"q\".bin", "output/hard")
open(b"output/bad\xff\nname", "w").write("x")
os.chmod("output/hard", 0o4711)
json.dump({"rows": 3}, open("result.json", "w"))
open("unkept", "w").write("not an artifact")
"""
    run = daemon.client.submit({"image": PYTHON, "command": ["python3", "-c", script],
                                "limits": {"timeout_s": 30}})
    ended = daemon.client.wait(run["id"])
    status = ended["status"]
    checks.equal("it succeeded", status["phase"], "succeeded")
    checks.equal("result.json comes back as `result`", status["result"], {"rows": 3})
    checks.equal("stdout is kept", daemon.client.logs(run["id"]), b"out\n")
    checks.equal("stderr is kept apart", daemon.client.logs(run["id"], "stderr"), b"err\n")
    kept = {a["path"]: a for a in daemon.client.artifacts(run["id"])}
    content = bytes(range(256)) * 100
    checks.equal("regular files under output/ are artifacts, whatever their names",
                 sorted(kept), ["deep/er/\u00e9 \"q\".bin", "hard"])
    for path, artifact in kept.items():
        checks.equal(f"{path}: sha256 and bytes are those that were written",
                     (artifact["sha256"], daemon.client.artifact(run["id"], path)),
                     (hashlib.sha256(content).hexdigest(), content))
    checks.equal("links, devices and bad names are skipped, and counted",
                 status["skipped_count"], 3)
    checks.check("clocks, CPU and memory are told",
                 status["clocks_ms"]["run"] is not None and status["cpu_ms"] > 0 and
                 status["memory_peak_bytes"] > 0, status)


def output_caps(checks, daemon):
    total, kept = 3_000_000, 65_536
    run = daemon.client.submit(shell(
        f"echo head; yes | head -c {total - 10}; echo tail", limits={"log_bytes": kept}))
    status = daemon.client.wait(run["id"])["status"]
    log = daemon.client.logs(run["id"])
    checks.equal("a run is never failed for printing", status["phase"], "succeeded")
    checks.equal("what was printed is counted, what was kept is capped, the flag is set",
                 (status["stdout"]["bytes_total"], status["stdout"]["truncated"],
                  len(log) <= kept + 200), (total, True, True))
    checks.check("head and tail are kept", log.startswith(b"head\n") and log.endswith(b"tail\n"),
                 (log[:40], log[-40:]))
    binary = daemon.client.submit({"image": PYTHON, "command": [
        "python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"]})
    daemon.client.wait(binary["id"])
    checks.equal("binary output is kept byte for byte", daemon.client.logs(binary["id"]),
                 bytes(range(256)) * 1000)


def cancel_and_delete(checks, daemon):
    client = daemon.client
    run = client.submit(shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep .1; done"))
    wait_for(lambda: client.get(run["id"])["status"]["phase"] == "running")
    client.cancel(run["id"])
    status = client.wait(run["id"])["status"]
    checks.equal("a cancelled run is cancelled although its script exits with 0",
                 (status["phase"], status["reason"]), ("cancelled", "CancelRequested"))
    checks.check("its script was told with TERM, and its output is kept",
                 client.logs(run["id"]) == b"up\nbye\n", client.logs(run["id"]))
    client.expect((202, 204), "DELETE", f"/v1/runs/{run['id']}")
    checks.equal("a deleted run is gone", client.request("GET", f"/v1/runs/{run['id']}")[0], 404)
    folder = os.path.join(daemon.data_dir, "spool", run["id"])
    checks.check("and so are its files", wait_for(lambda: not os.path.exists(folder)), folder)
    running = client.submit(shell("sleep 30"))
    wait_for(lambda: client.get(running["id"])["status"]["phase"] == "running")
    checks.equal("a running run cannot be deleted",
                 client.request("DELETE", f"/v1/runs/{running['id']}")[0], 409)
    client.cancel(running["id"])
    client.wait(running["id"])


def expiry(checks, daemon):
    run = daemon.client.submit(shell("true", ttl_s=1))
    daemon.client.wait(run["id"])
    gone = wait_for(lambda: daemon.client.request("GET", f"/v1/runs/{run['id']}")[0] == 404)
    checks.check("a run goes when its ttl_s is over", gone)


def refusals(checks, daemon):
    for sentence, spec, code in [
            ("over a ceiling", shell("true", limits={"memory_bytes": 1 << 50}), 400),
            ("an unknown field", shell("true", binds=["/:/host"]), 400),
            ("a runtime that the operator does not allow", shell("true", runtime="runsc"), 403),
            ("a path that climbs", shell("true", files=[{"path": "../x", "content": ""}]), 400)]:
        try:
            daemon.client.submit(spec)
            checks.check(f"{sentence} is refused", False, "accepted")
        except ApiError as error:
            checks.equal(f"{sentence} is refused with {code}", error.status, code)


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-whole-run-")
    engine = EngineApi()
    with Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"],
                 ["--max-running", "6", "--pull-policy", "missing"]) as daemon:
        for function in (endings, contract, output_caps, cancel_and_delete, expiry, refusals):
            checks.step(function, checks, daemon)
        wait_for(lambda: engine.owned() == ([], []))
        checks.equal("nothing is left on the engine", engine.owned(), ([], []))
        checks.equal("SIGTERM ends it well", daemon.stop(), 0)
    checks.finish(folder)


if __name__ == "__main__":
    main()
