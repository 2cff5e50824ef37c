#!/usr/bin/env python3
"""The engine dies in the middle of starting a container; no script runs twice.

    fence_holds.py [--trials N] [--seed N]

1. N times: dockerd is killed with kill -9 up to 300 ms after POST /start went out to it, and
   starts again. What the engine then says of the container is not to be trusted (it may say
   `created` of one that has run): the claim in the volume decides. The run is executed once and
   ends well, or is lost; it is never executed twice. Half of the trials are with live-restore.
2. A script that fights the claim cannot make it look untouched.
3. While mayflyd is dead, somebody starts a prepared container by hand and removes it. Its volume
   is left, and says that the run was executed: it is lost, and not executed again.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402
from engine_away import ENGINE, IMAGES, OwnEngine  # noqa: E402
from fault_proxy import FaultProxy, Rule  # noqa: E402
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

WINDOW_S = 0.3
SCRIPT_S = (0.05, 0.5, 2)
CLAIM_MTIME_S = 1000000000  # what it has before it is taken; see store/input_tar.h
# What the run's user might try. None of it may fail the script.
HOSTILE = rig.ONCE + """
c=/work/.mayfly/claim
{ rm -f $c; rm -rf /work/.mayfly; mv $c /work/elsewhere; mv /work/.mayfly /work/gone
chmod 0777 $c; chmod 0777 /work/.mayfly; truncate -s 0 $c; : > $c; touch -d @%d $c
touch -r /work/in.txt $c; ln -sf /dev/null $c; cp /dev/null $c; dd if=/dev/null of=$c
mkdir -p /work/.mayfly/claim; touch -d @%d $c; rm -f $c; } > /dev/null 2>&1
ls -la /work/.mayfly; echo fought
sleep 60""" % (CLAIM_MTIME_S, CLAIM_MTIME_S)


class KilledEngine(OwnEngine):
    """OwnEngine with dockerd's own flags, killed without a shell in between."""

    flags = ()

    def start(self):
        self.host = subprocess.run([ENGINE, "start", self.folder, *self.flags], check=True,
                                   text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL).stdout.strip()
        return self.host

    def pid(self):
        with open(os.path.join(self.folder, "dockerd.pid"), encoding="utf-8") as file:
            return int(file.read())

    def kill_now(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}") or zombie(pid), 10, 0.005)


def zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill_after_start(engine, proxy, delay_s):
    """Kills dockerd `delay_s` after the next POST /start went out. An event that says: done."""
    done = threading.Event()

    def hook(method, path):
        if method == "POST" and path.endswith("/start"):
            proxy.forwarded_hooks.remove(hook)
            timer = threading.Timer(delay_s, lambda: (engine.kill_now(), done.set()))
            timer.start()
    proxy.forwarded_hooks.append(hook)
    return done


def judge(client, run):
    """[] or what is wrong. It ended well, or it is lost because of the engine."""
    status = run["status"]
    kept = {a["path"] for a in client.artifacts(run["id"])}
    lines = client.artifact(run["id"], "ran").splitlines() if "ran" in kept else []
    wrong = [f"executed {len(lines)} times"] if len(lines) > 1 else []
    if status["phase"] == "succeeded":
        wrong += rig.problems_of(client, run, engine_died=True)
    elif (status["phase"], status["reason"]) != ("lost", "EngineInterrupted"):
        wrong.append(f"ended {status['phase']} {status['reason']}: {status['message']}")
    return wrong


