#!/usr/bin/env python3
"""Every command of the operator's guide does what it says: each is run.

`sh` blocks run against a mayflyd on its real port, in a network of the test's own, with runs under
way; `sh stopped` ones while it is stopped, and it must know its runs afterwards. Commands of
Compose and systemd are run by compose_up.py and systemd_unit.py; here it is held that they are
among those, and that Compose takes their files.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import private_host  # noqa: E402
sys.path.insert(0, os.path.join(HERE, "../support"))
sys.path.insert(0, os.path.join(HERE, "../crash"))
from checks import Checks  # noqa: E402
from daemon import ROOT, Mayflyd  # noqa: E402
from engine_away import IMAGE, IMAGES, OwnEngine  # noqa: E402

GUIDE = os.path.join(ROOT, "deploy", "README.md")
PORT = 7070


def blocks():
    """(kind, commands) of each fenced block; a command is a line without its comment."""
    with open(GUIDE, encoding="utf-8") as file:
        text = file.read()
    for kind, body in re.findall(r"^```sh ?(\w*)\n(.*?)^```$", text, flags=re.M | re.S):
        lines = [re.sub(r"\s+# .*$", "", line) for line in body.splitlines()]
        yield kind, [line for line in lines if line.strip() and not line.startswith("#")]


def source_of(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def check_compose(checks, line):
    """Its verb is one that compose_up.py uses, and Compose takes its files."""
    words = shlex.split(line)
    files = [words[at + 1] for at, word in enumerate(words) if word == "-f"]
    verb = next(word for at, word in enumerate(words[2:], 2)
                if not word.startswith("-") and words[at - 1] != "-f")
    checks.check(f"{line}: its verb is run by compose_up.py",
                 f'compose("{verb}"' in source_of("compose_up.py"), verb)
    program = private_host.run(os.path.join(HERE, "compose_v2.sh")).strip().splitlines()[-1]
    chosen = [word for file in files for word in ("-f", file)]
    done = subprocess.run([program, *chosen, "config", "--quiet"], cwd=ROOT, text=True,
                          capture_output=True, check=False, timeout=60,
                          env=private_host.clean_environment(GRAFANA_ADMIN_PASSWORD="x",
                                                             DOCKER_GID="1"))
    checks.check(f"{line}: Compose takes its files", done.returncode == 0, done.stderr)


def check_systemd(checks, line):
    words = shlex.split(line)
    checks.check(f"{line}: is run by systemd_unit.py",
                 ", ".join(f'"{word}"' for word in words) in source_of("systemd_unit.py")
                 or line in source_of("systemd_unit.py"), line)


def check_shell(checks, line, setting, environment):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", setting + "\n" + line], text=True,
                          capture_output=True, check=False, timeout=60, cwd=ROOT,
                          env=environment, stdin=subprocess.DEVNULL)
    said = done.stdout.strip()
    quiet = line.startswith(("mv ", "cp ")) or "|| true" in line
    checks.check(f"{line[:90]}: works", done.returncode == 0 and (said or quiet),
                 f"{done.returncode}: {said[-300:]} {done.stderr[-300:]}")


def play(checks, daemon, host):
    """All blocks, in their order."""
    environment = {**os.environ, "DOCKER_HOST": host}
    setting = f"MAYFLY=http://127.0.0.1:{PORT}\nDATA={shlex.quote(daemon.data_dir)}"
    known = [daemon.client.submit({"image": IMAGE, "command": ["sh", "-c", script]})["id"]
             for script in ("true", "false", "sleep 50", "sleep 50")]
    for run_id in known[:2]:
        daemon.client.wait(run_id)
    kinds = {}
    for kind, lines in blocks():
        kinds[kind] = kinds.get(kind, 0) + len(lines)
        if kind == "set":
            names = [line.split("=")[0] for line in lines]
            checks.equal("the guide sets the variables that it uses", names, ["MAYFLY", "DATA"])
        if kind == "stopped":
            daemon.stop()
        for line in lines:
            if kind == "compose":
                check_compose(checks, line)
            elif kind == "systemd":
                check_systemd(checks, line)
            elif kind in ("", "stopped"):
                check_shell(checks, line, setting, environment)
        if kind == "stopped":
            daemon.start()
            checks.equal("after it, every run is known",
                         [daemon.client.get(run_id)["id"] for run_id in known], known)
    print(f"commands: {kinds}")
    for run_id in known[2:]:
        daemon.client.cancel(run_id)
        daemon.client.wait(run_id)


def main():
    checks = Checks()
    private_host.enter_own_network()
    folder = tempfile.mkdtemp(prefix="mayfly-guide-")
    engine = OwnEngine(os.path.join(folder, "engine"))
    try:
        host = engine.start()
        subprocess.run([IMAGES], check=True, env={**os.environ, "DOCKER_HOST": host})
        daemon = Mayflyd(os.path.join(folder, "data"), host)
        daemon.port = daemon.client.port = PORT
        with daemon:
            play(checks, daemon, host)
    finally:
        engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
