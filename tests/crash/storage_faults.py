#!/usr/bin/env python3
"""The disk fails, fills up, or was damaged while mayflyd was away.

    storage_faults.py [--full] [--seed N]

1. With disk_shim.c: ENOSPC and EIO at the n-th write and at the n-th fsync of the database and
   of the spool, from then on until it heals. Whatever n: mayflyd goes on by itself after the
   fault, or has ended with a status that says "the store failed" (3 at the start, 4 later) and
   goes on after a restart; nothing accepted is lost, no run is executed twice, nothing is left on
   the engine. Without --full a sample of the n, by the seed.
2. A disk that is really full: /readyz and refusals say so, and it ends by itself.
3. Damaged, foreign and missing files, a read-only disk, few descriptors, two daemons: refused with
   a message that says what to do, or nothing of it touched.
"""

import argparse
import concurrent.futures
import hashlib
import http.client
import json
import os
import queue
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402
from crash_points import Lane, Trial  # noqa: E402
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import BUILD, TERMINAL, Mayflyd  # noqa: E402

LANES = 2
SAMPLE = 2  # without --full: points of each kind of fault
UNDER_FAULT_S = 2.5  # what does not end in that time is waiting for the disk
REFUSED_FOR_S = 0.6
GIVE_UP_S = 12  # after a fault: to have recovered, or to have ended
STORE_FAILED = (3, 4)  # mayflyd's exit statuses: cannot open, the store has failed
KINDS = [(fault, op, part) for part in ("db", "spool") for op in ("write", "fsync")
         for fault in ("enospc", "eio")]


# ---- 1: faults at the n-th operation

class FaultTrial(Trial):
    """One run; from the n-th operation of a kind on, the disk fails until it heals."""

    def __init__(self, lane, kind, point, witness):
        super().__init__(lane, "0.05 s", point, "-".join(kind), witness)
        self.fault, self.op, self.part = kind
        self.heal = self.data_dir + ".heal"
        self.refused = []
        self.state = ""  # how the daemon was when the disk was well again

    def run(self):
        if os.path.exists(self.heal):
            os.unlink(self.heal)
        self.daemon.environment = rig.shim_environment(
            self.daemon, self.effects.path, disk_fault=self.fault, disk_fault_op=self.op,
            disk_fault_on=self.part, disk_fault_at=self.point, disk_fault_count=-1,
            disk_fault_heal=self.heal)
        self.daemon.start(wait_ready=False)
        self.under_fault()
        with open(self.heal, "w", encoding="utf-8"):
            pass
        self.fired = bool(self.effects.faults())
        wait_for(lambda: not self.alive() or self.readiness()[0] == 200, GIVE_UP_S)
        if self.alive() and self.readiness()[0] == 200:
            wait_for(lambda: not self.alive(), 0.2)  # its next commit may be its end
        if self.alive() and self.readiness()[0] != 200:
            self.wrong("differing", f"{GIVE_UP_S} s after the fault it has neither recovered nor "
                       f"ended, and cannot work: {self.readiness()[1]}")
            self.daemon.kill()
            self.daemon.environment = {}
            self.daemon.start()
            self.state = "hung"
        elif self.alive():
            self.state = "went on"
        else:
            self.restart()
        try:
            self.judge()
        finally:
            self.daemon.kill()
        if rig.database_problem(self.data_dir):
            self.wrong("lost", f"the database: {rig.database_problem(self.data_dir)}")
        return self

    def restart(self):
        status = self.daemon.process.returncode
        self.state = f"ended with {status}"
        if status not in STORE_FAILED:
            self.wrong("differing", f"it ended with {status}: {self.daemon.log_tail(3)}")
        if "mayflyd:" not in self.daemon.log_tail() and "store has failed" not in (
                self.daemon.log_tail()):
            self.wrong("differing", f"it ended and did not say why: {self.daemon.log_tail(3)}")
        self.daemon.environment = {}
        self.daemon.start()

    def readiness(self):
        try:
            status, _, body = self.daemon.new_client().request("GET", "/readyz")
            return status, body
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def under_fault(self):
        refused_since = None
        end = rig.now() + 20
        while self.alive() and not self.run_id and rig.now() < end:
            answered = rig.post(self.daemon, self.key, self.spec)
            if not answered:
                continue
            status, answer = answered
            if status in (200, 201):
                self.run_id = json.loads(answer)["id"]
                break
            self.refused.append(status)
            if status < 500 or not json.loads(answer).get("detail"):
                self.wrong("differing", f"refused with {status} {answer[:200]}")
            refused_since = refused_since or rig.now()
            if rig.now() - refused_since > REFUSED_FOR_S:
                return
            rig.time.sleep(0.05)
        wait_for(lambda: not self.alive() or self.has_ended(), UNDER_FAULT_S)

    def has_ended(self):
        try:
            return self.daemon.new_client().get(self.run_id)["status"]["phase"] in TERMINAL
        except (OSError, http.client.HTTPException):
            return False
        except Exception as error:  # pylint: disable=broad-except
            return self.run_id is None or getattr(error, "status", 0) < 500


