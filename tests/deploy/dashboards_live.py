#!/usr/bin/env python3
"""Every panel's query, and the alerts, on a real Prometheus that scrapes a real mayflyd.

Its engine is the test's own: there is an idle time, a mixed load with failures, and an outage.
Every query is asked at each of the three moments: no unknown metric, no NaN, data where there must
be data, the unit that the metric has. The alerts are the ones that are shipped, unchanged; three
must fire. The table of panels is printed.
"""
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../support"))
sys.path.insert(0, os.path.join(HERE, "../crash"))
from checks import Checks, EngineApi, wait_for  # noqa: E402
from daemon import Mayflyd, free_port, insist  # noqa: E402
from engine_away import IMAGE, IMAGES, OwnEngine  # noqa: E402

DASHBOARDS = os.path.join(ROOT, "deploy", "grafana", "dashboards")
ALERTS = os.path.join(ROOT, "deploy", "prometheus", "alerts.yml")
PROMETHEUS = os.environ.get("PROMETHEUS", "prometheus")
RATE_S = 10
IDLE_S, LOAD_S, OUTAGE_S = 15, 25, 20
FIRING_S = 150  # the longest "for" of the three is a minute
MUST_FIRE = ("MayflyEngineDown", "MayflyRunsLost", "MayflyDiskLow")


class Prometheus:
    def __init__(self, folder, targets):
        self.folder, self.port = folder, free_port()
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                  "rule_files": [ALERTS],
                  "scrape_configs": [{"job_name": "mayfly",
                                      "static_configs": [{"targets": targets}]}]}
        self.config = os.path.join(folder, "prometheus.yml")
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump(config, file)
        self.process = None

    def __enter__(self):
        with open(os.path.join(self.folder, "prometheus.log"), "ab") as log:
            self.process = subprocess.Popen(
                [PROMETHEUS, f"--config.file={self.config}",
                 f"--storage.tsdb.path={self.folder}/tsdb",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log)
        if not wait_for(self._answers, 60):
            raise TimeoutError("prometheus does not answer; see prometheus.log")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def _answers(self):
        try:
            return self.ask("query", query="up") is not None
        except OSError:
            return False

    def ask(self, what, **arguments):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def scraped(self, target, times):
        """Whether it has been scraped so often."""
        found = self.ask("query", query=f'count_over_time(up{{instance="{target}"}}[1h])')
        return bool(found["result"]) and float(found["result"][0]["value"][1]) >= times

    def firing(self):
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]
                if alert["state"] == "firing"}


# ---- the panels

def targets():
    """(dashboard, panel, unit, query)"""
    for name in sorted(os.listdir(DASHBOARDS)):
        with open(os.path.join(DASHBOARDS, name), encoding="utf-8") as file:
            dashboard = json.load(file)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield (name[:-5], panel["title"], panel["fieldConfig"]["defaults"]["unit"],
                       target["expr"])


def unit_of(expr):
    """What the names of its metrics, and what is done to them, say that it is."""
    names = re.findall(r"\b(?:mayfly|process)_\w+", expr)
    first = names[0]
    if expr.startswith("1 - "):
        return {"percentunit"}
    if "/" in re.sub(r'"[^"]*"', "", expr) and first.endswith("_seconds_sum"):
        return {"s"}
    if "histogram_quantile" in expr or first.endswith("_seconds"):
        return {"s"}
    if re.search(r"\brate\(", expr) and " / " not in expr:
        if first.startswith("process_cpu"):
            return {"short"}
        return {"Bps"} if first.endswith("_bytes_total") else {"ops"}
    if first.endswith("_bytes"):
        return {"bytes"}
    return {"short", "none"}


def may_be_empty(expr, moment):
    """Guarded against dividing by nothing; or says nothing while the engine is away."""
    if moment == "load":
        return False
    return "> 0" in expr or ("mayfly_engine_info" in expr and moment == "outage")


def concrete(expr, instance):
    return (expr.replace("$instance", re.escape(instance)).replace("$engine", ".*")
            .replace("$__rate_interval", f"{RATE_S}s").replace("\\", "\\\\"))


def check_panels(checks, prometheus, instance, moments, exposition):
    known = set(re.findall(r"^# TYPE (\w+)", exposition, flags=re.M))
    print(f"\n{'dashboard':<10} {'panel':<32} {'idle':>6} {'load':>6} {'outage':>6}  query")
    for dashboard, title, unit, expr in targets():
        where = f"{dashboard}: {title}: {expr[:60]}"
        names = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name
                 for name in re.findall(r"\b(?:mayfly|process)_\w+", expr)}
        wrong = [f"unknown metric {name}" for name in names - known]
        if unit not in unit_of(expr):
            wrong.append(f"its unit is {unit}, of {unit_of(expr)}")
        counts = []
        for moment, at in moments.items():
            result = prometheus.ask("query", query=concrete(expr, instance), time=at)["result"]
            counts.append(len(result))
            if not result and not may_be_empty(expr, moment):
                wrong.append(f"no data at {moment}")
            values = [float(sample["value"][1]) for sample in result]
            if not all(math.isfinite(value) for value in values):
                wrong.append(f"{values} at {moment}")
        print(f"{dashboard:<10} {title:<32} {counts[0]:>6} {counts[1]:>6} {counts[2]:>6}  {expr}")
        if wrong:
            checks.check(where, False, wrong)
        else:
            checks.passed += 1


