"""What the tests of Compose and of the image share: a network of their own, engines in it, images
made on the spot, and what must be left of it all: nothing.

The network is a namespace of the test's own process. There Docker may make bridges and firewall
rules, and ports 7070 and 9090 are free, whatever else runs on the host. It ends with the process.
"""

import ctypes
import json
import os
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import EngineApi, wait_for  # noqa: E402
from daemon import BUILD, ROOT  # noqa: E402

ENGINE = os.path.join(ROOT, "tests/support/engine.sh")
IMAGES = os.path.join(ROOT, "tests/support/images.sh")
PACKAGES = os.path.join(ROOT, "deploy/packages.sh")
IMAGE_ROOT = os.path.join(ROOT, "deploy/image-root.sh")
DOCKERFILE = os.path.join(ROOT, "deploy/Dockerfile")
TOOLS = os.path.join(ROOT, "build/tools")

USER = 65532  # whom mayflyd runs as in its image
BUSYBOX = "mayfly-test/busybox:1"
PREBUILT = "mayfly-test/prebuilt:1"  # /image, as the Dockerfile's ARG SOURCE wants it
PROMETHEUS = "mayfly-test/prometheus:1"
REMOTE_ADDRESS = "10.77.0.1"  # on the own network's loopback: bridges route to it
# Debian's engine makes no bridge where deploy/private-engine.sh starts it. The last flag counts.
BRIDGED = ["--bridge=", "--iptables=true", "--ip-forward=true", "--ip-masq=true",
           "--userland-proxy=true"]
COMMAND_DEADLINE_S = 180
CLONE_NEWNET = 0x40000000


def clean_environment(**more):
    """This process's, without what would steer docker, compose or mayflyd elsewhere."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("DOCKER_", "COMPOSE_", "MAYFLY_", "GRAFANA_", "PROMETHEUS_"))}
    return {**kept, **more}


def run(*command, deadline_s=COMMAND_DEADLINE_S, env=None, cwd=ROOT):
    """What it printed. One that fails is an exception with its output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd,
                          timeout=deadline_s, env=env or clean_environment())
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}:\n"
                           f"{done.stdout[-4000:]}")
    return done.stdout


def install(*groups):
    """Packages of deploy/packages.sh; quick when they are there."""
    run(PACKAGES, "install", *groups, deadline_s=900)


def enter_own_network():
    """From here on, this process and all that it starts share a fresh network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET); the test needs root")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{REMOTE_ADDRESS}/32", "dev", "lo")


class Engine:
    """An engine of this test alone."""

    def __init__(self, folder, *flags):
        self.folder, self.flags = folder, flags
        self.host = self.api = None

    def start(self):
        # Its progress goes to standard error, its address to standard output.
        self.host = subprocess.run([ENGINE, "start", self.folder, *self.flags], check=True,
                                   text=True, stdout=subprocess.PIPE,
                                   timeout=COMMAND_DEADLINE_S).stdout.strip()
        self.api = EngineApi(self.host)
        return self

    def stop(self):
        subprocess.run([ENGINE, "stop", self.folder, "--purge"], check=False,
                       timeout=COMMAND_DEADLINE_S)

    @property
    def socket(self):
        return self.host[len("unix://"):]

    @property
    def socket_group(self):
        return os.stat(self.socket).st_gid

    def environment(self, **more):
        # A configuration folder that is not there: no credentials and no plugins of this host.
        return clean_environment(DOCKER_HOST=self.host, DOCKER_CONFIG=self.folder + "/client",
                                 **more)

    def docker(self, *arguments, deadline_s=COMMAND_DEADLINE_S):
        return run("docker", *arguments, deadline_s=deadline_s,
                   env=self.environment(DOCKER_BUILDKIT="0"))

    def inspect(self, name):
        return self.api.json("GET", f"/containers/{name}/json")

    def image(self, name):
        return self.api.json("GET", f"/images/{name}/json")

    def busybox(self):
        run(IMAGES, "busybox", env=self.environment())

    def left(self):
        """Names of the containers, volumes and networks that are not the engine's own."""
        networks = self.api.json("GET", "/networks")
        return {
            "containers": [c["Names"] for c in self.api.json("GET", "/containers/json?all=1")],
            "volumes": [v["Name"] for v in self.api.json("GET", "/volumes")["Volumes"] or []],
            "networks": [n["Name"] for n in networks
                         if n["Name"] not in ("bridge", "host", "none")],
        }

    def started(self, run_id):
        """How many containers of that run this engine has started, by its own events."""
        wanted = json.dumps({"type": ["container"], "event": ["start"],
                             "label": [f"io.mayfly.run={run_id}"]}, separators=(",", ":"))
        _, lines = self.api.request(  # up to now: later ones would be waited for
            "GET", f"/events?since=0&until={time.time():.9f}&filters={wanted}")
        return len(lines.splitlines())


