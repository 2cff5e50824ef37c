#!/usr/bin/env python3
"""Images from a registry, by each pull policy. The registry is Debian's, on loopback, our own."""

import base64
import os
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd, free_port  # noqa: E402

REGISTRY = os.environ.get("DOCKER_REGISTRY", "docker-registry")
SOURCE = "mayfly-test/busybox:1"
CONFIG = """version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


class Registry:
    """Counts the manifests that were asked for: one a pull."""

    def __init__(self, folder):
        self.port = free_port()
        self.log_path = os.path.join(folder, "registry.log")
        config = os.path.join(folder, "registry.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=os.path.join(folder, "blobs"), port=self.port))
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([REGISTRY, "serve", config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        if not wait_for(self.answers, deadline_s=30):
            raise RuntimeError("the registry does not answer")

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def name(self, repository):
        return f"127.0.0.1:{self.port}/{repository}"

    def pulls(self, repository):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return sum(1 for line in log if f"GET /v2/{repository}/manifests/" in line or
                       f"HEAD /v2/{repository}/manifests/" in line)

    def push(self, engine, repository):
        name = self.name(repository)
        engine.request("POST", f"/images/{SOURCE}/tag?repo={name}&tag=1")
        auth = base64.urlsafe_b64encode(b"{}").decode()
        answer = engine.request("POST", f"/images/{name}/push?tag=1", headers={
            "X-Registry-Auth": auth})
        if b'"error"' in answer[1]:
            raise RuntimeError(f"push: {answer[1][-300:]!r}")
        self.forget(engine, repository)

    def forget(self, engine, repository):
        engine.request("DELETE", f"/images/{self.name(repository)}:1?force=1")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def spec(image):
    return {"image": image, "command": ["true"]}


def with_policy(folder, name, *flags):
    return Mayflyd(os.path.join(folder, name), os.environ["DOCKER_HOST"],
                   ["--pull-policy", name, "--max-running", "4", *flags])


def missing(checks, folder, registry, engine):
    registry.push(engine, "once")
    image = registry.name("once") + ":1"
    before = registry.pulls("once")
    with with_policy(folder, "missing") as daemon:
        runs = []
        lock = threading.Lock()

        def submit():
            run = daemon.new_client().submit(spec(image))
            with lock:
                runs.append(run["id"])

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        phases = {daemon.client.wait(r)["status"]["phase"] for r in runs}
        checks.equal("missing: an image that is not there is pulled", phases, {"succeeded"})
        first = registry.pulls("once") - before
        checks.check("... once, for eight runs that came together", 1 <= first <= 2, first)
        daemon.client.wait(daemon.client.submit(spec(image))["id"])
        checks.equal("... and not again", registry.pulls("once") - before, first)
        wrong = daemon.client.wait(daemon.client.submit(
            spec(registry.name("nowhere") + ":1"))["id"])["status"]
        checks.equal("an image that the registry does not have ends the run",
                     (wrong["phase"], wrong["reason"]), ("failed", "ImageUnavailable"))
        checks.check("... and the message names it", "nowhere" in wrong["message"], wrong)
        finish(checks, engine)
    registry.forget(engine, "once")


def never(checks, folder, registry, engine):
    registry.push(engine, "not")
    before = registry.pulls("not")
    with with_policy(folder, "never") as daemon:
        ended = daemon.client.wait(daemon.client.submit(spec(registry.name("not") + ":1"))["id"])
        checks.equal("never: an image that is not there ends the run",
                     (ended["status"]["phase"], ended["status"]["reason"]),
                     ("failed", "ImageUnavailable"))
        checks.equal("... and the registry was not asked", registry.pulls("not"), before)


def always(checks, folder, registry, engine):
    registry.push(engine, "again")
    image = registry.name("again") + ":1"
    # The answer is from memory for a while; after a restart it is asked for anew.
    counts = []
    for _ in range(2):
        with with_policy(folder, "always") as daemon:
            ended = daemon.client.wait(daemon.client.submit(spec(image))["id"])
            checks.equal("always: the run succeeds", ended["status"]["phase"], "succeeded")
            counts.append(registry.pulls("again"))
            finish(checks, engine)
    checks.check("always: the registry is asked although the image is there",
                 counts[1] > counts[0], counts)
    registry.forget(engine, "again")


def allowed(checks, folder, registry, _engine):
    pattern = registry.name("*")
    with with_policy(folder, "missing", "--allowed-images", pattern) as daemon:
        status, _, body = daemon.client.request(
            "POST", "/v1/runs", '{"image": "mayfly-test/busybox:1", "command": ["true"]}',
            {"Content-Type": "application/json"})
        checks.check("an image outside of the operator's patterns is refused with 403",
                     status == 403 and b"image-not-allowed" in body, (status, body))


def finish(checks, engine):
    checks.check("nothing is left on the engine", wait_for(lambda: engine.owned() == ([], [])),
                 engine.owned())


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-image-pull-")
    engine = EngineApi()
    registry = Registry(folder)
    try:
        for function in (missing, never, always, allowed):
            checks.step(function, checks, folder, registry, engine)
    finally:
        registry.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
