#!/usr/bin/env python3
"""Run slots, priorities, budgets, watermarks and queue deadlines; and what is not ours stays."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

IMAGE = "mayfly-test/busybox:1"
HUGE = str(1 << 49)


def shell(script, **more):
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def start(folder, name, *flags):
    return Mayflyd(os.path.join(folder, name), os.environ["DOCKER_HOST"], list(flags))


def overlaps(runs):
    """The most runs that were running at one moment, by their own timestamps."""
    moments = []
    for run in runs:
        status = run["status"]
        moments += [(status["running_at"], 1), (status["harvesting_at"], -1)]
    most = now = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def run_slots(checks, folder, engine):
    with start(folder, "slots", "--max-running", "2", "--prepare-ahead", "2") as daemon:
        client = daemon.client
        ids = [client.submit(shell("sleep 0.7"))["id"] for _ in range(7)]
        last = ids[-1]
        waiting = wait_for(lambda: client.get(last)["status"]["pending_reason"] == "Capacity")
        checks.check("a run without a slot says that it waits for capacity", waiting)
        checks.equal("never more run at once than there are slots",
                     overlaps([client.wait(r) for r in ids]), 2)
        wait_for(lambda: engine.owned() == ([], []))


def priority(checks, folder, engine):
    with start(folder, "priority", "--max-running", "1", "--prepare-ahead", "0") as daemon:
        client = daemon.client
        first = client.submit(shell("sleep 2"))["id"]
        wait_for(lambda: client.get(first)["status"]["phase"] == "running")
        order = [client.submit(shell("true", priority=p))["id"] for p in (-5, 0, 0, 5)]
        runs = [client.wait(r) for r in order]
        started = sorted(runs, key=lambda run: run["status"]["running_at"])
        checks.equal("higher priorities start first, and of equal ones the older",
                     [r["id"] for r in started], [order[3], order[1], order[2], order[0]])
        wait_for(lambda: engine.owned() == ([], []))


def memory_budget(checks, folder, engine):
    limits = {"memory_bytes": 64 << 20}
    with start(folder, "budget", "--max-running", "4", "--memory-budget-bytes", str(128 << 20),
               "--max-memory-bytes", str(128 << 20), "--default-memory-bytes",
               str(32 << 20)) as daemon:
        ids = [daemon.client.submit(shell("sleep 0.7", limits=limits))["id"] for _ in range(5)]
        runs = [daemon.client.wait(r) for r in ids]
        checks.equal("the memory budget holds below the run slots", overlaps(runs), 2)
        wait_for(lambda: engine.owned() == ([], []))


def queue_deadline(checks, folder, engine):
    with start(folder, "queue", "--max-running", "1", "--prepare-ahead", "0") as daemon:
        client = daemon.client
        long = client.submit(shell("sleep 4"))["id"]
        wait_for(lambda: client.get(long)["status"]["phase"] == "running")
        late = client.submit(shell("true", limits={"queue_timeout_s": 1}))["id"]
        status = client.wait(late)["status"]
        checks.equal("a run that waits too long is timed out, and was never started",
                     (status["phase"], status["reason"], status["running_at"]),
                     ("timed_out", "QueueTimeout", None))
        client.wait(long)
        wait_for(lambda: engine.owned() == ([], []))


def disk_watermarks(checks, folder, engine):
    with start(folder, "disk", "--disk-low-bytes", "0", "--disk-full-bytes", "0") as daemon:
        kept = daemon.client.submit(shell("echo kept"))["id"]
        daemon.client.wait(kept)
    daemon.flags = ["--disk-low-bytes", HUGE, "--disk-full-bytes", "0"]
    daemon.start()
    queued = daemon.client.submit(shell("true"))["id"]
    low = wait_for(lambda: daemon.client.get(queued)["status"]["pending_reason"] == "DiskLow")
    checks.check("on a low disk a run is accepted, queued, and says why", low,
                 daemon.client.get(queued)["status"])
    daemon.stop()
    daemon.flags = ["--disk-low-bytes", HUGE, "--disk-full-bytes", HUGE]
    daemon.start(wait_ready=False)
    answer = wait_for(lambda: refused(daemon))
    checks.check("on a full disk a submission is refused with 507", answer)
    checks.equal("... and what is stored can be read", daemon.client.logs(kept), b"kept\n")
    daemon.stop()
    daemon.flags = []
    daemon.start()
    checks.equal("with room again, the queued run runs",
                 daemon.client.wait(queued)["status"]["phase"], "succeeded")
    wait_for(lambda: engine.owned() == ([], []))
    daemon.stop()


def refused(daemon):
    try:
        status, _, _ = daemon.new_client().request(
            "POST", "/v1/runs", '{"image": "mayfly-test/busybox:1", "command": ["true"]}',
            {"Content-Type": "application/json"})
    except OSError:
        return False
    return status == 507


def foreign_objects(checks, folder, engine):
    decoy = {"Image": IMAGE, "Cmd": ["sleep", "600"], "NetworkDisabled": True,
             "HostConfig": {"NetworkMode": "none"},
             "Labels": {"io.mayfly.instance": "another", "io.mayfly.role": "run",
                        "io.mayfly.run": "01hf7yat00abcdefghjkmnpqrs", "io.mayfly.attempt": "1"}}
    plain = {**decoy, "Labels": {}}
    labelled = engine.json("POST", "/containers/create?name=mayfly-decoy-labelled", decoy)["Id"]
    named = engine.json("POST", "/containers/create?name=mayfly-01hf7yat00abcdefghjkmnpqrs-1",
                        plain)["Id"]
    volume = engine.json("POST", "/volumes/create", {
        "Name": "mayfly-decoy-volume", "Labels": {"io.mayfly.instance": "another"}})["Name"]
    with start(folder, "foreign", "--sweep-every-s", "1", "--sweep-grace-s", "0") as daemon:
        orphan = {**decoy, "Labels": {**decoy["Labels"], "io.mayfly.instance": own(daemon)}}
        swept = engine.json("POST", "/containers/create?name=mayfly-swept", orphan)["Id"]
        checks.check("the sweep goes round", wait_for(
            lambda: engine.request("GET", f"/containers/{swept}/json")[0] == 404))
    for what, path in (("a container of another instance", f"/containers/{labelled}/json"),
                       ("a container with a name like ours", f"/containers/{named}/json"),
                       ("a volume of another instance", f"/volumes/{volume}")):
        checks.equal(f"{what} is not touched", engine.request("GET", path)[0], 200)
    for path in (f"/containers/{labelled}?force=1", f"/containers/{named}?force=1",
                 f"/volumes/{volume}"):
        engine.request("DELETE", path)


def own(daemon):
    """The instance id, from the daemon's first line of log."""
    with open(daemon.log_path, encoding="utf-8") as log:
        return log.readline().split("instance=")[1].split()[0]


