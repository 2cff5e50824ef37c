#!/usr/bin/env python3
"""PID 1 in real containers, made by hand here with the sandbox's whole profile: the program and
the layout of /work are tested without the rest of the controller.

    MAYFLY_TEST_ENGINE=unix:///path/to/engine.sock tests/engine/init_in_container.py [--build DIR]

DIR (default build/release) holds mayfly-init and mayfly-init-hostile. Needs /bin/busybox (static).
Prints one line per case; exits 1 when one failed. Removes what it made.
"""

import argparse
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import pathlib
import socket
import sys
import tarfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN_UID = 10001
CLAIM_MTIME_S = 1_000_000_000
LABEL = {"mayfly.test": "init-in-container"}
MIB = 1 << 20


class Engine:
    """The Docker Engine API over its unix socket; one connection a call."""

    def __init__(self, url):
        if not url or not url.startswith("unix://"):
            sys.exit("MAYFLY_TEST_ENGINE must name an engine's socket: unix:///path")
        self.path = url.removeprefix("unix://")

    def call(self, method, target, body=None, ok=(200, 201, 204), timeout_s=60, **query):
        connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(self.path)
        headers = {}
        if isinstance(body, (dict, list)):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif body is not None:
            headers["Content-Type"] = "application/x-tar"
        if query:
            target += "?" + urllib.parse.urlencode(query)
        with contextlib.closing(connection):
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = response.read()
        if response.status not in ok:
            raise RuntimeError(f"{method} {target}: {response.status} {content[:300]!r}")
        return response, content

    def json(self, method, target, body=None, **more):
        return json.loads(self.call(method, target, body, **more)[1] or b"null")


