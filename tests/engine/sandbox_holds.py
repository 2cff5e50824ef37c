#!/usr/bin/env python3
"""A running container against every line of the sandbox, and a script that tries to get out."""

import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

PYTHON = "mayfly-test/python:1"
LIMITS = {"memory_bytes": 64 << 20, "cpus": 0.5, "pids": 32, "work_bytes": 8 << 20,
          "tmp_bytes": 1 << 20, "timeout_s": 60}

# Each attempt: what it tries, and how. An exception, None or False is a refusal.
# It prints one JSON object: {what: "refused: ..." | "DONE: ..."}.
ESCAPE = r"""
import ctypes, errno, json, os, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(what, action):
    try:
        outcome = action()
    except Exception as error:
        found[what] = f"refused: {error}"
        return
    found[what] = f"DONE: {outcome}" if outcome not in (None, False) else "refused"
def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "ok"
def connect(address):
    with socket.create_connection(address, 1):
        return "connected"
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return "written"
attempt("be root", lambda: os.setuid(0))
attempt("give itself groups", lambda: os.setgroups([0]))
attempt("write to the root file system", lambda: write("/etc/x", "x"))
attempt("write to /.mayfly", lambda: write("/.mayfly/x", "x"))
attempt("replace PID 1's program", lambda: write("/.mayfly/init", "x"))
attempt("run a program from /tmp", lambda: (
    write("/tmp/x", "#!/bin/sh\n"), os.chmod("/tmp/x", 0o755),
    subprocess.run(["/tmp/x"], check=True)
)[0])
attempt("find the docker socket", lambda: [p for p in ("/var/run/docker.sock", "/run/docker.sock")
                                           if os.path.exists(p)] or None)
attempt("reach the network", lambda: connect(("10.0.0.1", 80)))
attempt("see another interface than lo", lambda: [i for _, i in socket.if_nameindex() if i != "lo"]
        or None)
attempt("open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("open a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("mount", lambda: syscall(165, b"none", b"/work", b"tmpfs", 0, None))
attempt("unshare a user namespace", lambda: syscall(272, 0x10000000))
attempt("trace PID 1", lambda: syscall(101, 16, 1, 0, 0))
attempt("read PID 1's memory", lambda: open("/proc/1/mem", "rb").read(1))
attempt("open PID 1's stdout", lambda: open("/proc/1/fd/1", "w"))
attempt("load a kernel module", lambda: syscall(175, 0, 0, b""))
attempt("use keyctl", lambda: syscall(250, 0, 0, 0, 0, 0))
attempt("use bpf", lambda: syscall(321, 0, 0, 0))
attempt("trigger sysrq", lambda: write("/proc/sysrq-trigger", "h"))
attempt("open /dev/mem", lambda: open("/dev/mem", "rb"))
attempt("list block devices", lambda: [d for d in os.listdir("/dev") if d.startswith(("sd", "vd"))]
        or None)
attempt("make a device node", lambda: os.mknod("/work/d", 0o060666, os.makedev(254, 0)))
attempt("set the clock", lambda: syscall(227, 0, ctypes.byref((ctypes.c_long * 2)(0, 0))))
attempt("undo the claim", lambda: os.unlink("/work/.mayfly/claim"))
attempt("rename the claim's folder", lambda: os.rename("/work/.mayfly", "/work/x"))
attempt("reset the claim's time", lambda: os.utime("/work/.mayfly/claim", (10**9, 10**9)))
attempt("remove output/", lambda: os.rename("/work/output", "/work/x"))
attempt("write to the host's kernel settings", lambda: write("/proc/sys/kernel/hostname", "x"))
attempt("open a file over its size limit", lambda: os.truncate(
    os.open("/work/big", os.O_CREAT | os.O_RDWR), 1 << 40))
def kill_init(number):
    os.kill(1, number)
attempt("kill PID 1", lambda: kill_init(9))
attempt("stop PID 1", lambda: kill_init(19))
def fork_all():
    children = 0
    try:
        while children < 200:
            if os.fork() == 0:
                libc.pause(); os._exit(0)
            children += 1
    except OSError:
        return None
    return children
attempt("fork without bound", fork_all)
with open("/proc/self/status") as status:
    lines = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
found["capabilities"] = lines["CapBnd"] + lines["CapEff"]
found["no_new_privs"] = lines["NoNewPrivs"]
found["seccomp"] = lines["Seccomp"]
found["uid"] = lines["Uid"]
print(json.dumps(found))
"""