NOTHING_LEFT = {"containers": [], "volumes": [], "networks": []}


def import_folder(engine, folder, name, *changes):
    """Makes an image of a folder's content, with owners and modes as they are."""
    options = [part for change in changes for part in ("--change", change)]
    with subprocess.Popen(["tar", "-c", "-C", folder, "--sort=name", "--numeric-owner", "."],
                          stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", *options, "-", name], check=True, stdin=tar.stdout,
                       stdout=subprocess.DEVNULL, timeout=COMMAND_DEADLINE_S,
                       env=engine.environment())


def import_prebuilt(engine, folder):
    """mayflyd as it was built on this host, as the Dockerfile's SOURCE."""
    run(IMAGE_ROOT, os.path.join(BUILD, "mayflyd"), os.path.join(folder, "prebuilt/image"))
    import_folder(engine, os.path.join(folder, "prebuilt"), PREBUILT)


def import_prometheus(engine, folder):
    """Debian's Prometheus where the public image has it, with that one's wget, from busybox."""
    program = run("bash", "-c", f". {PACKAGES}; fetch_program {TOOLS} prometheus prometheus "
                                "2>/dev/null").strip()
    root = os.path.join(folder, "prometheus")
    run("bash", "-euc", """
        mkdir -p "$1"/{bin,etc,prometheus,tmp}
        cp "$2" "$1/bin/prometheus"
        cp /bin/busybox "$1/bin/wget"
        for library in $(ldd "$2" | grep -o '/[^ ]*'); do
            mkdir -p "$1$(dirname "$library")"
            cp -L "$library" "$1$library"
        done
        chown 65534:65534 "$1/prometheus"
        chmod 1777 "$1/tmp"
        """, "-", root, program)
    import_folder(engine, root, PROMETHEUS, 'ENTRYPOINT ["/bin/prometheus"]', "ENV PATH=/bin",
                  "USER nobody", "VOLUME /prometheus")


def build_image(engine, tag, *options):
    """The Dockerfile's final stage, of the prebuilt program. Its first stage runs nothing then."""
    return engine.docker("build", "-q", "-f", DOCKERFILE, "-t", tag, "--network", "none",
                         "--build-arg", f"SOURCE={PREBUILT}", "--build-arg", f"BASE={BUSYBOX}",
                         *options, ROOT).strip().splitlines()[-1]


def run_goes_through(checks, client, engine):
    """The run, ended, with the artifact `hi`."""
    ended = client.submit({"image": BUSYBOX, "command": ["sh", "-c", "echo hi > output/hi"]})
    ended = client.wait(ended["id"])
    checks.equal("a run goes through it", ended["status"]["phase"], "succeeded")
    checks.equal("with its artifact", client.artifact(ended["id"], "hi"), b"hi\n")
    checks.check("and leaves nothing on the engine", wait_for(
        lambda: engine.api.owned() == ([], []), 30), engine.api.owned())
    return ended


def make_certificates(folder):
    """A CA, a server at REMOTE_ADDRESS, and a client: the names that Docker gives them."""
    os.makedirs(folder)

    def certificate(name, subject, *options):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", f"/CN={subject}", "-keyout", f"{name}-key.pem",
            "-out", f"{name}.pem", *options, cwd=folder)

    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem")
    certificate("ca", "mayfly test CA")
    certificate("server", "engine", *signed, "-addext", f"subjectAltName=IP:{REMOTE_ADDRESS}",
                "-addext", "extendedKeyUsage=serverAuth")
    certificate("client", "mayflyd", *signed, "-addext", "extendedKeyUsage=clientAuth")
    client = os.path.join(folder, "client")
    os.mkdir(client)
    for old, new in (("client.pem", "cert.pem"), ("client-key.pem", "key.pem"),
                     ("ca.pem", "ca.pem")):
        run("install", "-m", "0400", "-o", str(USER), "-g", str(USER), old,
            os.path.join(client, new), cwd=folder)
    os.chmod(client, 0o755)
    return client


def remote_flags(folder):
    """dockerd's, for TLS with the certificates of make_certificates."""
    return ["-H", f"tcp://{REMOTE_ADDRESS}:2376", "--tlsverify",
            f"--tlscacert={folder}/ca.pem", f"--tlscert={folder}/server.pem",
            f"--tlskey={folder}/server-key.pem"]