def tar_of(entries):
    """entries: (name, type, mode, uid, mtime, content or link)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, mode, uid, mtime, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, uid, mtime
            if kind == tarfile.SYMTYPE:
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def folder(name, mode):
    return (name, tarfile.DIRTYPE, mode, 0, 0, b"")


def input_tar(stdin=None, files=()):
    entries = [
        folder(".mayfly", 0o755),
        (".mayfly/claim", tarfile.REGTYPE, 0o622, 0, CLAIM_MTIME_S, b""),
        folder("output", 0o1777),
        folder("output/.mayfly", 0o1777),
    ]
    if stdin is not None:
        entries.append((".mayfly/stdin", tarfile.REGTYPE, 0o644, 0, 0, stdin))
    for name, mode, content in files:
        entries.append((name, tarfile.REGTYPE, mode, RUN_UID, 0, content))
    return tar_of(entries)


def busybox_tar():
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    entries = [folder("bin", 0o755), ("bin/busybox", tarfile.REGTYPE, 0o755, 0, 0, busybox)]
    applets = "sh cat ln rm mv mkdir mkfifo touch sleep seq yes dd grep id"
    for applet in applets.split():
        entries.append((f"bin/{applet}", tarfile.SYMTYPE, 0o777, 0, 0, "busybox"))
    return tar_of(entries)


class World:
    """Images made once, containers and volumes made per case; all removed at the end."""

    def __init__(self, engine, build):
        self.engine = engine
        self.init = (build / "mayfly-init").read_bytes()
        self.hostile = (build / "mayfly-init-hostile").read_bytes()
        self.images, self.containers, self.volumes = [], [], []
        self.count = 0
        self.tag = f"mayfly-init-test-{os.getpid()}"
        program = ("hostile", tarfile.REGTYPE, 0o755, 0, 0, self.hostile)
        self.busybox = self.prepare("busybox", busybox_tar(), [program])
        self.scratch = self.prepare("scratch", tar_of([program]), [])

    def prepare(self, name, rootfs, more):
        """A base image, and the prepared image that every run of it gets."""
        base = f"{self.tag}-{name}:base"
        self.engine.call("POST", "/images/create", rootfs, fromSrc="-",
                         repo=base.split(":")[0], tag="base")
        self.images.append(base)
        made = self.engine.json("POST", "/containers/create",
                                {"Image": base, "Cmd": ["/never-started"], "Labels": LABEL})["Id"]
        self.containers.append(made)
        layer = [folder("work", 0o1777), folder(".mayfly", 0o755),
                 (".mayfly/init", tarfile.REGTYPE, 0o555, 0, 0, self.init), *more]
        self.engine.call("PUT", f"/containers/{made}/archive", tar_of(layer), path="/")
        prepared = self.engine.json("POST", "/commit", {"Labels": LABEL}, container=made,
                                    repo=base.split(":")[0], tag="prepared")["Id"]
        self.images.append(prepared)
        return prepared

    def create(self, argv, image=None, volume=None, stdin=None, files=(), memory=64 * MIB, pids=64,
               run_ms=20_000, grace_ms=1_000, log_bytes=MIB, work_bytes=64 * MIB, put=True):
        self.count += 1
        name = f"{self.tag}-{self.count}"
        volume = volume or name
        flags = [f"--run-ms={run_ms}", f"--grace-ms={grace_ms}", f"--log-bytes={log_bytes}",
                 f"--work-bytes={work_bytes}"] + (["--stdin"] if stdin is not None else [])
        body = {
            "Image": image or self.busybox,
            "Entrypoint": ["/.mayfly/init", *flags, "--"],
            "Cmd": argv,
            "User": f"{RUN_UID}:{RUN_UID}",
            "WorkingDir": "/work",
            "Env": ["HOME=/tmp", "PATH=/bin:/usr/bin", "MAYFLY_RUN_ID=r", "MAYFLY_ATTEMPT=1"],
            "Labels": LABEL,
            "StopSignal": "SIGTERM",
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": "none", "ReadonlyRootfs": True, "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"], "IpcMode": "private", "ShmSize": MIB,
                "Memory": memory, "MemorySwap": memory, "NanoCpus": 1_000_000_000,
                "PidsLimit": pids, "RestartPolicy": {"Name": "no"},
                "Ulimits": [{"Name": n, "Soft": v, "Hard": v} for n, v in
                            {"nofile": 1024, "core": 0, "fsize": 64 * MIB, "cpu": 120}.items()],
                "Tmpfs": {"/tmp": "rw,size=16m,nr_inodes=4096,noexec,nosuid,nodev,mode=1777"},
                "LogConfig": {"Type": "local", "Config": {"max-size": "40m", "max-file": "2",
                                                          "compress": "false"}},
                "Mounts": [{"Type": "volume", "Source": volume, "Target": "/work",
                            "VolumeOptions": {"Labels": LABEL}}],
            },
        }
        made = self.engine.json("POST", "/containers/create", body, name=name)["Id"]
        self.containers.append(made)
        if volume not in self.volumes:
            self.volumes.append(volume)
        if put:
            self.engine.call("PUT", f"/containers/{made}/archive", input_tar(stdin, files),
                             path="/work")
        return Container(self.engine, made, volume)

    def run(self, argv, **more):
        container = self.create(argv, **more)
        container.start()
        return container.finish()

    def sh(self, script, **more):
        return self.run(["/bin/sh", "-c", script], **more)

    def hostile_run(self, *arguments, **more):
        return self.run(["/hostile", *map(str, arguments)], **more)

    def remove_all(self):
        gone = (200, 204, 404, 409)
        for container in reversed(self.containers):
            self.engine.call("DELETE", f"/containers/{container}", ok=gone, force=1, v=1)
        for volume in self.volumes:
            self.engine.call("DELETE", f"/volumes/{volume}", ok=gone)
        for image in reversed(self.images):
            self.engine.call("DELETE", f"/images/{image}", ok=gone, force=1)


class Entry:
    info, content = None, None  # TarInfo; bytes of a regular file


class Container:
    def __init__(self, engine, container_id, volume):
        self.engine, self.id, self.volume = engine, container_id, volume

    def start(self):
        self.engine.call("POST", f"/containers/{self.id}/start", ok=(204,))

    def kill(self, signal):
        self.engine.call("POST", f"/containers/{self.id}/kill", signal=signal)

    def stop(self, timeout_s):
        self.engine.call("POST", f"/containers/{self.id}/stop", t=timeout_s)

    def wait_for_log(self, text, patience_s=20):
        until = time.monotonic() + patience_s
        while text not in self.logs("stdout"):
            if time.monotonic() > until:
                raise RuntimeError(f"no {text!r} in the log")
            time.sleep(0.05)

    def logs(self, stream):
        raw = self.engine.call("GET", f"/containers/{self.id}/logs", **{stream: 1})[1]
        pieces, at = [], 0
        while at < len(raw):
            length = int.from_bytes(raw[at + 4:at + 8], "big")
            pieces.append(raw[at + 8:at + 8 + length])
            at += 8 + length
        return b"".join(pieces)

    def archive(self):
        """name -> Entry, of /work/output"""
        raw = self.engine.call("GET", f"/containers/{self.id}/archive", path="/work/output")[1]
        entries = {}
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            for info in tar:
                entry = entries[info.name] = Entry()
                entry.info = info
                entry.content = tar.extractfile(info).read() if info.isreg() else None
        return entries

    def head(self, path):
        response, _ = self.engine.call("HEAD", f"/containers/{self.id}/archive", path=path)
        return json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))

    def claim_touched(self):
        return not self.head("/work/.mayfly/claim")["mtime"].startswith("2001-09-09")

    def finish(self):
        self.engine.call("POST", f"/containers/{self.id}/wait", timeout_s=120)
        state = self.engine.json("GET", f"/containers/{self.id}/json")["State"]
        return Result(self, state)


class Result:
    def __init__(self, container, state):
        self.container, self.state = container, state
        self.exit_code = state["ExitCode"]
        self.out, self.err = container.logs("stdout"), container.logs("stderr")
        self.files = container.archive()
        record = self.files.get("output/.mayfly/exit.json")
        self.record = json.loads(record.content) if record is not None else None


def equal(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: {got!r}, not {expected!r}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


# ------------------------------------------------------------------------------------------- cases


def case_plain(w):
    """a script with input, stdin, output and result"""
    r = w.sh("cat; cat in.txt; echo warn >&2; echo report > output/r.txt; echo '{}' > result.json;"
             "exit 3",
             stdin=b"from stdin\n", files=[("in.txt", 0o644, b"from a file\n")])
    equal(r.exit_code, 3, "exit code")
    equal(r.out, b"from stdin\nfrom a file\n", "stdout")
    equal(r.err, b"warn\n", "stderr")
    equal(r.record["exit_code"], 3, "recorded exit code")
    equal(r.record["stdout"], {"total": 23, "kept": 23, "note": 0}, "stdout count")
    equal(r.record["term_from_outside"], False, "term_from_outside")
    equal(r.files["output/r.txt"].content, b"report\n", "artifact")
    equal(r.files["output/.mayfly/result.json"].content, b"{}\n", "result")
    check(r.container.claim_touched(), "the claim was not taken")
    check(0 < r.record["wall_us"] < 20e6 and r.record["cpu_us"] > 0, "no times")
    check(r.record["memory_peak_bytes"] > 0, "no memory peak")


def case_unclaimed(w):
    """a container that was never started has an untouched claim"""
    c = w.create(["/bin/true"])
    check(not c.claim_touched(), "the claim is touched")


def case_scratch(w):
    """an empty image with one static program"""
    r = w.hostile_run("pattern", 40, image=w.scratch)
    equal(r.exit_code, 0, "exit code")
    equal(r.out, bytes(range(256)) * 40, "stdout")
    equal(r.record["exit_code"], 0, "recorded")
    r = w.run(["sh", "-c", "true"], image=w.scratch)
    equal((r.exit_code, r.record["exec_errno"]), (127, 2), "a missing command")
    equal(r.err, b"mayfly: cannot run 'sh': No such file or directory\n", "what it says")


def case_small_memory(w):
    """16 MiB of memory and 4 processes are enough"""
    r = w.sh("seq 100000; exit 5", memory=16 * MIB, pids=4, log_bytes=64 * MIB)
    equal(r.exit_code, 5, "exit code")
    equal(r.record["stdout"]["total"], 588_895, "printed")
    # A log budget that the memory could not hold: the tail takes an eighth of the memory.
    r = w.run(["/bin/yes", "x" * 1_000], memory=16 * MIB, log_bytes=24 * MIB, run_ms=10_000)
    equal((r.exit_code, r.record["tripped"]), (143, "timeout"), "yes, with a large log budget")
    equal(r.record["stdout"]["kept"], 12 * MIB + 2 * MIB, "kept")
    equal(len(r.out), 14 * MIB + r.record["stdout"]["note"], "bytes in the log")
    equal(r.state["OOMKilled"], False, "OOMKilled")


def case_binary(w):
    """every byte arrives as it was printed"""
    r = w.hostile_run("pattern", 2_000, log_bytes=MIB)
    equal(hashlib.sha256(r.out).hexdigest(),
          hashlib.sha256(bytes(range(256)) * 2_000).hexdigest(), "stdout's hash")


def case_log_cap(w):
    """printing for ever: head, note and tail are in the engine's log, the rest is counted"""
    r = w.run(["/bin/yes"], run_ms=2_000, log_bytes=200_000)
    s = r.record["stdout"]
    equal(s["kept"], 200_000, "kept")
    equal(len(r.out), s["kept"] + s["note"], "bytes in the log")
    check(s["total"] > 10 * MIB, f"only {s['total']} printed")
    dropped = s["total"] - s["kept"]
    check(f"\n[mayfly: {dropped} bytes not kept]\n".encode() in r.out, "no note")
    equal((r.exit_code, r.record["tripped"]), (143, "timeout"), "end")


