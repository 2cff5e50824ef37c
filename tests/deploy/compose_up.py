#!/usr/bin/env python3
"""compose.yaml, alone and with each of its overlays, by Docker Compose 1.29 and by v2.

For each: up, wait until healthy, run a script through the composed mayflyd, ask Prometheus
whether it scrapes it, look at what the containers were really given, down, and find nothing left.
The networks are Docker's real ones, on an engine with bridges in a network namespace of the test's
own. Alone, compose.yaml has no socket: then scripts run on a second, "remote" engine behind TLS.
Grafana is left out of what is started, its image cannot be made here; what Compose makes of its
service is looked at.

  tests/deploy/compose_up.py [WORD]    only combinations with the word in their title: 1.29, dev
"""

import http.client
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import Client, ROOT  # noqa: E402
import private_host as host  # noqa: E402

IMAGE = "mayfly-test/mayflyd:compose"
SERVICES = ("mayflyd", "prometheus")
HEALTHY_S = 60
SCRIPT = ("cat in.txt > output/out.txt; id -u > output/uid; echo '{\"six\": 6}' > result.json; "
          "echo said; [ ! -e /var/run/docker.sock ]")


class Composed:
    """One combination of files, brought up by one compose program on one engine."""

    def __init__(self, program, files, engine, folder, settings):
        self.engine = engine
        self.project = f"mayfly-{os.getpid()}"
        environment_file = os.path.join(folder, "env")
        with open(environment_file, "w", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        self.command = [program, "-p", self.project, "--env-file", environment_file]
        for name in files:
            self.command += ["-f", os.path.join(ROOT, name)]

    def compose(self, *arguments):
        print(f"$ compose {' '.join(arguments)}", flush=True)
        return host.run(*self.command, *arguments, env=self.engine.environment())

    def up(self, *options):
        """Docker 20.10 looks for a bridge in a list of interfaces that the kernel cuts short when
        others change meanwhile, and then finds none. Up again goes on where it ended."""
        for attempt in range(3):
            try:
                return self.compose("up", "-d", *options, *SERVICES)
            except RuntimeError as error:
                if "no such network interface" not in str(error) or attempt == 2:
                    raise
                print(f"once more, the engine lost sight of a bridge: {error}", flush=True)
        raise AssertionError("not reached")

    def containers(self):
        """{service: what inspect says}"""
        wanted = json.dumps({"label": [f"com.docker.compose.project={self.project}"]})
        found = self.engine.api.json(
            "GET", f"/containers/json?all=1&filters={wanted.replace(' ', '')}")
        return {c["Labels"]["com.docker.compose.service"]: self.engine.inspect(c["Id"])
                for c in found}

    def health(self):
        return {name: c["State"].get("Health", {}).get("Status")
                for name, c in self.containers().items()}

    def say_logs(self):
        for name, container in self.containers().items():
            print(f"-- {name}: {container['State']}")
            print(self.engine.docker("logs", "--tail", "30", container["Id"]), flush=True)


def settings_of(engine, certificates):
    """.env, as an operator would fill it in."""
    return {"GRAFANA_ADMIN_PASSWORD": "of-this-test-only", "MAYFLY_IMAGE": IMAGE,
            "PROMETHEUS_IMAGE": host.PROMETHEUS, "MAYFLY_MAX_RUNNING": "3",
            "MAYFLY_DOCKER_HOST": f"tcp://{host.REMOTE_ADDRESS}:2376",
            "MAYFLY_DOCKER_TLS_VERIFY": "1", "MAYFLY_DOCKER_CERT_PATH": certificates,
            "DOCKER_GID": engine.socket_group, "DOCKER_SOCKET": engine.socket,
            "MAYFLY_BUILD_BASE": host.BUSYBOX, "MAYFLY_BUILD_SOURCE": host.PREBUILT,
            "MAYFLY_BUILD_NETWORK": "none"}


def runs_a_script(checks, scripts_engine, others):
    client = Client("127.0.0.1", 7070)
    checks.check("it is ready", wait_for(
        lambda: client.request("GET", "/readyz")[0] == 200, HEALTHY_S, 0.2),
        client.request("GET", "/readyz"))
    run = client.submit({"image": host.BUSYBOX, "command": ["sh", "-c", SCRIPT],
                         "files": [{"path": "in.txt", "content": "given\n"}]})
    run = client.wait(run["id"])
    status = run["status"]
    print(f"run {run['id']}: {status['phase']} {status['reason']}, {status['clocks_ms']}")
    checks.equal("a script runs, has its input, and finds no socket",
                 (status["phase"], status["exit_code"], status["result"]),
                 ("succeeded", 0, {"six": 6}))
    checks.equal("its output is kept", client.logs(run["id"]), b"said\n")
    kept = {a["path"]: client.artifact(run["id"], a["path"])
            for a in client.artifacts(run["id"])}
    checks.equal("and its artifacts", kept, {"out.txt": b"given\n", "uid": b"10001\n"})
    checks.equal("it ran once, in a sibling container, on the engine meant for it",
                 [scripts_engine.started(run["id"]), *(e.started(run["id"]) for e in others)],
                 [1] + [0] * len(others))
    engines = json.loads(client.expect((200,), "GET", "/v1/engines"))
    checks.equal("an option from .env has arrived", engines["slots"]["run"]["total"], 3)
    client.close()


def ask_prometheus(path):
    connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())["data"]
    finally:
        connection.close()


