#!/usr/bin/env python3
"""An engine that is killed, frozen, pruned, filled up, or whose objects somebody else removes.

    engine_chaos.py [--full] [--seed N] [--only MODE]

An engine of this test alone, with a containerd of its own. In each mode (without --full: in those
that the seed chooses) runs are under way when it
happens; afterwards all is well again. Whatever happened: no script was executed twice, no run is
stuck, a run is `lost` only for a reason that is true, mayflyd is alive, nothing of ours is left.
All the time there are decoys: objects with names like ours, with our prefix, with our labels and
another instance's id. At the end each is as it was.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402
from engine_away import ENGINE, IMAGES  # noqa: E402
from fence_holds import KilledEngine  # noqa: E402
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

RUNS = 6
RUN_DEADLINE_S = 120
DATA_ROOT_MB = 400
FROZEN_S, FROZEN_FULL_S = 6, 30
MODES_BY_DEFAULT = 4  # besides the first
PRUNED_S = 4
FULL_S = 3
OTHER_INSTANCE = "0123456789abcdef"


class ChaosEngine(KilledEngine):
    """Its data-root is a small disk."""

    def start(self):
        data = os.path.join(self.folder, "data")
        if not os.path.ismount(data):
            os.makedirs(data, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DATA_ROOT_MB}m,mode=0711",
                            "tmpfs", data], check=True)
        return super().start()

    def signal(self, name):
        subprocess.run([ENGINE, "kill", self.folder, name], check=True)

    def wait_gone(self, pid, deadline_s=60):
        gone = wait_for(lambda: not os.path.exists(f"/proc/{pid}"), deadline_s, 0.02)
        if not gone:
            raise TimeoutError(f"dockerd {pid} is still there after {deadline_s} s")

    def restart_containerd(self):
        """kill -9, and a new one as deploy/private-engine.sh starts it."""
        pid_file = os.path.join(self.folder, "containerd.pid")
        with open(pid_file, encoding="utf-8") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)
        self.wait_gone(pid)
        # Not a child of ours: a zombie would look alive to who stops the engine.
        start = 'setsid containerd --config "$0/containerd.toml" >>"$0/containerd.log" 2>&1 & '
        subprocess.run(["bash", "-c", start + 'echo $! >"$0/containerd.pid"', self.folder],
                       check=True, stdin=subprocess.DEVNULL)


# ---- decoys

class Decoys:
    """Objects that are none of ours, and what they were when they were made."""

    def __init__(self, engine, instance):
        self.engine = engine
        labels = {"io.mayfly.role": "run", "io.mayfly.run": "01jd0000000000000000000000",
                  "io.mayfly.attempt": "1", "io.mayfly.nonce": "0011223344556677"}
        near = {"io.mayfly.instance": instance[:8], **labels}
        other = {"io.mayfly.instance": OTHER_INSTANCE, **labels}
        self.containers, self.volumes = {}, {}
        for name, wearing in (("mayfly-decoy", {}),
                              ("mayfly-01jd0000000000000000000000-1", other),
                              ("mayfly-probe-1", near)):
            self.volume(f"{name}-0011223344556677", wearing)
            self.container(name, wearing, f"{name}-0011223344556677")
        self.before = self.look()

    def container(self, name, labels, volume):
        # Running and with a volume, so that a prune of somebody else's leaves them.
        body = {"Image": rig.IMAGE, "Cmd": ["sleep", "1000000"], "Labels": labels,
                "HostConfig": {"NetworkMode": "none", "Binds": [f"{volume}:/data"],
                               "RestartPolicy": {"Name": "always"}}}
        made = self.engine.json("POST", f"/containers/create?name={name}", body)
        self.engine.request("POST", f"/containers/{made['Id']}/start")
        self.containers[name] = made["Id"]

    def volume(self, name, labels):
        self.engine.json("POST", "/volumes/create", {"Name": name, "Labels": labels})
        self.volumes[name] = labels

    def look(self):
        """{name: what must not change}"""
        found = {}
        for name, container in self.containers.items():
            facts = self.engine.inspect(container)
            found[name] = (facts["Id"], facts["Created"], facts["Config"]["Labels"],
                           facts["State"]["Status"])
        for name in self.volumes:
            facts = self.engine.json("GET", f"/volumes/{name}")
            found[f"volume {name}"] = (facts["CreatedAt"], facts["Labels"])
        return found

    def changed(self):
        """[] or which are not as they were; a restart of the engine restarts them first."""
        wait_for(lambda: self._now() == self.before, 30, 0.2)
        now = self._now()
        return [(name, self.before[name], now.get(name)) for name in self.before
                if now.get(name) != self.before[name]]

    def _now(self):
        try:
            return self.look()
        except (OSError, RuntimeError):
            return {}


# ---- what happens

def killed(world):
    world.engine.kill_now()
    world.engine.start()


def live_restored(world):
    world.engine.flags = ("--live-restore",)
    killed(world)  # from here on: what ran before was not under it
    world.submit(4)
    world.wait_running(1)
    killed(world)
    world.engine.flags = ()
    killed(world)


def terminated(world):
    pid = world.engine.pid()
    world.engine.signal("TERM")
    world.engine.wait_gone(pid)
    world.engine.start()


def frozen(world):
    world.engine.signal("STOP")
    began = rig.now()
    wait_for(lambda: rig.now() - began > world.frozen_s, world.frozen_s + 1)
    world.engine.signal("CONT")


def containerd_killed(world):
    world.engine.restart_containerd()


def pruned(world):
    """Somebody prunes all the time while runs come and go."""
    environment = {**os.environ, "DOCKER_HOST": world.engine.host}
    end = rig.now() + PRUNED_S
    while rig.now() < end:
        subprocess.run(["docker", "system", "prune", "-af", "--volumes"], env=environment,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    # What it took with the images was mayflyd's to make again, not the base, which decoys use.


def removed(world):
    for run_id in world.running():
        container = world.api.container_of(run_id)
        world.api.request("DELETE", f"/containers/{container}?force=1")


def removed_with_volume(world):
    """Container and volume: nothing is left to tell how it ended."""
    for run_id in world.running():
        container = world.api.container_of(run_id)
        mounts = world.api.inspect(container)["Mounts"] if container else []
        world.api.request("DELETE", f"/containers/{container}?force=1")
        for mount in mounts:
            world.api.request("DELETE", f"/volumes/{mount['Name']}?force=1")


def filled(world):
    """No byte is free where the engine keeps everything."""
    path = os.path.join(world.engine.folder, "data", "filler")
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    world.submit(4)
    began = rig.now()
    wait_for(lambda: rig.now() - began > FULL_S, FULL_S + 1)
    os.unlink(path)


BY_ENGINE = {"EngineInterrupted"}
BY_HAND = {"ContainerVanished", "VolumeVanished", "KilledExternally"}
# What happens, and the reasons that are true for a run that is lost in it.
MODES = {
    "kill -9": (killed, BY_ENGINE),
    "live-restore": (live_restored, BY_ENGINE),
    # An engine that is stopped in order stops the containers first: that is seen before its end.
    "TERM": (terminated, BY_ENGINE | {"KilledExternally"}),
    "frozen": (frozen, set()),
    "containerd": (containerd_killed, BY_ENGINE),
    "rm -f": (removed, BY_HAND),
    "volume rm": (removed_with_volume, BY_HAND),
    "full disk": (filled, set()),
    "prune": (pruned, BY_HAND),
}


class World:
    """The engine, the daemon, and the runs of one mode."""

    def __init__(self, engine, daemon, rng, frozen_s):
        self.engine, self.daemon, self.rng, self.frozen_s = engine, daemon, rng, frozen_s
        self.api = EngineApi(engine.host)
        self.runs = []

    def submit(self, count):
        for _ in range(count):
            seconds = self.rng.choice((0.05, 0.5, 2, 4))
            retry = {"retry": {"max_attempts": 2, "on": ["lost"]}}
            more = retry if self.rng.random() < 0.2 else {}
            self.runs.append(self.daemon.client.submit(rig.spec(seconds, **more))["id"])

    def phase(self, run_id):
        return self.daemon.client.get(run_id)["status"]["phase"]

    def running(self):
        return [run_id for run_id in self.runs if self.phase(run_id) == "running"]

    def wait_running(self, count):
        return wait_for(lambda: len(self.running()) >= count, 30)


def judge(world, mode):
    """({ending: how many}, [what is wrong])"""
    tally, wrong = {}, []
    allowed = MODES[mode][1]
    for run_id in world.runs:
        try:
            run = world.daemon.client.wait(run_id, RUN_DEADLINE_S)
        except TimeoutError as error:
            wrong.append(f"stuck: {error}")
            continue
        status = run["status"]
        ending = f"{status['phase']} {status['reason']}"
        tally[ending] = tally.get(ending, 0) + 1
        problems = rig.problems_of(world.daemon.client, run,
                                   (status["phase"], status["reason"]), engine_died=True)
        if mode == "full disk":
            # The script met the full disk, too: what it tells of itself may be empty.
            problems = [p for p in problems if "executed" in p and "executed 0 " not in p]
        elif status["phase"] not in ("succeeded", "lost"):
            problems.append(f"ended {ending}: {status['message']}")
        if status["phase"] == "lost" and status["reason"] not in allowed:
            problems.append(f"lost for {status['reason']} ({status['message']}), which is not "
                            f"what happened")
        wrong += [f"{run_id}: {p}" for p in problems]
    return tally, wrong


def one_mode(checks, world, mode, decoys):
    began = rig.now()
    world.runs = []
    world.submit(RUNS)
    world.wait_running(2)
    MODES[mode][0](world)
    world.submit(2)
    tally, wrong = judge(world, mode)
    left = rig.wait_nothing_left(world.api, rig.instance_of(world.daemon), 90)
    endings = ", ".join(f"{times} {ending}" for ending, times in sorted(tally.items()))
    print(f"{mode:13} {rig.now() - began:4.0f} s  {endings}", flush=True)
    checks.equal(f"{mode}: no run twice, none stuck, none lost without reason", wrong, [])
    checks.equal(f"{mode}: nothing is left on the engine", left, ([], []))
    checks.equal(f"{mode}: what is not ours is as it was", decoys.changed(), [])
    checks.equal(f"{mode}: mayflyd is alive", world.daemon.process.poll(), None)


def choose(arguments, rng):
    """Names of the modes to go through. Without --full, the seed chooses some."""
    if arguments.only or arguments.full:
        return [arguments.only] if arguments.only else list(MODES)
    first, *others = MODES
    chosen = rng.sample(others, MODES_BY_DEFAULT)
    return [first] + [mode for mode in others if mode in chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every mode, and longer freezes")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", choices=MODES)
    arguments = parser.parse_args()
    print(f"seed={arguments.seed}", flush=True)
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-chaos-")
    engine = ChaosEngine(os.path.join(folder, "engine"))
    host = engine.start()
    subprocess.run([IMAGES, "busybox"], check=True, env={**os.environ, "DOCKER_HOST": host})
    daemon = Mayflyd(os.path.join(folder, "data"), host,
                     ["--sweep-every-s", "2", "--resync-every-s", "5"])
    began = rig.now()
    try:
        daemon.start()
        decoys = Decoys(EngineApi(host), rig.instance_of(daemon))
        world = World(engine, daemon, random.Random(arguments.seed),
                      FROZEN_FULL_S if arguments.full else FROZEN_S)
        for mode in choose(arguments, world.rng):
            checks.step(one_mode, checks, world, mode, decoys)
    finally:
        daemon.stop()
        if checks.failed:
            shutil.copy(os.path.join(engine.folder, "dockerd.log"), folder)
        engine.stop()
    print(f"seconds={rig.now() - began:.0f}", flush=True)
    checks.finish(folder)


if __name__ == "__main__":
    main()
