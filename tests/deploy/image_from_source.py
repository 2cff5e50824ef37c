"""The image of mayflyd built whole, from source in its own first stage; then one run through it.

On request, since it compiles everything (minutes): python3 tests/deploy/image_from_source.py

Its base is made by debootstrap, once, and bears the name of the public image that the Dockerfile
asks for. Needs the network of the host's package mirror.
"""

import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from daemon import Client, ROOT, free_port  # noqa: E402
import private_host as host  # noqa: E402

IMAGE = "mayfly-test/mayflyd:from-source"
BASE = os.path.join(host.TOOLS, "bookworm-minbase")
MOST_BYTES = 64 * 1024 * 1024
BUILD_DEADLINE_S = 3600

# Mirrors and proxies of this host hold in the base, too.
MAKE_BASE = """
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    sources() {
        apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
            'Created-By: Packages' | grep ' bookworm[^ ]* main$' | sort -u
    }
    mirror=$(sources | awk '$2 == "bookworm" {print $1; exit}')
    debootstrap --variant=minbase bookworm "$1.part" "$mirror"
    sources | sed "s|^|deb [signed-by=$keyring] |" >"$1.part/etc/apt/sources.list"
    apt-config dump Acquire >"$1.part/etc/apt/apt.conf.d/99host"
    rm -rf "$1.part"/var/cache/apt/archives/*.deb "$1.part"/var/lib/apt/lists/*
    mv "$1.part" "$1"
"""


def base_name():
    """The default of the Dockerfile's ARG BASE."""
    with open(host.DOCKERFILE, encoding="utf-8") as file:
        return re.search(r"^ARG BASE=(\S+)$", file.read(), flags=re.M).group(1)


def make_base(engine):
    began = time.monotonic()
    if not os.path.isdir(BASE):
        host.run("bash", "-euc", f"rm -rf '{BASE}.part'; {MAKE_BASE}", "-", BASE,
                 deadline_s=1200)
    host.import_folder(engine, BASE, base_name(), 'CMD ["/bin/bash"]')
    print(f"base {base_name()} made in {time.monotonic() - began:.0f} s", flush=True)


def is_built(checks, engine):
    began = time.monotonic()
    print(engine.docker("build", "--no-cache", "-f", host.DOCKERFILE, "-t", IMAGE, "--network",
                        "host", ROOT, deadline_s=BUILD_DEADLINE_S)[-1500:])
    size = engine.image(IMAGE)["Size"]
    print(f"built from source in {time.monotonic() - began:.0f} s, "
          f"{size} bytes ({size / 2**20:.1f} MiB)", flush=True)
    checks.check(f"it is no larger than {MOST_BYTES >> 20} MiB", size <= MOST_BYTES, size)
    checks.check("it says its version", engine.docker(
        "run", "--rm", "--network", "none", IMAGE, "--version").startswith("mayflyd "))


def runs(checks, engine):
    engine.busybox()
    port = free_port()
    name = engine.docker(
        "run", "-d", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--network", "host", "-e", f"MAYFLY_LISTEN=127.0.0.1:{port}",
        "-v", f"{engine.socket}:/var/run/docker.sock",
        "--group-add", str(engine.socket_group), IMAGE).strip()
    client = Client("127.0.0.1", port)

    def ready():
        try:
            return client.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    checks.check("it becomes ready", wait_for(ready, 60, 0.2), engine.docker("logs", name))
    host.run_goes_through(checks, client, engine)
    engine.docker("rm", "-f", "-v", name)


def everything(checks, engine):
    make_base(engine)
    is_built(checks, engine)
    runs(checks, engine)


def main():
    checks = Checks()
    host.install("engine", "client", "deploy")
    folder = tempfile.mkdtemp(prefix="mayfly-image-")
    engine = host.Engine(os.path.join(folder, "engine"))
    try:
        engine.start()
        checks.step(everything, checks, engine)
    finally:
        engine.stop()
    checks.finish(folder)


if __name__ == "__main__":
    main()