def is_scraped(checks):
    seen = {}

    def up():
        targets = ask_prometheus("/api/v1/targets")["activeTargets"]
        seen.update({t["labels"]["job"]: (t["health"], t["lastError"]) for t in targets})
        return seen.get("mayfly") == ("up", "")

    checks.check("Prometheus scrapes mayflyd: its target is up", wait_for(up, 30, 0.2), seen)
    asked = "/api/v1/query?query=up%7Bjob%3D%22mayfly%22%7D"
    checks.check("and can be asked about it", wait_for(  # a moment later, when it is written down
        lambda: [s["value"][1] for s in ask_prometheus(asked)["result"]] == ["1"], 10, 0.2),
        ask_prometheus(asked))


def is_locked_in(checks, containers, sockets):
    """What was really given to the containers. `sockets`: who is to have one."""
    for name, container in containers.items():
        asked, given = container["HostConfig"], container["Config"]
        checks.equal(f"{name}: no root, read-only, no capability, no new privilege",
                     (given["User"].split(":")[0] in ("", "0", "root"), asked["ReadonlyRootfs"],
                      asked["CapDrop"] or [], asked["CapAdd"] or [], asked["Privileged"],
                      [o.split("=")[0].split(":")[0] for o in asked["SecurityOpt"] or []]),
                     (False, True, ["ALL"], [], False, ["no-new-privileges"]))
        checks.check(f"{name}: memory, processes and logs have an end, no other namespaces",
                     asked["Memory"] > 0 and (asked["PidsLimit"] or 0) > 0 and
                     "max-size" in asked["LogConfig"]["Config"] and
                     asked["NetworkMode"] != "host" and asked["PidMode"] == "", asked)
        hosts = {p["HostIp"] for published in asked["PortBindings"].values() for p in published}
        checks.equal(f"{name}: published on loopback alone", hosts, {"127.0.0.1"})
        with open(f"/proc/{container['State']['Pid']}/status", encoding="utf-8") as file:
            facts = dict(line.strip().split(":\t", 1) for line in file if ":\t" in line)
        checks.equal(f"{name}: its process has none either",
                     (facts["CapEff"], facts["CapBnd"], facts["NoNewPrivs"],
                      "0" in facts["Uid"].split()), ("0" * 16, "0" * 16, "1", False))
    with_socket = {name for name, c in containers.items()
                   if any("docker.sock" in m["Destination"] or "docker.sock" in m["Source"]
                          for m in c["Mounts"])}
    checks.equal("who has a Docker socket", with_socket, sockets)


def grafana_too(checks, composed):
    """By what Compose makes of the files: v2 prints them as it reads them."""
    text = composed.compose("config")
    part = text[text.index("\n  grafana:"):]
    part = part[:part.index("\n  mayflyd:")]
    for wanted in ("- ALL\n", "no-new-privileges:true", "\n    read_only: true", "user: 472:0",
                   "/etc/grafana/dashboards/mayfly", "GF_AUTH_ANONYMOUS_ENABLED: 'false'",
                   os.path.join(ROOT, "deploy/grafana/dashboards")):
        checks.check(f"grafana has {wanted.strip().replace(ROOT, '...')}",
                     wanted in part.replace('"', "'").replace("'472:0'", "472:0"), part)
    checks.check("grafana has no socket", "docker.sock" not in part, part)


