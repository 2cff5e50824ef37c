#!/usr/bin/env python3
"""The dashboards, as a program: a panel is a line here, and Grafana's JSON is made from it.

    dashboards.py            say which files differ from this program; exit 1 if one does
    dashboards.py --write    write deploy/grafana/dashboards/*.json

A query may name SEL, which stands for the instance that is looked at. A query that divides, or
takes a quantile, is guarded so that it is empty, and never NaN, when nothing happened.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "dashboards")
SEL = 'instance=~"$instance"'
WIDTH = 24
RATE = "$__rate_interval"

GOOD, WARN, BAD = "green", "orange", "red"


def query(expr, legend=""):
    return expr.replace("SEL", SEL).replace("RATE", RATE), legend


def rate(metric, by=""):
    over = f"sum by ({by}) " if by else "sum"
    return f"{over}(rate({metric}[RATE]))"


def quantile(q, metric, labels="SEL", by=""):
    """Empty when nothing was observed."""
    le = f"le, {by}" if by else "le"
    seen = f"{rate(f'{metric}_count{{{labels}}}', by)} > 0"
    on = f"on ({by})"
    return (f"histogram_quantile({q}, sum by ({le}) (rate({metric}_bucket{{{labels}}}[RATE])))"
            f" and {on} ({seen})")


def mean(metric, labels="SEL"):
    return f"{rate(f'{metric}_sum{{{labels}}}')} / ({rate(f'{metric}_count{{{labels}}}')} > 0)"


def quantiles(metric, labels="SEL"):
    return [query(quantile(q, metric, labels), name)
            for q, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))]


class Panel:
    """One panel. `steps`: colours from values on, lowest first; None = no colour by value."""

    def __init__(self, title, about, unit, queries, kind="timeseries", steps=None, width=8,
                 height=8, texts=None, stacked=False, top=None):
        self.title, self.about, self.unit, self.kind = title, about, unit, kind
        self.queries = queries if isinstance(queries, list) else [query(queries)]
        self.steps = steps or [(None, GOOD)]
        self.width, self.height = width, height
        self.texts, self.stacked, self.top = texts, stacked, top

    def json(self, number, x, y):
        return {
            "id": number, "title": self.title, "description": self.about, "type": self.kind,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(*item) for item in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._field(), "overrides": []},
            "options": self._options(),
        }

    def _target(self, at, asked):
        expr, legend = asked
        target = {"refId": chr(ord("A") + at), "expr": expr,
                  "datasource": {"type": "prometheus", "uid": "${datasource}"},
                  "legendFormat": legend or "__auto"}
        if self.kind == "stat":
            target["instant"] = True
        return target

    def _field(self):
        field = {"unit": self.unit, "min": 0,
                 "thresholds": {"mode": "absolute",
                                "steps": [{"value": value, "color": color}
                                          for value, color in self.steps]},
                 "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"}}
        if self.top is not None:
            field["max"] = self.top
        if self.texts:
            field["mappings"] = [{"type": "value", "options": {
                str(value): {"text": text, "index": at}
                for at, (value, text) in enumerate(self.texts)}}]
        if self.kind == "timeseries":
            field["custom"] = {
                "fillOpacity": 25 if self.stacked else 8, "lineWidth": 1, "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if len(self.steps) > 1 else "off"}}
        return field

    def _options(self):
        if self.kind == "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                    "colorMode": "background", "graphMode": "none", "textMode": "auto"}
        return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True,
                           "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"}}


def stat(title, about, unit, expr, steps, texts=None, legend="", width=3):
    return Panel(title, about, unit, [query(expr, legend)], "stat", steps, width, 4, texts)


def row(title, panels):
    return title, panels


ONE_IS_BAD = [(None, GOOD), (1, BAD)]
OPS = "ops"

OVERVIEW = [
    row("Is it well?", [
        stat("Engine", "The worst of the engines: up, or not answering.", "none",
             'min(mayfly_engine_up{SEL, engine=~"$engine"})', [(None, BAD), (1, GOOD)],
             [(0, "down"), (1, "up")]),
        stat("Stuck runs", "Runs more than a minute past their own deadline, or ten minutes in a "
             "harvest or a removal.", "short", "sum(mayfly_runs_stuck{SEL})", ONE_IS_BAD),
        stat("Leaked objects", "Containers and volumes of ours that were due to go three minutes "
             "ago and are still there.", "short", "sum(mayfly_leaked_objects{SEL})", ONE_IS_BAD),
        stat("Oldest queued", "How long the run that has waited longest has waited.", "s",
             "max(mayfly_oldest_queued_seconds{SEL})", [(None, GOOD), (60, WARN), (900, BAD)]),
        stat("API answered, 1 h", "Share of requests that were not answered with 5xx.",
             "percentunit",
             '1 - sum(increase(mayfly_api_requests_total{SEL, code=~"5.."}[1h])) / '
             "clamp_min(sum(increase(mayfly_api_requests_total{SEL}[1h])), 1)",
             [(None, BAD), (0.995, WARN), (0.999, GOOD)]),
        stat("Failed harvests, 1 h", "Attempts to fetch results that failed or came back torn; "
             "they come again.", "short", "sum(increase(mayfly_harvest_failures_total{SEL}[1h]))",
             [(None, GOOD), (3, WARN), (30, BAD)]),
        stat("Disk above its mark", "Free space in the data directory over the mark under which "
             "nothing is admitted.", "bytes",
             "min(mayfly_disk_free_bytes{SEL} - mayfly_disk_low_watermark_bytes{SEL})",
             [(None, BAD), (0, WARN), (1 << 30, GOOD)]),
        stat("Sweep", "Held: more garbage than the brake lets go. It looks like the wrong "
             "database.", "none", "max(mayfly_sweep_held{SEL})", ONE_IS_BAD,
             [(0, "free"), (1, "held")]),
    ]),
    row("What do users feel?", [
        Panel("Runs under way", "Runs that have not ended, by phase.", "short",
              [query('sum by (phase) (mayfly_runs{SEL, '
                     'phase=~"queued|preparing|running|harvesting"})', "{{phase}}")],
              stacked=True),
        Panel("Waiting for", "Queued and preparing runs, by what they wait for.", "short",
              [query("sum by (reason) (mayfly_runs_pending{SEL})", "{{reason}}")], stacked=True),
        Panel("Run slots", "How many scripts run, of how many may.", "short",
              [query('sum(mayfly_slots_used{SEL, kind="run"})', "used"),
               query('sum(mayfly_slots{SEL, kind="run"})', "in all")]),
        Panel("Runs that ended", "By how they ended.", OPS,
              [query(rate("mayfly_runs_finished_total{SEL}", "phase"), "{{phase}}")],
              stacked=True),
        Panel("Runs that did not succeed", "By reason; only reasons that occur.", OPS,
              [query(rate('mayfly_runs_finished_total{SEL, phase!="succeeded"}', "reason")
                     + " > 0", "{{reason}}")], stacked=True),
        Panel("From accepted to durable", "End to end, of runs that ended.", "s",
              quantiles("mayfly_run_total_seconds")),
        Panel("Where the time goes", "Mean of each clock, of runs that ended.", "s",
              [query(mean(f"mayfly_run_{clock}_seconds"), clock)
               for clock in ("queue", "prepare", "run", "harvest")], stacked=True),
        Panel("API requests", "By status code.", OPS,
              [query(rate("mayfly_api_requests_total{SEL}", "code"), "{{code}}")], stacked=True),
        Panel("API latency", "From a request's head to the last byte of the answer; waiting "
              "and downloads included.", "s", quantiles("mayfly_api_request_seconds")),
    ]),
]

RECONCILE = [
    row("The loop", [
        Panel("Reconciles", "By what they came to.", OPS,
              [query(rate("mayfly_reconcile_total{SEL}", "result"), "{{result}}")], stacked=True),
        Panel("Errors", "Reconciles that failed and come again, and runs that ended of a failure "
              "that was not their script's.", OPS,
              [query(rate("mayfly_reconcile_errors_total{SEL}"), "come again"),
               query(rate("mayfly_terminal_reconcile_errors_total{SEL}"), "gave up")]),
        Panel("Length of a reconcile", "Engine calls included.", "s",
              quantiles("mayfly_reconcile_time_seconds")),
        Panel("Reconciles under way", "And how many engine calls may be under way.", "short",
              [query("sum(mayfly_active_workers{SEL})", "under way"),
               query('sum(mayfly_slots_used{SEL, kind="engine_work"})', "engine work"),
               query('sum(mayfly_slots{SEL, kind="engine_work"})', "engine work, in all")]),
        Panel("Oldest reconcile under way", "One that grows is stuck in an engine call.", "s",
              [query("max(mayfly_workqueue_longest_running_processor_seconds{SEL})", "oldest"),
               query("sum(mayfly_workqueue_unfinished_work_seconds{SEL})", "all, added up")],
              steps=[(None, GOOD), (120, WARN)]),
        Panel("Looks at the whole engine", "Resyncs: one list call for all runs.", OPS,
              [query(rate("mayfly_resyncs_total{SEL}"), "all"),
               query(rate("mayfly_resync_errors_total{SEL}"), "failed")]),
    ]),
    row("The work queue", [
        Panel("Depth", "Keys that are due and not yet taken.", "short",
              "sum(mayfly_workqueue_depth{SEL})", steps=[(None, GOOD), (1000, WARN)]),
        Panel("Added and retried", "Keys added, and keys added again after a failure.", OPS,
              [query(rate("mayfly_workqueue_adds_total{SEL}"), "added"),
               query(rate("mayfly_workqueue_retries_total{SEL}"), "retried")]),
        Panel("Time in the queue", "From due to taken.", "s",
              quantiles("mayfly_workqueue_queue_duration_seconds")),
    ]),
    row("The store", [
        Panel("Commit", "Length of one durable transaction.", "s",
              quantiles("mayfly_store_commit_seconds"), steps=[(None, GOOD), (0.25, BAD)]),
        Panel("Commits", "Transactions, and the changes in them.", OPS,
              [query(rate("mayfly_store_commit_seconds_count{SEL}"), "transactions"),
               query(rate("mayfly_store_commit_mutations_sum{SEL}"), "changes")]),
        Panel("Changes in one commit", "Mean; those that wait together share one.", "short",
              mean("mayfly_store_commit_mutations")),
        Panel("Sweeps", "What was removed, would have been, or was held back.", OPS,
              [query(rate("mayfly_sweep_actions_total{SEL}", "action"), "{{action}}")]),
        Panel("Stored runs", "By phase, those that ended included.", "short",
              [query("sum by (phase) (mayfly_runs{SEL})", "{{phase}}")], stacked=True),
        Panel("Accepted and started", "Runs accepted, and attempts that the engine "
              "acknowledged.", OPS,
              [query(rate("mayfly_runs_submitted_total{SEL}"), "accepted"),
               query(rate("mayfly_attempts_started_total{SEL}"), "started")]),
    ]),
    row("Webhooks", [
        Panel("Tries", "failed and refused (by the address rules) come again; given_up was the "
              "last.", OPS,
              [query(rate("mayfly_webhook_deliveries_total{SEL}", "result"), "{{result}}")]),
        Panel("Pending deliveries", "Neither made nor given up.", "short",
              "sum(mayfly_webhook_pending{SEL})"),
        Panel("Length of a try", "From the resolver to the answer.", "s",
              quantiles("mayfly_webhook_try_seconds")),
    ]),
]

ENGINE = [
    row("The engine", [
        stat("Engine", "Up, or not answering.", "none",
             'min by (engine) (mayfly_engine_up{SEL, engine=~"$engine"})',
             [(None, BAD), (1, GOOD)], [(0, "down"), (1, "up")], "{{engine}}", 4),
        Panel("Version", "As the engine says it itself; empty while it is down.", "none",
              [query('mayfly_engine_info{SEL, engine=~"$engine"}',
                     "{{engine}}: {{version}}, API {{api_version}}")], "stat", None, 8, 4),
        stat("Orphans", "Objects of ours that no record knows. Removed after their grace.",
             "short", "sum(mayfly_orphan_objects{SEL})", [(None, GOOD), (1, WARN)], width=4),
        stat("Leaked", "Due to go for three minutes, and still there.", "short",
             "sum(mayfly_leaked_objects{SEL})", ONE_IS_BAD, width=4),
        stat("Threads", "Of mayflyd. The number does not depend on the load.", "short",
             "sum(process_threads{SEL})", [(None, GOOD), (64, WARN)], width=4),
        Panel("Engine up", "1 while it answers.", "short",
              [query('mayfly_engine_up{SEL, engine=~"$engine"}', "{{engine}}")], top=1),
        Panel("Calls", "By endpoint; only those that occur.", OPS,
              [query(rate("mayfly_engine_calls_total{SEL}", "endpoint") + " > 0",
                     "{{endpoint}}")], stacked=True),
        Panel("Calls that did not work", "definite: the engine said no. unknown: nobody knows "
              "whether it acted. down: it was not there.", OPS,
              [query(rate('mayfly_engine_calls_total{SEL, result!="ok"}', "result"),
                     "{{result}}")]),
        Panel("Length of a call, 95 %", "Bodies included; only endpoints that are called.", "s",
              [query(quantile(0.95, "mayfly_engine_call_seconds",
                              'SEL, endpoint!="GET /events"', "endpoint"), "{{endpoint}}")]),
        Panel("Events", "Received, and times that their stream had to be opened again.", OPS,
              [query(rate("mayfly_engine_events_received_total{SEL}"), "received"),
               query(rate("mayfly_engine_event_reconnects_total{SEL}"), "opened again")]),
        Panel("Lag of events", "From the engine's stamp to us.", "s",
              quantiles("mayfly_engine_event_lag_seconds")),
        Panel("Objects of ours", "On the engine, by kind.", "short",
              [query("sum by (kind) (mayfly_owned_objects{SEL})", "{{kind}}")]),
    ]),
    row("The disk", [
        Panel("Free space", "In the data directory, and the marks under which nothing is "
              "admitted and nothing is accepted.", "bytes",
              [query("min(mayfly_disk_free_bytes{SEL})", "free"),
               query("max(mayfly_disk_low_watermark_bytes{SEL})", "admits nothing below"),
               query("max(mayfly_disk_full_watermark_bytes{SEL})", "accepts nothing below")]),
        Panel("Stored", "Database with its log, and the files of all runs.", "bytes",
              [query("sum(mayfly_store_database_bytes{SEL})", "database"),
               query("sum(mayfly_store_spool_bytes{SEL})", "files")], stacked=True),
        Panel("Harvested", "Artifacts and logs.", "Bps",
              [query(rate("mayfly_harvested_output_bytes_total{SEL}"), "artifacts"),
               query(rate("mayfly_harvested_log_bytes_total{SEL}"), "logs")]),
        Panel("Files harvested", "Artifacts, and harvests that failed or came back torn.", OPS,
              [query(rate("mayfly_harvested_files_total{SEL}"), "artifacts"),
               query(rate("mayfly_harvest_failures_total{SEL}"), "failures")]),
    ]),
    row("The process", [
        Panel("CPU", "Of mayflyd; 1 is one core.", "short",
              "sum(rate(process_cpu_seconds_total{SEL}[RATE]))"),
        Panel("Memory", "Resident.", "bytes", "sum(process_resident_memory_bytes{SEL})"),
        Panel("File descriptors", "Open, and how many may be.", "short",
              [query("sum(process_open_fds{SEL})", "open"),
               query("sum(process_max_fds{SEL})", "allowed")]),
    ]),
]

DASHBOARDS = {
    "overview": ("Mayfly: overview", "Is it well, and what do users feel?", OVERVIEW),
    "reconcile": ("Mayfly: reconcile", "The loop, its queue and the store.", RECONCILE),
    "engine": ("Mayfly: engine and disk", "What the loop stands on.", ENGINE),
}


def variable(name, label, expr):
    return {"name": name, "label": label, "type": "query", "query": expr, "refresh": 2,
            "datasource": {"type": "prometheus", "uid": "${datasource}"}, "multi": True,
            "includeAll": True, "sort": 1, "hide": 0,
            "current": {"text": ["All"], "value": ["$__all"]}}


def dashboard(name):
    title, about, rows = DASHBOARDS[name]
    panels, number, y = [], 0, 0
    for heading, of_row in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": heading, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []})
        y, x, height = y + 1, 0, 0
        for panel in of_row:
            number += 1
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            panels.append(panel.json(number, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return {
        "uid": f"mayfly-{name}", "title": title, "description": about, "tags": ["mayfly"],
        "schemaVersion": 39, "editable": False, "refresh": "10s", "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "links": [{"type": "dashboards", "title": "Mayfly", "tags": ["mayfly"], "icon": "",
                   "tooltip": "", "asDropdown": False, "targetBlank": False, "includeVars": True,
                   "keepTime": True, "url": ""}],
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource",
             "query": "prometheus", "hide": 0, "refresh": 1, "includeAll": False,
             "multi": False},
            variable("instance", "Instance", "label_values(mayfly_build_info, instance)"),
            variable("engine", "Engine",
                     'label_values(mayfly_engine_up{instance=~"$instance"}, engine)'),
        ]},
        "panels": panels,
    }


def text_of(name):
    return json.dumps(dashboard(name), indent=2) + "\n"


def main():
    differing = []
    for name in DASHBOARDS:
        path = os.path.join(FOLDER, name + ".json")
        if "--write" in sys.argv[1:]:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text_of(name))
            continue
        try:
            with open(path, encoding="utf-8") as file:
                same = file.read() == text_of(name)
        except FileNotFoundError:
            same = False
        if not same:
            differing.append(path)
    for path in differing:
        print(f"{path} is not what dashboards.py makes: run it with --write")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