def against_the_engine(checks, daemon, engine):
    run = daemon.client.submit({"image": PYTHON, "command": ["sleep", "30"], "limits": LIMITS})
    wait_for(lambda: daemon.client.get(run["id"])["status"]["phase"] == "running")
    facts = engine.inspect(engine.container_of(run["id"]))
    host, config = facts["HostConfig"], facts["Config"]
    mounts = facts["Mounts"]
    wanted = {
        "user": (config["User"], "10001:10001"),
        "working directory": (config["WorkingDir"], "/work"),
        "PID 1 is ours": (config["Entrypoint"][0], "/.mayfly/init"),
        "no health check": ((config.get("Healthcheck") or {}).get("Test"), ["NONE"]),
        "no terminal": ((config["Tty"], config["OpenStdin"]), (False, False)),
        "network off": ((config.get("NetworkDisabled"), host["NetworkMode"]), (True, "none")),
        "read-only root": (host["ReadonlyRootfs"], True),
        "not privileged": (host["Privileged"], False),
        "no capabilities": ((host["CapDrop"], host["CapAdd"] or []), (["ALL"], [])),
        "no new privileges": ("no-new-privileges" in str(host["SecurityOpt"]), True),
        "memory": (host["Memory"], LIMITS["memory_bytes"]),
        "no swap": (host["MemorySwap"], LIMITS["memory_bytes"]),
        "CPU": (host["NanoCpus"], 500_000_000),
        "pids": (host["PidsLimit"], LIMITS["pids"]),
        "OOM killer on": (host["OomKillDisable"] or False, False),
        "no core dumps": ({u["Name"]: u["Hard"] for u in host["Ulimits"]}.get("core"), 0),
        "open files": ({u["Name"]: u["Hard"] for u in host["Ulimits"]}.get("nofile"), 1024),
        "file size": ("fsize" in {u["Name"] for u in host["Ulimits"]}, True),
        "/tmp": (all(o in host["Tmpfs"]["/tmp"] for o in
                     ("noexec", "nosuid", "nodev", "size=1048576", "nr_inodes=")), True),
        "private ipc": (host["IpcMode"], "private"),
        "small shm": (host["ShmSize"] <= 1 << 20, True),
        "no shared pid namespace": (host["PidMode"], ""),
        "no host uts": (host["UTSMode"], ""),
        "no host user namespace": (host["UsernsMode"], ""),
        "bounded log": ((host["LogConfig"]["Type"], "max-size" in host["LogConfig"]["Config"]),
                        ("local", True)),
        "never restarted": (host["RestartPolicy"]["Name"], "no"),
        "never removed by the engine": (host["AutoRemove"], False),
        "no binds": (host["Binds"] or [], []),
        "no devices": ((host["Devices"] or [], host["DeviceRequests"] or [],
                        host["DeviceCgroupRules"] or []), ([], [], [])),
        "one mount, the run's volume": ([(m["Type"], m["Destination"]) for m in mounts],
                                        [("volume", "/work")]),
        "masked paths": (bool(host["MaskedPaths"]), True),
    }
    for name, (got, want) in wanted.items():
        checks.equal(f"sandbox: {name}", got, want)
    volume = engine.json("GET", f"/volumes/{mounts[0]['Name']}")
    checks.equal("sandbox: the volume carries the run's label",
                 volume["Labels"].get("io.mayfly.run"), run["id"])
    daemon.client.cancel(run["id"])
    daemon.client.wait(run["id"])


def from_the_inside(checks, daemon):
    run = daemon.client.submit({"image": PYTHON, "command": ["python3", "-c", ESCAPE],
                                "limits": LIMITS})
    status = daemon.client.wait(run["id"])["status"]
    output = daemon.client.logs(run["id"])
    try:
        found = json.loads(output)
    except ValueError:
        checks.check("the escape script told what it found", False,
                     (status, output, daemon.client.logs(run["id"], "stderr")))
        return
    for name, want in (("capabilities", "0" * 32), ("no_new_privs", "1"), ("seccomp", "2"),
                       ("uid", "\t".join(["10001"] * 4))):
        checks.equal(f"inside: {name}", found.pop(name), want)
    # PID 1 cannot be killed or stopped from inside: the call succeeds, and nothing happens.
    for what in ("kill PID 1", "stop PID 1"):
        checks.check(f"inside: cannot {what}", status["phase"] == "succeeded", status)
        found.pop(what)
    for what, outcome in found.items():
        checks.check(f"inside: cannot {what}", outcome.startswith("refused"), outcome)


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-sandbox-")
    engine = EngineApi()
    with Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"]) as daemon:
        checks.step(against_the_engine, checks, daemon, engine)
        checks.step(from_the_inside, checks, daemon)
        checks.check("nothing is left on the engine", wait_for(lambda: engine.owned() == ([], [])),
                     engine.owned())
    shutil.rmtree(folder)
    checks.finish()


if __name__ == "__main__":
    main()
