#!/usr/bin/env python3
"""deploy/systemd/mayflyd.service, in a real systemd: it starts with all that it forbids itself,
runs a script, comes back when it is killed, and does not when its configuration is wrong.

No systemd need run on this host: systemd_root.sh starts one in namespaces of the test's own.
"""

import glob
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import BUILD, Client, ROOT  # noqa: E402
import private_host as host  # noqa: E402

UNIT = os.path.join(ROOT, "deploy/systemd/mayflyd.service")
SYSTEMD_ROOT = os.path.join(ROOT, "tests/deploy/systemd_root.sh")
PROGRAM = os.path.join(BUILD, "mayflyd")
MOST_EXPOSED = 2.0
READY_S = 60


class Systemd:
    """One booted on a folder, with the engine's socket and the unit in it."""

    def __init__(self, folder, engine):
        os.mkdir(folder)
        self.folder = folder
        self.log_path = folder + ".log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [SYSTEMD_ROOT, folder, engine.socket, PROGRAM], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)

    def pid(self):
        """Of its PID 1, as this host sees it."""
        try:
            path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            with open(path, encoding="utf-8") as file:
                child = int(file.read().split()[0])
            with open(f"/proc/{child}/comm", encoding="utf-8") as file:
                return child if file.read().strip() == "systemd" else None
        except (OSError, IndexError):
            return None

    def run(self, *command):
        return host.run("nsenter", "-t", str(self.pid()), "--all", *command).strip()

    def show(self, name):
        return self.run("systemctl", "show", "mayflyd", "-p", name, "--value")

    def say(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            print(file.read()[-2000:])
        if self.pid():
            print(self.run("journalctl", "-b", "--no-pager", "-n", "40"), flush=True)

    def stop(self):
        """Its PID 1 dies with the process that was started, and all others of it with that one."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: self.left() == [], 20)

    def left(self):
        """Its cgroups that are still there; the empty ones are removed."""
        roots = glob.glob(f"/sys/fs/cgroup/*/{os.path.basename(self.folder)}") + \
            glob.glob(f"/sys/fs/cgroup/{os.path.basename(self.folder)}")
        for root in roots:
            for folder, _, _ in os.walk(root, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # somebody in it has not ended yet: looked at again
        return [root for root in roots if os.path.isdir(root)]


def is_ready(client):
    try:
        return client.request("GET", "/readyz")[0] == 200
    except OSError:
        return False


def names_real_flags(checks):
    with open(UNIT, encoding="utf-8") as file:
        started = re.search(r"^ExecStart=(.*)$", file.read(), flags=re.M).group(1)
    flags = re.findall(r"--[a-z-]+", started)
    known = set(re.findall(r"--[a-z-]+", host.run(PROGRAM, "--help")))
    checks.check(f"mayflyd has the flags that the unit gives it, {flags}",
                 flags and set(flags) <= known, started)


def is_not_exposed(checks):
    said = host.run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    print("\n".join(line for line in said.splitlines() if line.startswith(("✗", "→"))))
    score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said).group(1))
    checks.check(f"systemd-analyze calls its exposure {score}, less than {MOST_EXPOSED}",
                 score < MOST_EXPOSED, said)


def starts(checks, systemd, client):
    if not checks.check("systemd boots, and mayflyd becomes ready", wait_for(
            lambda: systemd.pid() and is_ready(client), READY_S, 0.2)):
        systemd.say()
    checks.equal("systemd-analyze verify has nothing to say", systemd.run(
        "systemd-analyze", "verify", "/etc/systemd/system/mayflyd.service"), "")
    checks.equal("no unit has failed", systemd.run(
        "systemctl", "list-units", "--failed", "--no-legend", "--plain"), "")
    run = client.submit({"image": host.BUSYBOX, "command": ["sh", "-c", "echo hi > output/hi"]})
    run = client.wait(run["id"])
    checks.equal("a run goes through it", run["status"]["phase"], "succeeded")
    checks.equal("with its artifact", client.artifact(run["id"], "hi"), b"hi\n")
    checks.check("an option from /etc/mayfly/mayflyd.env has arrived", client.expect(
        (200,), "GET", "/v1/engines").find(b'"total":3') > 0)
    return run


def is_locked_in(checks, systemd):
    main = systemd.show("MainPID")
    facts = dict(line.split(":\t", 1) for line in
                 systemd.run("cat", f"/proc/{main}/status").splitlines() if ":\t" in line)
    checks.equal("not root, no capability, no new privilege, system calls filtered",
                 ("0" in facts["Uid"].split(), facts["CapEff"], facts["CapBnd"],
                  facts["NoNewPrivs"], facts["Seccomp"]), (False, "0" * 16, "0" * 16, "1", "2"))
    checks.equal("its data is its own", systemd.run("stat", "-c", "%U %a", "/var/lib/mayfly"),
                 "mayfly 700")
    # As root: what is refused then is refused by the mounts, and not by who owns what.
    inside = ("nsenter", "-t", main, "--mount", "sh", "-c")
    for folder in ("/usr", "/etc", "/var/lib", "/run", "/run/lock"):
        checks.equal(f"{folder} cannot be written", systemd.run(
            *inside, f"touch {folder}/x 2>/dev/null && echo written || echo refused"), "refused")
    checks.equal("homes are not to be seen", systemd.run(
        *inside, "ls /root /home 2>/dev/null | grep -v ':$' | grep -c . || true"), "0")
    checks.equal("nor disks", systemd.run(
        *inside, "ls /dev | grep -c -E '^(sd|vd|nvme|loop|kmsg|mem)' || true"), "0")


def comes_back(checks, systemd, client, run):
    systemd.run("systemctl", "kill", "-s", "KILL", "mayflyd")
    client.close()
    checks.check("killed, it is started again", wait_for(
        lambda: systemd.show("NRestarts") == "1" and is_ready(client), READY_S, 0.2),
        systemd.show("NRestarts"))
    checks.equal("and still has the run", client.get(run["id"])["status"]["phase"], "succeeded")
    systemd.run("systemctl", "stop", "mayflyd")
    checks.equal("told to stop, it ends well",
                 (systemd.show("Result"), systemd.show("ExecMainStatus")), ("success", "0"))


def stays_away(checks, systemd):
    systemd.run("sh", "-c", "echo MAYFLY_DEFAULT_CPUS=9 > /etc/mayfly/mayflyd.env; "
                            "echo MAYFLY_MAX_CPUS=2 >> /etc/mayfly/mayflyd.env; "
                            "systemctl start mayflyd || true")
    checks.check("with a configuration that contradicts itself it fails", wait_for(
        lambda: systemd.show("ActiveState") == "failed", 30), systemd.show("ActiveState"))
    checks.equal("and is not started again and again",
                 (systemd.show("ExecMainStatus"), systemd.show("NRestarts")), ("2", "0"))


def everything(checks, systemd, engine):
    client = Client("127.0.0.1", 7070)
    names_real_flags(checks)
    is_not_exposed(checks)
    run = starts(checks, systemd, client)
    is_locked_in(checks, systemd)
    comes_back(checks, systemd, client, run)
    stays_away(checks, systemd)
    checks.check("nothing is left on the engine", wait_for(
        lambda: engine.left() == host.NOTHING_LEFT, 30), engine.left())


def main():
    checks = Checks()
    host.install("engine", "client", "deploy")
    host.enter_own_network()
    folder = tempfile.mkdtemp(prefix="mayfly-systemd-")
    engine = host.Engine(os.path.join(folder, "engine"))
    systemd = None
    try:
        engine.start()
        engine.busybox()
        systemd = Systemd(os.path.join(folder, f"mayfly-{os.getpid()}"), engine)
        checks.step(everything, checks, systemd, engine)
        if checks.failed:
            systemd.say()
    finally:
        if systemd:
            systemd.stop()
        engine.stop()
    checks.equal("nothing is left of systemd", systemd.left(), [])
    checks.finish(folder)


if __name__ == "__main__":
    main()