def value_at(prometheus, expr, at):
    result = prometheus.ask("query", query=expr, time=at)["result"]
    return float(result[0]["value"][1]) if result else None


# ---- what happens meanwhile

def shell(script, **more):
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


MIX = [
    shell("echo well; echo kept > output/a.txt; head -c 100000 /dev/zero > output/b.bin",
          webhook={"url": "http://localhost:9/", "on": ["all"]}),  # refused, and tried again
    shell("sleep 0.5; echo slow"),
    shell("echo bad >&2; exit 3"),
    shell("sleep 30", limits={"timeout_s": 1}),
    shell("kill -SEGV $$"),
    {"image": IMAGE, "command": ["/no/such/program"]},
]


def load(daemon, seconds):
    """Submits the mix, and what no API should accept, until the time is over."""
    client, end, number = daemon.new_client(), time.monotonic() + seconds, 0
    runs = []
    while time.monotonic() < end:
        runs.append(client.submit(MIX[number % len(MIX)])["id"])
        number += 1
        client.request("POST", "/v1/runs", "{", {"Content-Type": "application/json"})
        client.request("GET", "/v1/runs/none")
        client.get(runs[-1])
        if number % 7 == 0:
            client.request("POST", f"/v1/runs/{runs[-1]}/cancel")
        # As fast as they end, and a few more.
        while time.monotonic() < end and len(runs) > 12:
            run = client.get(runs[0], wait="1s")
            if run["status"]["finished_at"]:
                runs.pop(0)
    return runs


def play(daemon, engine, prometheus, instance):
    """{moment: time}, after the idle time, the load and the outage."""
    moments = {}
    wait_for(lambda: prometheus.scraped(instance, IDLE_S), 60, 0.5)
    moments["idle"] = time.time()
    worker = threading.Thread(target=load, args=(daemon, LOAD_S))
    worker.start()
    worker.join()
    moments["load"] = time.time()
    exposition = insist(lambda: daemon.client.expect((200,), "GET", "/metrics")).decode()
    engine.kill()
    daemon.client.submit(shell("echo later"))
    down = f'count_over_time((mayfly_engine_up{{instance="{instance}"}} == 0)[1h:1s])'
    wait_for(lambda: (value_at(prometheus, down, time.time()) or 0) >= OUTAGE_S, 120, 0.5)
    moments["outage"] = time.time()
    return moments, exposition


def lose_a_run(daemon, host):
    """Somebody kills its container: how it would have ended cannot be known."""
    run_id = daemon.client.submit(shell("sleep 300", limits={"timeout_s": 600}))["id"]
    wait_for(lambda: daemon.client.get(run_id)["status"]["phase"] == "running", 60)
    engine = EngineApi(host)
    engine.request("POST", f"/containers/{engine.container_of(run_id)}/kill")
    return daemon.client.wait(run_id)["status"]["phase"]


def check_alerts(checks, prometheus, engine, daemon):
    began = time.time()
    fired = {}

    def seen(*names):
        for name in prometheus.firing():
            fired.setdefault(name, time.time() - began)
        return all(name in fired for name in names)
    wait_for(lambda: seen("MayflyEngineDown", "MayflyDiskLow"), FIRING_S, 0.5)
    host = engine.start()
    checks.equal("a run whose container is killed by somebody is lost", lose_a_run(daemon, host),
                 "lost")
    wait_for(lambda: seen("MayflyRunsLost"), FIRING_S, 0.5)
    back = wait_for(lambda: "MayflyEngineDown" not in prometheus.firing(), FIRING_S, 0.5)
    print()
    for name, after in sorted(fired.items(), key=lambda item: item[1]):
        print(f"fired: {name}, seen {after:.0f} s into the second half of the outage")
    for name in MUST_FIRE:
        checks.check(f"{name} fires for real", name in fired, fired)
    checks.check("MayflyEngineDown ends when the engine is back", back)
    checks.check("nothing fires that was not to", set(fired) <= set(MUST_FIRE), set(fired))


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-dashboards-")
    engine = OwnEngine(os.path.join(folder, "engine"))
    try:
        host = engine.start()
        subprocess.run([IMAGES], check=True, env={**os.environ, "DOCKER_HOST": host})
        flags = ("--max-running", "3")
        with Mayflyd(os.path.join(folder, "main"), host, flags) as daemon, \
                Mayflyd(os.path.join(folder, "full"), host,
                        ("--disk-low-bytes", str(1 << 50))) as full:
            instance = f"127.0.0.1:{daemon.port}"
            with Prometheus(folder, [instance, f"127.0.0.1:{full.port}"]) as prometheus:
                moments, exposition = play(daemon, engine, prometheus, instance)
                check_panels(checks, prometheus, instance, moments, exposition)
                up = f'mayfly_engine_up{{instance="{instance}"}}'
                checks.equal("the engine is seen up, up and down",
                             [value_at(prometheus, up, at) for at in moments.values()], [1, 1, 0])
                check_alerts(checks, prometheus, engine, daemon)
    finally:
        engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
