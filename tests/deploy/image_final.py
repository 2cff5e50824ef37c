#!/usr/bin/env python3
"""The image of mayflyd, its final stage: what is in it, that it is always the same, that it runs.

It is made by deploy/Dockerfile of the program that is built already. image_from_source.py compiles
it in the image's own first stage, too.
"""

import io
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import Client  # noqa: E402
import private_host as host  # noqa: E402

IMAGE = "mayfly-test/mayflyd:image"
MOST_BYTES = 64 * 1024 * 1024
HEALTHY_S = 60
DATA = "var/lib/mayfly"


def is_the_same_each_time(checks, engine, folder):
    """From the program on: its root file system is gathered anew for each."""
    began = time.monotonic()
    layers = []
    for tag in (IMAGE, IMAGE + "-again"):
        host.import_prebuilt(engine, folder)
        host.build_image(engine, tag, "--no-cache", "--build-arg", "VERSION=1.2.3",
                         "--build-arg", "REVISION=abc")
        layers.append(engine.image(tag)["RootFS"]["Layers"])
    size = engine.image(IMAGE)["Size"]
    print(f"two builds in {time.monotonic() - began:.1f} s; {len(layers[0])} layers, "
          f"{size} bytes ({size / 2**20:.1f} MiB)\n{layers[0]}", flush=True)
    checks.equal("built twice without cache, it has the same layers", layers[0], layers[1])
    checks.check(f"it is no larger than {MOST_BYTES >> 20} MiB", size <= MOST_BYTES, size)


def says_what_it_is(checks, engine):
    config = engine.image(IMAGE)["Config"]
    checks.equal("its configuration", {
        name: config.get(name) for name in
        ("User", "Entrypoint", "Cmd", "ExposedPorts", "Volumes", "StopSignal", "WorkingDir")},
        {"User": "65532:65532", "Entrypoint": ["/usr/bin/mayflyd"], "Cmd": None,
         "ExposedPorts": {"7070/tcp": {}}, "Volumes": {"/var/lib/mayfly": {}},
         "StopSignal": "SIGTERM", "WorkingDir": "/var/lib/mayfly"})
    checks.equal("its health check", config["Healthcheck"]["Test"],
                 ["CMD", "/usr/bin/mayflyd", "healthcheck"])
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()
              if name.startswith("org.opencontainers.image.")}
    checks.equal("its labels", (labels["title"], labels["licenses"], labels["version"],
                                labels["revision"]), ("mayflyd", "MIT", "1.2.3", "abc"))


def entries_of(engine):
    """Every entry of the image's file system, but for what Docker lays into each container."""
    name = engine.docker("create", IMAGE).strip()
    try:
        content = subprocess.run(["docker", "export", name], check=True, stdout=subprocess.PIPE,
                                 env=engine.environment(), timeout=60).stdout
    finally:
        engine.docker("rm", "-v", name)
    laid_in = ("dev", "proc", "sys", ".dockerenv", "etc/hosts", "etc/hostname", "etc/mtab",
               "etc/resolv.conf")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [entry for entry in archive
                if not any(entry.name == n or entry.name.startswith(n + "/") for n in laid_in)]


def holds_nothing_else(checks, engine):
    entries = entries_of(engine)
    # The loader and libraries are executable by Debian's custom or by need; they are no programs.
    programs = [e.name for e in entries if e.isfile() and e.mode & 0o111 and ".so" not in e.name]
    checks.equal("there is one program in it", programs, ["usr/bin/mayflyd"])
    checks.equal("nobody but root could change anything, but for its data and /tmp",
                 [e.name for e in entries if not e.issym() and (e.uid != 0 or e.mode & 0o022)
                  and e.name not in ("tmp", DATA)], [])
    checks.equal("nothing changes its user",
                 [e.name for e in entries if e.mode & (stat.S_ISUID | stat.S_ISGID)], [])
    owners = [(e.uid, e.gid, oct(stat.S_IMODE(e.mode))) for e in entries if e.name == DATA]
    checks.equal("its data directory is its user's alone", owners,
                 [(host.USER, host.USER, "0o700")])
    # Docker makes etc and the root anew for what it lays in.
    times = {int(e.mtime) for e in entries if e.name not in ("", ".", "etc")}
    checks.equal("no file says when it was made", times, {0})
    records = {e.name.rpartition("/")[2] for e in entries
               if e.name.startswith("var/lib/dpkg/status.d/")}
    licences = {e.name.split("/")[3] for e in entries if e.name.startswith("usr/share/doc/") and
                e.name.endswith("/copyright")}
    checks.check("each package in it has its record, for scanners, and its licence",
                 records == licences and {"libc6", "libssl3", "ca-certificates"} <= records,
                 (records, licences))


