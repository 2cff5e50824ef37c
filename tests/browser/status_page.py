#!/usr/bin/env python3
"""The status page in Debian's chromium, against real daemons and a private engine.

    tests/browser/status_page.py [STEP...]     all steps, or those of status_page.mjs by name

Three daemons: "main" on the engine at DOCKER_HOST, "lone", whose engine is never there, and
"full", whose disk never has enough space. What the page does is looked at by status_page.mjs, with
playwright-core and axe-core from npm; it prints a line for each check, and asks for what it cannot
do itself with a line that begins with "@". Pictures of every state are left in
build/tests/screenshots.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import Mayflyd  # noqa: E402

MODULES = os.path.join(ROOT, "build", "tools", "browser")
PACKAGES = {"playwright-core": "1.65.1", "axe-core": "4.10.2"}
SHOTS = os.path.join(ROOT, "build", "tests", "screenshots")
CHROMIUM = "/usr/bin/chromium"
DEADLINE_S = 1500


def installed(package):
    try:
        with open(os.path.join(MODULES, "node_modules", package, "package.json"),
                  encoding="utf-8") as file:
            return json.load(file)["version"]
    except OSError:
        return None


def install():
    for there, group in ((shutil.which("npm"), "node"), (os.path.exists(CHROMIUM), "browser")):
        if not there:
            subprocess.run([os.path.join(ROOT, "deploy/packages.sh"), "install", group],
                           check=True)
    if any(installed(package) != version for package, version in PACKAGES.items()):
        os.makedirs(MODULES, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", MODULES, "--no-audit", "--no-fund",
                        "--loglevel=error", *(f"{p}@{v}" for p, v in PACKAGES.items())],
                       check=True, timeout=300)


def is_alive(daemon):
    try:
        return daemon.new_client().request("GET", "/healthz")[0] == 200
    except OSError:
        return False


def obey(line, daemons):
    """Does what the browser's side asks for: kill or start a daemon."""
    verb, name = line.split()[1:]
    if verb == "kill":
        daemons[name].kill()
    else:
        daemons[name].start()
    return "done"


def watch(browser, checks, daemons):
    """Counts the lines of the browser's side, until it ends."""
    for line in browser.stdout:
        line = line.rstrip("\n")
        match = re.match(r"(ok|FAILED) +(.*)$", line)
        if match:
            checks.check(match.group(2), match.group(1) == "ok", "see above")
        elif line.startswith("@ "):
            browser.stdin.write(obey(line, daemons) + "\n")
            browser.stdin.flush()
        else:
            print(line, flush=True)


def run_browser(checks, daemons, steps):
    shutil.rmtree(SHOTS, ignore_errors=True)
    os.makedirs(SHOTS)
    setup = {name: f"http://127.0.0.1:{daemon.port}" for name, daemon in daemons.items()}
    setup |= {"modules": MODULES, "shots": SHOTS, "chromium": CHROMIUM}
    with subprocess.Popen(
            ["timeout", "-k", "10", str(DEADLINE_S), "node",
             os.path.join(HERE, "status_page.mjs"), *steps],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "MAYFLY_BROWSER_TEST": json.dumps(setup)}) as browser:
        watch(browser, checks, daemons)
    checks.equal("the browser's side came to its end", browser.returncode, 0)


def main():
    install()
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-browser.")
    daemons = {
        "main": Mayflyd(os.path.join(folder, "main"), os.environ["DOCKER_HOST"],
                        ["--max-running", "2", "--prepare-ahead", "0", "--pull-policy", "never",
                         "--term-grace-ms", "200"]),
        "lone": Mayflyd(os.path.join(folder, "lone"), f"unix://{folder}/nobody.sock"),
        "full": Mayflyd(os.path.join(folder, "full"), f"unix://{folder}/nobody.sock",
                        ["--disk-full-bytes", "1000000000000000",
                         "--disk-low-bytes", "1000000000000001"]),
    }
    try:
        daemons["main"].start()
        for name in ("lone", "full"):
            daemons[name].start(wait_ready=False)
            checks.check(f"the daemon {name} is there",
                         wait_for(lambda named=name: is_alive(daemons[named])),
                         daemons[name].log_tail())
        run_browser(checks, daemons, sys.argv[1:])
    finally:
        for daemon in daemons.values():
            daemon.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