def count_operations(lane, witness):
    """{(op, part): how many a run without a fault makes}"""
    trial = FaultTrial(lane, ("eio", "write", "db"), 1_000_000, witness)
    trial.run()
    counts = {}
    for _, part, call, _ in trial.effects.numbered():
        op = "fsync" if "sync" in call else "write" if "write" in call or "trunc" in call else ""
        if op:
            counts[(op, part)] = counts.get((op, part), 0) + 1
    trial.clean_up()
    return counts, trial.problems


def nth_operations(checks, arguments, folder, engine, witness):
    lanes = queue.Queue()
    for number in range(LANES):
        lanes.put(Lane(folder, number, engine))
    first = lanes.get()
    counts, problems = count_operations(first, witness)
    lanes.put(first)
    checks.equal("without a fault, all is well", problems, [])
    rng = random.Random(arguments.seed)
    trials = []
    for kind in KINDS:
        points = list(range(1, counts[kind[1:]] + 1))
        chosen = points if arguments.full else rng.sample(points, min(SAMPLE, len(points)))
        if kind[1:] == ("fsync", "db"):
            chosen = sorted({1, 2, *chosen})  # the commits of the submission: no run goes on then
        trials += [(kind, n) for n in chosen]

    def one(planned):
        lane = lanes.get()
        trial = FaultTrial(lane, planned[0], planned[1], witness)
        try:
            trial.run()
        except Exception as error:  # pylint: disable=broad-except
            trial.wrong("differing", f"{type(error).__name__}: {error}")
            trial.daemon.kill()
        lanes.put(lane)
        for kind, sentence in trial.problems:
            print(f"{kind}: {sentence} ({trial.data_dir})", flush=True)
        trial.clean_up()
        return trial

    began = rig.now()
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        done = list(pool.map(one, trials))
    table_of_faults(done, counts)
    print(f"seconds={rig.now() - began:.0f}", flush=True)
    wrong = [s for t in done for _, s in t.problems]
    checks.check(f"{sum(t.fired for t in done)} faults of {len(done)} points: nothing lost, "
                 "doubled or left, and mayflyd went on or said why it ended", not wrong, wrong[:5])
    checks.check("faults were met", sum(t.fired for t in done) > len(done) / 2)
    while not lanes.empty():
        rig.remove_prepared_images(engine, lanes.get().instance)


def table_of_faults(done, counts):
    print(f"{'fault':22}{'of one run':>11}{'tried':>7}{'met':>5}{'refused':>9}{'went on':>9}"
          f"{'ended':>7}{'hung':>6}{'wrong':>7}")
    for kind in KINDS:
        those = [t for t in done if (t.fault, t.op, t.part) == kind]
        print(f"{' '.join(kind):22}{counts[kind[1:]]:>11}{len(those):>7}"
              f"{sum(t.fired for t in those):>5}{sum(bool(t.refused) for t in those):>9}"
              f"{sum(t.state == 'went on' for t in those):>9}"
              f"{sum('ended' in t.state for t in those):>7}"
              f"{sum(t.state == 'hung' for t in those):>6}"
              f"{sum(bool(t.problems) for t in those):>7}", flush=True)


# ---- 2: a small disk

class SmallDisk:
    """A tmpfs of its own."""

    def __init__(self, folder, size_mb):
        self.folder = folder
        os.makedirs(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", folder],
                       check=True)

    def fill(self, leave_bytes):
        """Path of the file that takes all other space."""
        path = os.path.join(self.folder, "filler")
        with open(path, "ab", buffering=0) as file:
            try:
                while self.free() > leave_bytes:
                    file.write(bytes(4096))
            except OSError:
                pass
        return path

    def free(self):
        facts = os.statvfs(self.folder)
        return facts.f_bavail * facts.f_frsize

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