def trials(checks, daemon, proxy, engine, rng, count):
    tally = {}
    wrong = []
    for number in range(count):
        live_restore = number >= count // 2
        if number in (0, count // 2):  # dockerd's flags change with its next start
            subprocess.run([ENGINE, "stop", engine.folder], check=True,
                           stderr=subprocess.DEVNULL)
            engine.flags = ("--live-restore",) if live_restore else ()
            engine.start()
        delay_s, seconds = rng.uniform(0, WINDOW_S), rng.choice(SCRIPT_S)
        killed = kill_after_start(engine, proxy, delay_s)
        run_id = daemon.client.submit(rig.spec(seconds))["id"]
        if not killed.wait(60):
            wrong.append(f"trial {number}: no start in 60 s: {daemon.client.get(run_id)}")
            continue
        engine.start()
        run = daemon.client.wait(run_id, 90)
        status = run["status"]
        claim = re.findall(rf"run={run_id} attempt=1 claim=(\w+)", log_of(daemon))
        key = (status["phase"], status["reason"], f"fenced {'+'.join(claim) or 'no'}")
        tally[key] = tally.get(key, 0) + 1
        wrong += [f"trial {number} ({delay_s * 1000:.0f} ms, {seconds} s, "
                  f"live-restore {live_restore}): {p}" for p in judge(daemon.client, run)]
    for key, times in sorted(tally.items()):
        print(f"{times:>4} x {', '.join(key)}", flush=True)
    lied = sum(times for key, times in tally.items() if "taken" in key[2])
    print(f"trials={count}; the engine said `created` (or nothing) of a script that had run: "
          f"{lied}", flush=True)
    checks.equal(f"in {count} trials no script ran twice, and each ended well or lost", wrong, [])
    left = rig.wait_nothing_left(EngineApi(engine.host), rig.instance_of(daemon))
    checks.equal("nothing is left on the engine", left, ([], []))


def log_of(daemon):
    with open(daemon.log_path, encoding="utf-8", errors="replace") as file:
        return file.read()


def hostile_script(checks, daemon, proxy, engine):
    """Its start is not answered and nobody may look, until it has fought and its container is
    gone: only the claim is left to tell."""
    api = EngineApi(engine.host)
    blind = Rule("GET", r"/containers/[0-9a-f]{64}/json", "error_before", count=-1)
    unheard = Rule("POST", r"/start$", "drop")
    proxy.rules = [unheard]
    proxy.forwarded_hooks.append(lambda method, path: path.endswith("/start") and
                                 proxy.rules.append(blind))
    run_id = daemon.client.submit({**rig.spec(0), "command": ["sh", "-c", HOSTILE]})["id"]
    fought = wait_for(lambda: b"fought" in logs_of(api, run_id), 40)
    checks.check("the hostile script ran, and its start was not answered",
                 fought and unheard.hits == 1, logs_of(api, run_id))
    api.request("DELETE", f"/containers/{api.container_of(run_id)}?force=1")
    proxy.forwarded_hooks.clear()
    proxy.rules = []
    run = daemon.client.wait(run_id, 90)
    claim = re.findall(rf"run={run_id} attempt=1 claim=(\w+)", log_of(daemon))
    checks.equal("rm, mv, chmod, truncate, touch and a link leave the claim taken", claim,
                 ["taken"])
    lines = daemon.client.artifact(run_id, "ran").splitlines()
    checks.equal("and it was executed once", len(lines), 1)
    checks.equal("and is lost: nobody can know how it would have ended",
                 run["status"]["phase"], "lost")


def started_by_hand(checks, daemon, engine):
    api = EngineApi(engine.host)
    witness = rig.StartWitness(api)
    client = daemon.client
    holder = client.submit(rig.spec(300))["id"]
    wait_for(lambda: client.get(holder)["status"]["phase"] == "running")
    run_id = client.submit(rig.spec(0))["id"]
    prepared = wait_for(lambda: is_prepared(client.get(run_id)["status"]))
    checks.check("a run is prepared, and waits for a run slot", prepared, client.get(run_id))
    container = api.container_of(run_id)
    daemon.kill()
    api.request("POST", f"/containers/{container}/start")
    wait_for(lambda: api.inspect(container)["State"]["Status"] == "exited")
    api.request("DELETE", f"/containers/{container}")
    daemon.start()
    client.cancel(holder)
    status = client.wait(run_id, 90)["status"]
    checks.equal("what was started by hand and removed while mayflyd was dead is lost",
                 (status["phase"], status["reason"]), ("lost", "KilledExternally"))
    checks.check("it says why", "claim" in (status["message"] or ""), status)
    client.wait(holder)
    checks.equal("and it was started once, by that hand", witness.starts.get(run_id), 1)
    witness.close()


def is_prepared(status):
    return status["phase"] == "preparing" and status["pending_reason"] == "Capacity"


def logs_of(api, run_id):
    container = api.container_of(run_id)
    if container is None:
        return b""
    return api.request("GET", f"/containers/{container}/logs?stdout=1&stderr=1")[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"trials={arguments.trials} seed={arguments.seed}", flush=True)
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-fence-")
    engine = KilledEngine(os.path.join(folder, "engine"))
    host = engine.start()
    subprocess.run([IMAGES, "busybox"], check=True, env={**os.environ, "DOCKER_HOST": host})
    proxy = FaultProxy(os.path.join(folder, "proxy.sock"), host[len("unix://"):])
    daemon = Mayflyd(os.path.join(folder, "data"), proxy.host,
                     ["--max-running", "1", "--prepare-ahead", "1"])
    began = rig.now()
    try:
        daemon.start()
        daemon.client.wait(daemon.client.submit(rig.spec(0))["id"])
        checks.step(hostile_script, checks, daemon, proxy, engine)
        checks.step(started_by_hand, checks, daemon, engine)
        checks.step(trials, checks, daemon, proxy, engine, random.Random(arguments.seed),
                    arguments.trials)
    finally:
        daemon.stop()
        proxy.close()
        engine.stop()
    print(f"seconds={rig.now() - began:.0f}", flush=True)
    checks.finish(folder)


if __name__ == "__main__":
    main()
