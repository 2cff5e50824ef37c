#!/usr/bin/env python3
"""The README's programs and commands, taken from it and run against a real mayflyd on a real
engine. Of them only the name of the image and the addresses are replaced.
"""

import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import ROOT, Mayflyd, free_port  # noqa: E402

SECTION = "From your own code"
COMMANDS_SECTION = "A run, by example"
NAMES = ["main.py", "client.sh", "client.py", "client.mjs", "hook.py", "hook.mjs"]
COMMANDS = {".sh": ["sh"], ".py": ["/usr/bin/python3"], ".mjs": ["node"]}
PROGRAM_S = 180
PRINTED = "line 1\nline 2\nline 3\n"
SECRET = b"correct horse battery staple"
IMAGE = "mayfly-test/python:1"


def blocks(text, section, language):
    inside = re.search(rf"^## {section}\n(.*?)^## ", text, flags=re.M | re.S).group(1)
    return re.findall(rf"^```{language}\n(.*?)^```$", inside, flags=re.M | re.S)


def programs(text):
    """{name: program} of the section's code blocks; the first line of a block names it."""
    found = {}
    for block in blocks(text, SECTION, r"\w+"):
        name = re.match(r"(?:#|//) (\S+)\n", block)
        found[name.group(1) if name else block[:40]] = block
    return found


def install_node():
    if shutil.which("node") is None:
        subprocess.run([os.path.join(ROOT, "deploy/packages.sh"), "install", "node"], check=True)