def full_disk(checks, folder, engine):
    disk = SmallDisk(os.path.join(folder, "small"), 160)
    daemon = Mayflyd(os.path.join(disk.folder, "data"), os.environ["DOCKER_HOST"],
                     ["--disk-low-bytes", "20000000", "--disk-full-bytes", "10000000"])
    daemon.log_path = os.path.join(folder, "small.log")
    try:
        daemon.start()
        early, late = [daemon.client.submit(rig.spec(s))["id"] for s in (2, 8)]
        wait_for(lambda: daemon.client.get(late)["status"]["phase"] == "running")
        filler = disk.fill(leave_bytes=6_000_000)
        nearly_full(checks, daemon, early)
        disk.fill(leave_bytes=0)
        wait_for(lambda: phase_seen(daemon, late) != "running", 30)
        began = rig.now()
        wait_for(lambda: daemon.process.poll() is not None or rig.now() - began > 2, 10)
        os.unlink(filler)
        if daemon.process.poll() is not None:
            checks.check("without one free byte mayflyd ended, and said that the store failed",
                         daemon.process.returncode in STORE_FAILED, daemon.process.returncode)
            daemon.start()
        else:
            checks.check("without one free byte mayflyd waited", True)
        checks.equal("a run that ended on the full disk ends well when there is space again",
                     rig.problems_of(daemon.client, daemon.client.wait(late)), [])
        wait_for(lambda: daemon.new_client().request("GET", "/readyz")[0] == 200, 30)
        last = daemon.client.wait(daemon.client.submit(rig.spec(0))["id"])
        checks.equal("and new ones are taken", rig.problems_of(daemon.client, last), [])
        checks.equal("nothing is left on the engine",
                     rig.wait_nothing_left(engine, rig.instance_of(daemon)), ([], []))
    finally:
        daemon.stop()
        rig.remove_prepared_images(engine, rig.instance_of(daemon))
        disk.close()


def nearly_full(checks, daemon, early):
    ready = {}

    def not_ready():
        ready["status"], _, ready["body"] = daemon.new_client().request("GET", "/readyz")
        return ready["status"] == 503
    wait_for(not_ready, 30)
    checks.check("on a nearly full disk /readyz is 503 and says why",
                 ready["status"] == 503 and b"disk" in ready["body"], ready)
    status, _, answer = daemon.client.request(
        "POST", "/v1/runs", json.dumps(rig.spec(0)), {"Content-Type": "application/json"})
    checks.check("a submission is refused with 507 and a reason",
                 status == 507 and json.loads(answer).get("detail"), (status, answer))
    checks.equal("what was accepted before ends well",
                 rig.problems_of(daemon.client, daemon.client.wait(early)), [])


# ---- 3: damage