def case_kill_term(w):
    """docker kill -s TERM is a TERM from outside, also when the script exits 0 on it"""
    c = w.create(["/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"])
    c.start()
    c.wait_for_log(b"ready")
    c.kill("TERM")
    r = c.finish()
    equal(r.exit_code, 0, "exit code")
    equal(r.record["term_from_outside"], True, "term_from_outside")
    equal(r.record["tripped"], "", "tripped")


def case_stop(w):
    """docker stop: TERM from outside, then PID 1 kills the deaf before the engine does"""
    c = w.create(["/hostile", "deaf"], grace_ms=500)
    c.start()
    c.wait_for_log(b"ready")
    c.stop(20)
    r = c.finish()
    equal((r.exit_code, r.record["signal"]), (137, 9), "end")
    equal(r.record["term_from_outside"], True, "term_from_outside")


def case_kill_kill(w):
    """docker kill leaves no record"""
    c = w.create(["/hostile", "deaf"])
    c.start()
    c.wait_for_log(b"ready")
    c.kill("KILL")
    r = c.finish()
    equal((r.exit_code, r.record), (137, None), "exit code and record")
    check(c.claim_touched(), "the claim was not taken")


def case_forged_term(w):
    """TERM from inside, however it is dressed, is not from outside"""
    r = w.hostile_run("forge-term")
    equal(r.exit_code, 0, "exit code")
    equal(r.record["term_from_outside"], False, "term_from_outside")