class Examples:
    def __init__(self, checks, folder, daemon):
        self.checks, self.folder, self.daemon = checks, folder, daemon
        self.hook_port = free_port()

    def replaced(self, text):
        text = text.replace("python:3-slim", IMAGE)
        text = text.replace("127.0.0.1:7070", f"127.0.0.1:{self.daemon.port}")
        return text.replace("8000", str(self.hook_port))

    def write(self, found):
        for name, program in found.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(self.replaced(program))

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()

    def run(self, name):
        """What it prints."""
        command = [*COMMANDS[os.path.splitext(name)[1]], name]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True,
                              timeout=PROGRAM_S, check=False)
        self.checks.check(f"{name} ends well", done.returncode == 0,
                          f"{done.returncode}: {done.stdout[-500:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def commands(self, text):
        """The short ones, about a run that is there: $ID."""
        found = [block for block in blocks(text, COMMANDS_SECTION, "sh") if "…" not in block]
        self.checks.equal("the README shows these groups of commands", len(found), 7)
        with open(os.path.join(self.folder, "table.csv"), "w", encoding="utf-8") as file:
            file.write("a,b\n")
        leaves = {"image": IMAGE, "command": ["sh", "-c", "echo hi; echo 42 >output/report.md"]}
        runs = [self.daemon.client.submit(leaves)["id"] for _ in range(10)]
        for run_id in runs:  # there is an event 41 then
            self.daemon.client.wait(run_id)
        for block in found:
            if "/v1/events" in block:
                for line in block.splitlines():
                    self.endless(line)
                continue
            done = self.bash(block, self.daemon.client.submit(leaves)["id"])
            title = block.split("\n", maxsplit=1)[0]
            self.checks.check(f"the commands from `{title}` on end well", done.returncode == 0,
                              done.stderr)
            # A run that has finished cannot be cancelled; nothing else is refused.
            problems = re.findall(r"urn:mayfly:problem:([a-z-]+)", done.stdout)
            wanted = ["already-finished"] if "/cancel" in block else []
            self.checks.check("and are answered as they should be",
                              problems == wanted and done.stdout, done.stdout)

    def bash(self, commands, run_id):
        self.daemon.client.wait(run_id)
        return subprocess.run(["bash", "-euo", "pipefail", "-c", self.replaced(commands)],
                              cwd=self.folder, capture_output=True, text=True, check=False,
                              timeout=PROGRAM_S, env={**os.environ, "ID": run_id})

    def endless(self, command):
        """A stream: it must begin as it should, and is left then."""
        with subprocess.Popen(["bash", "-c", "exec " + self.replaced(command)], text=True,
                              stdout=subprocess.PIPE) as process:
            first = process.stdout.readline()
            process.terminate()
        self.checks.check(f"`{command}` is greeted",
                          first.startswith(("event: hello", "id:")), first)

    def shell(self):
        printed = self.run("client.sh")
        self.checks.equal("curl shows the log of one run, and then the other's as it prints",
                          printed, PRINTED * 2)
        run = json.loads(self.read("run.json"))
        self.checks.equal("the run that it looks at has succeeded", run["status"]["phase"],
                          "succeeded")
        self.checks.equal("it fetched the file that the script left", self.read("report.md"),
                          f"# {len(self.read('main.py'))} bytes came in\n")
        stream = self.read("events.txt")
        ids = [int(one) for one in re.findall(r"^id: (\d+)\nevent: status$|^event: status\nid: "
                                              r"(\d+)$", stream, flags=re.M) for one in one if one]
        self.checks.check("events come in their order", ids == sorted(ids) and len(ids) > 8,
                          stream[:600])
        self.checks.equal("the ends of both runs are among them",
                          stream.count('"type":"finished"'), 2)

    def client(self, name):
        printed = self.run(name)
        head = f"succeeded 0\n{PRINTED}# 10 bytes came in\n{PRINTED}"
        self.checks.equal(f"{name} prints the end, the log, the file, and then a log as it grows",
                          printed[:len(head)], head)
        events = [line.split() for line in printed[len(head):].splitlines()]
        self.checks.check(f"{name} prints the events of a run from its first to its last",
                          events and events[0][1] == "created" and events[-1][1] == "finished",
                          events)
        ids = [int(event[0]) for event in events]
        self.checks.check("each once and in order", ids == sorted(set(ids)), ids)

    # ---- webhooks

    def deliver(self, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.hook_port, timeout=30)
        connection.request("POST", "/", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def forgeries(self, name):
        body, now = b'{"id": 1, "run_id": "forged", "phase": "succeeded"}', str(int(time.time()))

        def signed(secret, stamp, what):
            made = hmac.new(secret, stamp.encode() + b"." + what, hashlib.sha256).hexdigest()
            return {"Mayfly-Timestamp": stamp, "Mayfly-Signature": "v1=" + made}
        old = str(int(time.time()) - 3600)
        for sentence, headers in [
                ("one without a signature", {}),
                ("one that is signed with another secret", signed(b"guessed", now, body)),
                ("one that is signed for another body", signed(SECRET, now, b"{}")),
                ("one that is an hour old", signed(SECRET, old, body))]:
            self.checks.equal(f"{name} refuses {sentence}", self.deliver(body, headers), 401)

    def hook(self, name):
        output = os.path.join(self.folder, name)
        with open(output + ".out", "w", encoding="utf-8") as out, \
                open(output + ".err", "w", encoding="utf-8") as err:
            process = subprocess.Popen([*COMMANDS[os.path.splitext(name)[1]], name], stdout=out,
                                       stderr=err, cwd=self.folder)
        try:
            self.checks.check(f"{name} listens", wait_for(self.hook_listens, 30))
            run = self.daemon.client.submit({
                "image": IMAGE, "command": ["true"],
                "webhook": {"url": f"http://127.0.0.1:{self.hook_port}/",
                            "secret": SECRET.decode()}})
            ended = f"{run['id']} succeeded"
            self.checks.check(f"{name} hears of the end of a run",
                              wait_for(lambda: ended in self.read(name + ".out"), 60),
                              self.read(name + ".err") + self.daemon.log_tail())
            self.forgeries(name)
            self.checks.equal(f"{name} believed nothing else",
                              len(self.read(name + ".out").splitlines()), 1)
        finally:
            process.terminate()
            process.wait(30)

    def hook_listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.hook_port)) == 0


def main():
    install_node()
    checks = Checks()
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        text = file.read()
    found = programs(text)
    checks.equal("the README has these programs", list(found), NAMES)
    folder = tempfile.mkdtemp(prefix="mayfly-readme-")
    flags = ["--webhook-allow-network", "127.0.0.0/8"]
    engine = EngineApi()
    with Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"], flags) as daemon:
        examples = Examples(checks, folder, daemon)
        examples.write(found)
        checks.step(examples.commands, text)
        checks.step(examples.shell)
        for name in ("client.py", "client.mjs"):
            checks.step(examples.client, name)
        for name in ("hook.py", "hook.mjs"):
            checks.step(examples.hook, name)
        checks.check("nothing is left on the engine",
                     wait_for(lambda: engine.owned() == ([], [])), engine.owned())
    checks.finish(folder)


if __name__ == "__main__":
    main()