def has_no_shell(checks, engine):
    for program in ("/bin/sh", "/bin/bash", "/usr/bin/env"):
        said = ""
        try:
            engine.docker("run", "--rm", "--network", "none", "--entrypoint", program, IMAGE)
        except RuntimeError as error:
            said = str(error)
        checks.check(f"there is no {program}", "no such file" in said, said)


def knows_that_it_is_not_well(checks, engine):
    said = ""
    try:
        engine.docker("run", "--rm", "--network", "none", IMAGE, "healthcheck")
    except RuntimeError as error:
        said = str(error)
    checks.check("where no mayflyd answers, the health check says so and ends with 1",
                 "ended with 1:" in said and len(said.splitlines()) > 1, said)


def start(engine):
    return engine.docker(
        "run", "-d", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "-v", "mayfly-data:/var/lib/mayfly", "-v", f"{engine.socket}:/var/run/docker.sock",
        "--group-add", str(engine.socket_group), "-p", "127.0.0.1:7070:7070",
        "--health-interval", "1s", "--name", "mayflyd", IMAGE).strip()


def is_healthy(engine, name):
    return engine.inspect(name)["State"]["Health"]["Status"] == "healthy"


def runs(checks, engine):
    began = time.monotonic()
    name = start(engine)
    if not checks.check("with a read-only root and no capability it becomes healthy",
                        wait_for(lambda: is_healthy(engine, name), HEALTHY_S, 0.2),
                        engine.inspect(name)["State"]):
        print(engine.docker("logs", name))
    print(f"healthy after {time.monotonic() - began:.1f} s", flush=True)
    processes = engine.docker("top", name, "-o", "pid,uid,gid,args").strip().splitlines()[1:]
    checks.equal("it is one process, and not root's",
                 [line.split()[1:3] for line in processes], [[str(host.USER)] * 2])
    client = Client("127.0.0.1", 7070)
    run = host.run_goes_through(checks, client, engine)
    began = time.monotonic()
    engine.docker("stop", "-t", "30", name)
    checks.equal(f"told to stop, it ends by itself (after {time.monotonic() - began:.1f} s)",
                 engine.inspect(name)["State"]["ExitCode"], 0)
    engine.docker("rm", name)
    name = start(engine)
    client.close()
    checks.check("another container with the same volume becomes ready", wait_for(
        lambda: answers(client, "/readyz"), HEALTHY_S, 0.2), engine.docker("logs", name))
    checks.equal("and still has the run, its end and its artifact",
                 (client.get(run["id"])["status"]["finished_at"],
                  client.artifact(run["id"], "hi")), (run["status"]["finished_at"], b"hi\n"))
    engine.docker("rm", "-f", name)
    engine.docker("volume", "rm", "mayfly-data")
    checks.equal("nothing is left", engine.left(), host.NOTHING_LEFT)


def answers(client, path):
    try:
        return client.request("GET", path)[0] == 200
    except OSError:
        return False


def everything(checks, folder, engine):
    engine.busybox()
    checks.step(is_the_same_each_time, checks, engine, folder)
    for step in (says_what_it_is, holds_nothing_else, has_no_shell,
                 knows_that_it_is_not_well, runs):
        checks.step(step, checks, engine)


def main():
    checks = Checks()
    host.install("engine", "client", "deploy")
    host.enter_own_network()
    folder = tempfile.mkdtemp(prefix="mayfly-image-")
    engine = host.Engine(os.path.join(folder, "engine"), *host.BRIDGED)
    try:
        engine.start()
        checks.step(everything, checks, folder, engine)
    finally:
        engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