def case_attack(w):
    """nothing inside gets at PID 1"""
    r = w.hostile_run("attack")
    check(b": open" not in r.out, r.out.decode())
    check(b"still here" in r.out, r.out.decode())
    equal((r.exit_code, r.record["exit_code"]), (0, 0), "exit code")


def case_oom(w):
    """out of memory kills the script, not PID 1"""
    r = w.hostile_run("eat", 300 * MIB, memory=32 * MIB)
    equal((r.exit_code, r.record["signal"]), (137, 9), "end")
    check(r.record["oom_kills"] >= 1, "no kill for memory was counted")
    check(r.record["memory_peak_bytes"] > 16 * MIB, "peak")
    # Whom it kills is the kernel's choice: while the child is dying, the shell may be next.
    for _ in range(8):
        r = w.sh("/hostile eat 300000000; echo child: $?; exit 0", memory=32 * MIB)
        check(r.record["oom_kills"] >= 1, "no kill for memory was counted")
        if r.out:
            break
        equal((r.exit_code, r.record["signal"]), (137, 9), "a script that dies with its child")
    equal((r.exit_code, r.out), (0, b"child: 137\n"), "a script that survives its child")


def case_deadline(w):
    """the deadline holds without anybody outside"""
    begun = time.monotonic()
    r = w.hostile_run("deaf", run_ms=1_000, grace_ms=500)
    equal((r.exit_code, r.record["tripped"]), (137, "timeout"), "end")
    check(1.5 < time.monotonic() - begun < 15, "time")