def leftovers(checks, folder, engine):
    with start(folder, "orphans", "--sweep-every-s", "1", "--sweep-grace-s", "0") as daemon:
        daemon.client.wait(daemon.client.submit(shell("true"))["id"])
        running = daemon.client.submit(shell("sleep 60"))["id"]
        wait_for(lambda: daemon.client.get(running)["status"]["phase"] == "running")
        facts = engine.inspect(engine.container_of(running))
        labels = {**facts["Config"]["Labels"], "io.mayfly.run": "01hf7yat00abcdefghjkmnpqrs"}
        orphan = engine.json("POST", "/containers/create?name=mayfly-orphan", {
            "Image": IMAGE, "Cmd": ["true"], "Labels": labels, "NetworkDisabled": True,
            "HostConfig": {"NetworkMode": "none"}})["Id"]
        gone = wait_for(lambda: engine.request("GET", f"/containers/{orphan}/json")[0] == 404)
        checks.check("an object of ours that no record knows is swept after its grace", gone)
        checks.equal("... and the running one is left alone",
                     daemon.client.get(running)["status"]["phase"], "running")
        daemon.client.cancel(running)
        daemon.client.wait(running)
        checks.check("nothing is left", wait_for(lambda: engine.owned() == ([], [])),
                     engine.owned())


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-admission-")
    engine = EngineApi()
    for function in (run_slots, priority, memory_budget, queue_deadline, disk_watermarks,
                     leftovers, foreign_objects):
        checks.step(function, checks, folder, engine)
    checks.finish(folder)


if __name__ == "__main__":
    main()
