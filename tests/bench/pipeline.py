#!/usr/bin/env python3
"""Complete runs a second: mayflyd, and the same runs by the Docker SDK for Python.

Both do all of a run on one and the same engine: volume, container with the sandbox's limits,
script and input in, start, wait for the end, logs, output out, container and volume away. The
SDK's pipeline is what an application would write, nine calls a run, on threads, at the concurrency
that suits it best. Rounds of the two alternate, so that both see the same machine. The clock of a
round stops when its results are in the client's hands and nothing of it is left on the engine.
Every result is checked: exit code, output, artifact.
"""

import argparse
import concurrent.futures
import io
import json
import os
import platform
import shutil
import statistics
import sys
import tarfile
import tempfile
import threading
import time
import uuid

import docker

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import daemon  # noqa: E402  (found by the line above)

IMAGE = "mayfly-test/busybox:1"
UID = 10001
SCRIPT = """set -e
sort -n input/numbers.txt > output/sorted.txt
echo "sorted $(wc -l < output/sorted.txt) lines"
"""
LINES = 200
LABEL = "mayfly-bench"
SETTLE_DEADLINE_S = 60
RUN_DEADLINE_S = 120


# ---- one run: what goes in, and what must come out

def numbers(index):
    return [(n * 7919 + index * 104729) % 100003 for n in range(LINES)]


def input_bytes(index):
    return "".join(f"{n}\n" for n in numbers(index)).encode()


def check(index, exit_code, stdout, artifact):
    expected = "".join(f"{n}\n" for n in sorted(numbers(index))).encode()
    if exit_code != 0:
        raise AssertionError(f"run {index} ended with {exit_code}: {stdout!r}")
    if stdout != f"sorted {LINES} lines\n".encode():
        raise AssertionError(f"run {index} printed {stdout!r}")
    if artifact != expected:
        raise AssertionError(f"run {index} left {artifact[:80]!r}...")


# ---- the SDK's pipeline

def input_tar(index):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in (("main.sh", SCRIPT.encode()),
                              ("input/numbers.txt", input_bytes(index))):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
        folder = tarfile.TarInfo("output")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, UID, UID
        tar.addfile(folder)
    return out.getvalue()