def digest(folder):
    """{path: sha256} of the database's files."""
    found = {}
    for name in ("mayfly.db", "mayfly.db-wal"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def refuses(checks, lane, name, damage, words):
    """A mayflyd on a copy that was damaged ends with 3, says why, and leaves it as it was."""
    data_dir = lane.copy(fresh=False)
    damage(data_dir)
    before = digest(data_dir)
    daemon = lane.daemon(data_dir)
    daemon.start(wait_ready=False)
    ended = rig.wait_dead(daemon, 20)
    status = daemon.process.poll()
    daemon.kill()
    said = daemon.log_tail()
    checks.check(f"{name}: refused, and it says why and what to do",
                 ended and status == 3 and all(word in said for word in words), (status, said))
    checks.equal(f"{name}: it was left as it was", digest(data_dir), before)


def damaged_databases(checks, lane):
    def database(folder):
        return os.path.join(folder, "mayfly.db")

    def newer(folder):
        connection = sqlite3.connect(database(folder))
        connection.execute("PRAGMA user_version = 99")
        connection.close()

    def foreign(folder):
        os.unlink(database(folder))
        connection = sqlite3.connect(database(folder))
        connection.execute("CREATE TABLE theirs (x)")
        connection.close()

    def emptied(folder):
        with open(database(folder) + "-wal", "wb") as file:
            file.write(os.urandom(5000))
        os.truncate(database(folder), 0)

    size = os.path.getsize(database(lane.template))
    what_to_do = "restore a copy"
    refuses(checks, lane, "garbage in the middle of the database",
            lambda f: overwrite(database(f), size // 2 // 4096 * 4096, os.urandom(8192)),
            ["damaged", what_to_do])
    refuses(checks, lane, "a database cut in half",
            lambda f: os.truncate(database(f), size // 2), ["mayfly.db", what_to_do])
    refuses(checks, lane, "text instead of a database",
            lambda f: overwrite(database(f), 0, b"never a database"), ["not a SQLite database"])
    refuses(checks, lane, "a database of a newer version", newer, ["schema version 99", "newer"])
    refuses(checks, lane, "somebody else's SQLite database", foreign, ["not one of Mayfly's"])
    refuses(checks, lane, "an empty database beside a log", emptied, ["write-ahead log"])


def running_container(lane, data_dir):
    """(run id, container id, a killed daemon): a run that its daemon left running."""
    daemon = lane.daemon(data_dir)
    daemon.start()
    run_id = daemon.client.submit(rig.spec(30))["id"]
    wait_for(lambda: daemon.client.get(run_id)["status"]["phase"] == "running")
    daemon.kill()
    return run_id, lane.engine.container_of(run_id), daemon


def untouched(checks, name, engine, container, daemon):
    """Sweeps come and go, and the container goes on."""
    before = engine.inspect(container)
    daemon.start()
    began = rig.now()
    wait_for(lambda: rig.now() - began > 3)  # rounds of sweep-every-s 1
    after = engine.inspect(container)
    checks.check(f"{name}: a container that no record knows is left alone",
                 (before["Id"], before["State"]["Running"], before["State"]["StartedAt"]) ==
                 (after["Id"], after["State"]["Running"], after["State"]["StartedAt"]),
                 after["State"])
    daemon.kill()


def lost_database(checks, lane, folder, engine):
    data_dir = lane.copy(fresh=False)
    _, container, daemon = running_container(lane, data_dir)
    daemon.flags = ["--sweep-every-s", "1"]
    os.unlink(os.path.join(data_dir, "mayfly.db-wal"))
    untouched(checks, "the write-ahead log was deleted", engine, container, daemon)
    new = lane.daemon(os.path.join(folder, "new"), ["--sweep-every-s", "1"])
    untouched(checks, "a new database beside old containers", engine, container, new)
    names = engine.inspect(container)
    engine.request("DELETE", f"/containers/{container}?force=1")
    for mount in names["Mounts"]:
        engine.request("DELETE", f"/volumes/{mount['Name']}")


def read_only_disk(checks, lane, folder):
    disk = SmallDisk(os.path.join(folder, "readonly"), 16)
    try:
        data_dir = os.path.join(disk.folder, "data")
        shutil.copytree(lane.template, data_dir)
        disk.remount("ro")
        daemon = lane.daemon(data_dir)
        daemon.log_path = os.path.join(folder, "readonly.log")
        daemon.start(wait_ready=False)
        rig.wait_dead(daemon, 20)
        checks.check("a read-only disk: refused, and it says so",
                     daemon.process.poll() == 3 and "Read-only" in daemon.log_tail(),
                     (daemon.process.poll(), daemon.log_tail()))
        daemon.kill()
    finally:
        disk.close()


def damaged_spool(checks, lane):
    daemon = lane.daemon(lane.copy(fresh=False))
    daemon.start()
    whole, short = [daemon.client.wait(daemon.client.submit(rig.spec(0))["id"])["id"]
                    for _ in range(2)]
    spool = os.path.join(daemon.data_dir, "spool")
    os.unlink(os.path.join(spool, whole, "output.tar"))
    os.truncate(os.path.join(spool, short, "output.tar"), 5_000)
    for name, run_id in (("missing", whole), ("cut", short)):
        try:
            status, _, content = daemon.client.request("GET", f"/v1/runs/{run_id}/artifacts/big")
            problem = status >= 400 and json.loads(content).get("detail")
        except (OSError, http.client.HTTPException):
            status, problem = "closed", "cut off"  # a body that ends early is not taken for whole
        checks.check(f"artifacts in a {name} file: an error, never a short answer",
                     problem, (status,))
    daemon.kill()
    nowhere = "unix:///nonexistent/engine.sock"
    real, daemon.docker_host = daemon.docker_host, nowhere
    daemon.start(wait_ready=False)
    wait_for(lambda: accepts(daemon), 20)
    gone, cut = [daemon.client.submit(rig.spec(0))["id"] for _ in range(2)]
    daemon.kill()
    os.unlink(os.path.join(spool, gone, "input.tar"))
    path = os.path.join(spool, cut, "input.tar")
    os.truncate(path, os.path.getsize(path) // 2)
    daemon.docker_host = real
    daemon.start()
    for name, run_id in (("missing", gone), ("cut", cut)):
        status = daemon.client.wait(run_id, 40)["status"]
        checks.equal(f"inputs in a {name} file: the run fails and says so",
                     (status["phase"], status["reason"]), ("failed", "InputsMissing"))
    checks.equal("nothing is left on the engine",
                 rig.wait_nothing_left(lane.engine, lane.instance), ([], []))
    daemon.stop()


def phase_seen(daemon, run_id):
    """The phase of a run; None from a daemon that has ended, or ends while it is asked."""
    try:
        return daemon.new_client().get(run_id)["status"]["phase"]
    except (OSError, http.client.HTTPException, RuntimeError):
        return None


def accepts(daemon):
    try:
        return daemon.new_client().request("GET", "/healthz")[0] == 200
    except OSError:
        return False


def two_daemons(checks, lane):
    first = lane.daemon(lane.copy(fresh=False))
    first.start()
    second = lane.daemon(first.data_dir)
    second.log_path = first.log_path + ".second"
    second.start(wait_ready=False)
    rig.wait_dead(second, 20)
    said = second.log_tail()
    checks.check("a second mayflyd on one directory: refused, and it names the first",
                 second.process.poll() == 3 and f"process {first.process.pid}" in said,
                 (second.process.poll(), said))
    second.kill()
    run = first.client.wait(first.client.submit(rig.spec(0))["id"])
    checks.equal("and the first goes on", rig.problems_of(first.client, run), [])
    rig.wait_nothing_left(lane.engine, lane.instance)
    first.stop()


def few_descriptors(checks, lane, folder):
    wrapper = os.path.join(folder, "few.sh")
    with open(wrapper, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nulimit -n 64\nexec "{BUILD}/mayflyd" "$@"\n')
    os.chmod(wrapper, 0o755)
    daemon = lane.daemon(lane.copy(fresh=False))
    daemon.program = wrapper
    daemon.start()
    runs = [daemon.client.submit(rig.spec(0.05))["id"] for _ in range(6)]
    crowd = []
    for _ in range(100):
        sock = socket.socket()
        sock.settimeout(5)
        try:
            sock.connect(("127.0.0.1", daemon.port))
        except OSError:
            pass
        crowd.append(sock)
    for sock in crowd:
        sock.close()
    ends = [rig.problems_of(daemon.client, daemon.client.wait(run_id)) for run_id in runs]
    checks.equal("64 descriptors and 100 connections: every run ends well", ends, [[]] * 6)
    checks.equal("and mayflyd is alive", daemon.process.poll(), None)
    checks.equal("and nothing is left on the engine",
                 rig.wait_nothing_left(lane.engine, lane.instance), ([], []))
    daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every n; half an hour")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"seed={arguments.seed}", flush=True)
    checks = Checks()
    engine = EngineApi()
    witness = rig.StartWitness(engine)
    folder = tempfile.mkdtemp(prefix="mayfly-storage-")
    began = rig.now()
    lane = Lane(folder, LANES, engine)
    checks.step(damaged_databases, checks, lane)
    checks.step(two_daemons, checks, lane)
    checks.step(read_only_disk, checks, lane, folder)
    checks.step(damaged_spool, checks, lane)
    checks.step(few_descriptors, checks, lane, folder)
    checks.step(full_disk, checks, folder, engine)
    checks.step(nth_operations, checks, arguments, folder, engine, witness)
    checks.step(lost_database, checks, lane, folder, engine)
    rig.remove_prepared_images(engine, lane.instance)
    print(f"all: seconds={rig.now() - began:.0f}", flush=True)
    checks.finish(folder)


if __name__ == "__main__":
    main()
