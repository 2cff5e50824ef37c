#!/usr/bin/env python3
"""The dashboards are what Grafana's own types say a dashboard is.

Grafana publishes the types of its JSON as the npm package @grafana/schema. Each dashboard, each
panel's options and each panel's field settings become a constant of that type, and the TypeScript
compiler says whether they fit. Planted mistakes must not.
"""
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../support"))
from checks import Checks  # noqa: E402

NODE = os.path.join(ROOT, "build", "tools", "grafana")
PACKAGES = ["@grafana/schema@11.2.0", "typescript@5.5.4"]
RAW = "@grafana/schema/dist/esm/raw"
PANEL_TYPES = {"stat": "composable/stat/panelcfg/x/StatPanelCfg_types.gen",
               "timeseries": "composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen"}
DASHBOARDS = os.path.join(ROOT, "deploy", "grafana", "dashboards")

# Grafana's string enums are written as plain strings in JSON.
HEAD = f"""
import type {{ Dashboard }} from '{RAW}/dashboard/x/dashboard_types.gen';
import type {{ Options as StatOptions }} from '{RAW}/{PANEL_TYPES["stat"]}';
import type {{ Options as TimeOptions, FieldConfig as TimeField }}
    from '{RAW}/{PANEL_TYPES["timeseries"]}';
type Plain<T> = T extends string ? `${{T}}` : T extends number | boolean | null | undefined ? T :
    T extends (infer U)[] ? Plain<U>[] :
    T extends object ? {{ [K in keyof T]: Plain<T[K]> }} : T;
"""


def install():
    if shutil.which("npm") is None:
        subprocess.run([os.path.join(ROOT, "deploy/packages.sh"), "install", "node"], check=True)
    if not os.path.isdir(os.path.join(NODE, "node_modules", "@grafana", "schema")):
        os.makedirs(NODE, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", NODE, "--no-audit", "--no-fund",
                        "--loglevel=error", *PACKAGES], check=True, timeout=300)


def constants(dashboard):
    yield "Plain<Dashboard>", dashboard
    for panel in dashboard["panels"]:
        if panel["type"] == "stat":
            yield "Partial<Plain<StatOptions>>", panel["options"]
        if panel["type"] == "timeseries":
            yield "Plain<TimeOptions>", panel["options"]
            yield "Plain<TimeField>", panel["fieldConfig"]["defaults"]["custom"]


def complaints(dashboard):
    """What the compiler has to say; [] when it fits."""
    lines = [HEAD]
    for at, (kind, value) in enumerate(constants(dashboard)):
        lines.append(f"export const c{at}: {kind} = {json.dumps(value)};")
    with tempfile.TemporaryDirectory(dir=NODE) as folder:
        path = os.path.join(folder, "dashboard.ts")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        done = subprocess.run([os.path.join(NODE, "node_modules", ".bin", "tsc"), "--noEmit",
                               "--strict", "--skipLibCheck", "--module", "esnext",
                               "--moduleResolution", "bundler", "--target", "es2020", path],
                              capture_output=True, text=True, timeout=120, check=False)
    return [line for line in done.stdout.splitlines() if "error" in line]


def planted(dashboard):
    """(what is wrong, dashboard)"""
    def change(what, edit):
        wrong = copy.deepcopy(dashboard)
        edit(wrong, next(p for p in wrong["panels"] if p["type"] == "stat"),
             next(p for p in wrong["panels"] if p["type"] == "timeseries"))
        return what, wrong
    yield change("a field that does not exist", lambda d, s, t: d.update(titel="x"))
    yield change("a threshold mode that does not exist",
                 lambda d, s, t: s["fieldConfig"]["defaults"]["thresholds"].update(mode="abs"))
    yield change("a text for a number", lambda d, s, t: t["gridPos"].update(w="8"))
    yield change("an option of a stat that does not exist",
                 lambda d, s, t: s["options"].update(graphMode="bars"))
    yield change("a stacking that does not exist",
                 lambda d, s, t: t["fieldConfig"]["defaults"]["custom"]["stacking"].update(
                     mode="yes"))


def main():
    install()
    checks = Checks()
    names = sorted(os.listdir(DASHBOARDS))
    checks.check("there are three dashboards", len(names) == 3, names)
    for name in names:
        with open(os.path.join(DASHBOARDS, name), encoding="utf-8") as file:
            dashboard = json.load(file)
        said = complaints(dashboard)
        checks.check(f"{name} fits Grafana's types", not said, said[:3])
    with open(os.path.join(DASHBOARDS, "overview.json"), encoding="utf-8") as file:
        overview = json.load(file)
    for what, wrong in planted(overview):
        checks.check(f"planted: {what} is noticed", bool(complaints(wrong)))
    made = subprocess.run([sys.executable, os.path.join(ROOT, "deploy/grafana/dashboards.py")],
                          capture_output=True, text=True, check=False)
    checks.check("the files are what dashboards.py makes", made.returncode == 0, made.stdout)
    checks.finish()


if __name__ == "__main__":
    main()