class SdkPipeline:
    """The low-level client: it makes the nine calls and no others."""

    def __init__(self, base_url):
        self.base_url = base_url
        self.local = threading.local()
        self.clients = []

    def api(self):
        if not hasattr(self.local, "api"):
            self.local.api = docker.APIClient(base_url=self.base_url, version="auto", timeout=120)
            self.clients.append(self.local.api)
        return self.local.api

    def create(self, api, volume):
        settings = api.create_host_config(
            network_mode="none", cap_drop=["ALL"], read_only=True, pids_limit=256,
            mem_limit=256 << 20, memswap_limit=256 << 20, nano_cpus=1_000_000_000,
            security_opt=["no-new-privileges"], binds={volume: {"bind": "/work", "mode": "rw"}},
            tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=64m"})
        return api.create_container(
            IMAGE, ["/bin/sh", "main.sh"], user=f"{UID}:{UID}", working_dir="/work",
            labels={LABEL: volume}, host_config=settings)["Id"]

    def run(self, index):
        api = self.api()
        volume = f"{LABEL}-{uuid.uuid4().hex}"
        api.create_volume(volume, labels={LABEL: volume})
        container = None
        try:
            container = self.create(api, volume)
            api.put_archive(container, "/work", input_tar(index))
            api.start(container)
            code = api.wait(container, timeout=RUN_DEADLINE_S)["StatusCode"]
            stdout = api.logs(container, stdout=True, stderr=False)
            chunks, _ = api.get_archive(container, "/work/output")
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                artifact = tar.extractfile("output/sorted.txt").read()
        finally:
            if container is not None:
                api.remove_container(container, force=True)
            api.remove_volume(volume)
        check(index, code, stdout, artifact)

    def round(self, count, concurrency):
        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            for done in [pool.submit(self.run, index) for index in range(count)]:
                done.result()


# ---- through mayflyd

class Through:
    """One client that submits everything, then collects it."""

    def __init__(self, process, engine):
        self.process, self.engine = process, engine

    def spec(self, index):
        return {"image": IMAGE, "command": ["/bin/sh", "main.sh"],
                "limits": {"memory_bytes": 256 << 20, "cpus": 1, "pids": 256, "timeout_s": 60},
                "files": [{"path": "main.sh", "content": SCRIPT},
                          {"path": "input/numbers.txt",
                           "content": input_bytes(index).decode()}]}

    def round(self, count, _concurrency):
        client = self.process.client
        ids = [client.submit(self.spec(index))["id"] for index in range(count)]
        for index, run_id in enumerate(ids):
            status = client.wait(run_id, RUN_DEADLINE_S)["status"]
            if status["phase"] != "succeeded":
                raise AssertionError(f"run {index} ({run_id}): {status}")
            check(index, status["exit_code"], client.logs(run_id),
                  client.artifact(run_id, "sorted.txt"))
        self.settle()

    def settle(self):
        """Until nothing of it is on the engine any more."""
        end = time.monotonic() + SETTLE_DEADLINE_S
        while True:
            left = [c["Names"] for c in self.engine.containers(all=True)]
            left += [v["Name"] for v in self.engine.volumes()["Volumes"] or []]
            if not left:
                return
            if time.monotonic() > end:
                raise AssertionError(f"left on the engine after {SETTLE_DEADLINE_S} s: {left[:5]}")
            time.sleep(0.02)


# ---- measuring

def host_cpu_seconds():
    """All CPU time spent on this host, whoever spent it."""
    with open("/proc/stat", encoding="utf-8") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(name, side, count, concurrency, controller_cpu):
    """One round. The controller is what does the work: the SDK's process, or mayflyd."""
    wall, host = time.monotonic(), host_cpu_seconds()
    own, controller = time.process_time(), controller_cpu()
    side.round(count, concurrency)
    seconds = time.monotonic() - wall
    controller = controller_cpu() - controller
    client = time.process_time() - own
    host = host_cpu_seconds() - host
    rest = host - controller - (0 if controller_cpu is time.process_time else client)
    result = {"side": name, "runs": count, "concurrency": concurrency, "seconds": seconds,
              "runs_per_s": count / seconds,
              "controller_cpu_ms_per_run": 1000 * controller / count,
              "engine_cpu_ms_per_run": 1000 * rest / count}
    print(f"  {name:8} {count} runs in {seconds:6.2f} s: {count / seconds:5.2f} runs/s, "
          f"CPU a run: {result['controller_cpu_ms_per_run']:5.1f} ms its own, "
          f"{result['engine_cpu_ms_per_run']:6.1f} ms the engine's", flush=True)
    return result


def best_concurrency(sdk, count, candidates):
    print("finding the SDK pipeline's best concurrency", flush=True)
    rates = {c: measure("sdk", sdk, count, c, time.process_time)["runs_per_s"] for c in candidates}
    return max(rates, key=rates.get)


def median(rounds, side, key):
    return statistics.median(r[key] for r in rounds if r["side"] == side)


def print_table(rounds, summary):
    print(f"\n{'round':>6} {'SDK runs/s':>12} {'mayflyd runs/s':>16} {'ratio':>7}")
    pairs = zip([r for r in rounds if r["side"] == "sdk"],
                [r for r in rounds if r["side"] == "mayflyd"])
    for number, (a, b) in enumerate(pairs, 1):
        print(f"{number:6} {a['runs_per_s']:12.2f} {b['runs_per_s']:16.2f} "
              f"{b['runs_per_s'] / a['runs_per_s']:7.2f}")
    print(f"{'median':>6} {summary['sdk']['runs_per_s']:12.2f} "
          f"{summary['mayflyd']['runs_per_s']:16.2f} {summary['ratio']:7.2f}")
    print(f"CPU ms a run, its own:    SDK {summary['sdk']['controller_cpu_ms_per_run']:.1f}, "
          f"mayflyd {summary['mayflyd']['controller_cpu_ms_per_run']:.1f}")
    print(f"CPU ms a run, the engine: SDK {summary['sdk']['engine_cpu_ms_per_run']:.1f}, "
          f"mayflyd {summary['mayflyd']['engine_cpu_ms_per_run']:.1f}")


def bench(options):
    engine = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto", timeout=120)
    version = engine.version()
    sdk = SdkPipeline(os.environ["DOCKER_HOST"])
    folder = tempfile.mkdtemp(prefix="mayfly-bench-")
    rounds = []
    try:
        flags = ["--max-running", str(options.max_running)]
        with daemon.Mayflyd(os.path.join(folder, "data"), os.environ["DOCKER_HOST"],
                            flags) as process:
            through = Through(process, engine)
            through.round(4, 0)  # prepares the image, warms both up
            concurrency = best_concurrency(sdk, options.trial_runs, options.concurrency)
            print(f"rounds: the SDK pipeline with {concurrency} at once, mayflyd with "
                  f"--max-running {options.max_running}", flush=True)
            for _ in range(options.rounds):
                rounds.append(measure("sdk", sdk, options.runs, concurrency, time.process_time))
                rounds.append(measure("mayflyd", through, options.runs, options.max_running,
                                      process.cpu_seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    keys = ("runs_per_s", "controller_cpu_ms_per_run", "engine_cpu_ms_per_run")
    summary = {side: {key: median(rounds, side, key) for key in keys}
               for side in ("sdk", "mayflyd")}
    summary["ratio"] = summary["mayflyd"]["runs_per_s"] / summary["sdk"]["runs_per_s"]
    print_table(rounds, summary)
    return {"bench": "pipeline", "engine": version["Version"], "api": version["ApiVersion"],
            "kernel": platform.release(), "cpus": os.cpu_count(), "sdk": docker.__version__,
            "median": summary, "rounds": rounds}


def main():
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--about", action="store_true", help="say what it measures")
    parser.add_argument("--out", default="build/bench/pipeline.json")
    parser.add_argument("--rounds", type=int, default=3, help="of each of the two")
    parser.add_argument("--runs", type=int, default=40, help="in one round")
    parser.add_argument("--trial-runs", type=int, default=16, help="to find the best concurrency")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--max-running", type=int, default=4)
    options = parser.parse_args()
    if options.about:
        print(about)
        return 0
    result = bench(options)
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