def nothing_is_left(checks, engines):
    for engine in engines:
        checks.check("nothing is left on the engine", wait_for(
            lambda at=engine: at.left() == host.NOTHING_LEFT, 30, 0.2), engine.left())


def combination(checks, composed, scripts_engine, engines, sockets, build):
    """One combination, from up to down."""
    began = time.monotonic()
    try:
        options = ["--build"] if build else []
        print(composed.up(*options).strip()[-3000:])
        wanted = {name: "healthy" for name in SERVICES}
        if not checks.check("all become healthy", wait_for(
                lambda: composed.health() == wanted, HEALTHY_S, 0.2), composed.health()):
            composed.say_logs()
        print(f"up and healthy after {time.monotonic() - began:.1f} s: {composed.health()}")
        others = [engine for engine in engines if engine is not scripts_engine]
        checks.step(runs_a_script, checks, scripts_engine, others)
        checks.step(is_scraped, checks)
        checks.step(is_locked_in, checks, composed.containers(), sockets)
        # Nothing of a run may be there when mayflyd is taken away: nobody would remove it then.
        checks.check("nothing of the run is left before mayflyd goes", wait_for(
            lambda: scripts_engine.api.owned() == ([], []), 30), scripts_engine.api.owned())
        checks.step(grafana_too, checks, composed)
        composed.compose("stop")
        codes = {name: c["State"]["ExitCode"] for name, c in composed.containers().items()}
        checks.equal("they end by themselves when they are told to", codes,
                     {name: 0 for name in SERVICES})
    finally:
        composed.compose("down", "-v", "--timeout", "5")
    nothing_is_left(checks, engines)
    print(f"down after {time.monotonic() - began:.1f} s")


def no_password_no_start(checks, program, engine, folder, settings):
    without = {k: v for k, v in settings.items() if k != "GRAFANA_ADMIN_PASSWORD"}
    said = ""
    try:
        Composed(program, ["compose.yaml"], engine, folder, without).compose("config")
    except RuntimeError as error:
        said = str(error)
    checks.check("without a password for Grafana nothing starts, and it says what to do",
                 "GRAFANA_ADMIN_PASSWORD" in said and ".env" in said, said)


def make_images(folder, local, remote):
    began = time.monotonic()
    for engine in (local, remote):
        engine.busybox()
    host.import_prebuilt(local, folder)
    host.import_prometheus(local, folder)
    host.build_image(local, IMAGE)
    print(f"images made in {time.monotonic() - began:.1f} s", flush=True)


def everything(checks, folder, local, remote, certificates):
    make_images(folder, local, remote)
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    programs = ["docker-compose", host.run(os.path.join(ROOT, "tests/deploy/compose_v2.sh"))
                .strip().splitlines()[-1]]
    settings = settings_of(local, certificates)
    overlays = [([], remote, set(), False),
                (["deploy/compose.runner.yaml"], local, {"mayflyd"}, False),
                (["deploy/compose.dev.yaml"], local, {"mayflyd"}, True)]
    for program in programs:
        version = host.run(program, "version").splitlines()[0]
        for overlay, scripts_engine, sockets, build in overlays:
            files = ["compose.yaml", *overlay]
            title = f"{version}: {' '.join(files)}"
            if word not in title:
                continue
            print(f"==== {title}", flush=True)
            composed = Composed(program, files, local, folder, settings)
            checks.step(combination, checks, composed, scripts_engine, (local, remote), sockets,
                        build)
        no_password_no_start(checks, program, local, folder, settings)


def main():
    checks = Checks()
    host.install("engine", "client", "deploy")
    # Fetched while there still is a network to fetch from.
    host.run(os.path.join(ROOT, "tests/deploy/compose_v2.sh"), deadline_s=600)
    host.enter_own_network()
    folder = tempfile.mkdtemp(prefix="mayfly-compose-")
    os.chmod(folder, 0o711)  # the containers' users pass through it
    tls = os.path.join(folder, "tls")
    certificates = host.make_certificates(tls)
    local = host.Engine(os.path.join(folder, "local"), *host.BRIDGED)
    remote = host.Engine(os.path.join(folder, "remote"), *host.remote_flags(tls))
    try:
        local.start()
        remote.start()
        checks.step(everything, checks, folder, local, remote, certificates)
    finally:
        remote.stop()
        local.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