def case_fork_bomb(w):
    """a fork bomb inside its process limit ends at the deadline, with a record"""
    r = w.hostile_run("fork-bomb", run_ms=1_500, grace_ms=200, pids=64)
    equal((r.exit_code, r.record["tripped"]), (137, "timeout"), "end")


def case_work_limit(w):
    """too much in /work"""
    r = w.sh("dd if=/dev/zero of=big bs=1M count=20 2>/dev/null; sleep 1000", work_bytes=8 * MIB)
    equal((r.exit_code, r.record["tripped"]), (143, "work_bytes"), "end")
    check(r.record["work_bytes"] >= 20 * MIB, "measure")


def case_second_start(w):
    """a second POST /start of the same container runs nothing"""
    c = w.create(["/bin/sh", "-c", "echo ran >> output/times"])
    c.start()
    c.finish()
    c.start()
    r = c.finish()
    equal(r.exit_code, 86, "exit code")
    equal(r.files["output/times"].content, b"ran\n", "times")


def case_second_container(w):
    """a second container on the same volume runs nothing, also after the inputs came again"""
    c = w.create(["/bin/sh", "-c", "echo ran >> output/times; rm -rf .mayfly; mv .mayfly x;"
                  "touch -d @1000000000 .mayfly/claim; : > .mayfly/claim; exit 0"])
    c.start()
    c.finish()
    other = w.create(["/bin/sh", "-c", "echo ran >> output/times"], volume=c.volume, put=False)
    check(other.claim_touched(), "the claim looks untaken from the second container")
    other.start()
    r = other.finish()
    equal(r.exit_code, 86, "exit code")
    equal(r.files["output/times"].content, b"ran\n", "times")


def case_sandbox(w):
    """what a script finds: no privileges, read-only root, clean descriptors"""
    r = w.sh("id -u; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status;"
             "touch /x 2>/dev/null || echo read-only; /hostile fds; cat /proc/self/oom_score_adj")
    lines = r.out.decode().split("\n")
    equal(lines[0], str(RUN_UID), "uid")
    text = r.out.decode().replace("\t", " ")
    for line in ("CapBnd: 0000000000000000", "CapEff: 0000000000000000", "NoNewPrivs: 1",
                 "Seccomp: 2", "read-only", "0\n1\n2\n1000"):
        check(line in text, f"{line!r} is not in {text!r}")


def case_obstacles(w):
    """obstacles in the record's place, a FIFO for a result, hard links in output/"""
    r = w.sh("mkdir -p output/.mayfly/exit.json/x; mkfifo result.json; ln -s /etc output/etc;"
             "echo same > output/a; ln output/a output/b; mkfifo output/f; exit 6")
    equal((r.exit_code, r.record["exit_code"]), (6, 6), "exit code")
    check(r.files["output/.mayfly/result.json"].info.isdir(), "the result is not a folder")
    equal(r.files["output/b"].info.linkname, "output/a", "the second name links to the first")
    check(r.files["output/etc"].info.issym(), "a link is no link")
    check(r.files["output/f"].info.isfifo(), "a FIFO is no FIFO")


def case_layout(w):
    """the folders keep their owner and mode"""
    r = w.sh("exit 0")
    for name, mode in (("output", 0o1777), ("output/.mayfly", 0o1777)):
        info = r.files[name].info
        equal((info.uid, info.mode & 0o7777), (0, mode), name)
    work = r.container.head("/work/")
    check(work["mode"] & 0o777 == 0o777 and work["mode"] & (1 << 20), f"mode of /work: {work}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    engine = Engine(os.environ.get("MAYFLY_TEST_ENGINE") or os.environ.get("DOCKER_HOST"))
    cases = [(name, value) for name, value in globals().items()
             if name.startswith("case_") and options.only in name]
    failed = 0
    world = World(engine, options.build)
    try:
        for _, case in cases:
            begun = time.monotonic()
            try:
                case(world)
                print(f"ok    {case.__doc__} ({time.monotonic() - begun:.1f} s)", flush=True)
            except Exception as error:  # noqa: BLE001 - each case is told, whatever it met
                failed += 1
                print(f"FAIL  {case.__doc__}: {type(error).__name__}: {error}", flush=True)
    finally:
        world.remove_all()
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
