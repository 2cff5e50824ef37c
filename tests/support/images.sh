#!/usr/bin/env bash
# The images that tests run on, made on the spot and imported into the engine at DOCKER_HOST.
# Quick when they are there.
#
#   tests/support/images.sh [NAME...]    all without a name
#
#   mayfly-test/busybox:1     /bin/busybox and a link for each applet
#   mayfly-test/python:1      Python 3 with its standard library, and busybox
#   mayfly-test/entrypoint:1  busybox with everything that a run must override: its own ENTRYPOINT,
#                             CMD, USER root, ENV, WORKDIR, STOPSIGNAL and HEALTHCHECK
#   mayfly-test/scratch:1     one static program, /hello, and nothing else: no shell, no /tmp. It
#                             prints "hello from scratch" and its arguments, writes
#                             output/hello.txt, and exits with its first argument, if a number
#   mayfly-test/volume:1      busybox that declares a VOLUME: to be refused
#   mayfly-test/arch:1        busybox said to be of another architecture: to be refused
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/deploy/packages.sh"
cache="$root/build/images"
label=mayfly.test.fingerprint

say() { echo "images: $*" >&2; }

all=(busybox python entrypoint scratch volume arch)
case "${1:-}" in
-h | --help)
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
: "${DOCKER_HOST:?names the engine to import into}"
install_packages build engine client
mkdir -p "$cache"

fingerprint=$(cat "${BASH_SOURCE[0]}" /bin/busybox | sha256sum | cut -c1-16)

stage=$(mktemp -d "$cache/stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT

pack() { # $1 = name of the folder in the stage
    tar -c -C "$stage/$1" --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 \
        -f "$stage/$1.tar" .
    mv "$stage/$1.tar" "$cache/$1-$fingerprint.tar"
}

busybox_tar() {
    if [ ! -f "$cache/busybox-$fingerprint.tar" ]; then
        local to="$stage/busybox" applet
        mkdir -p "$to"/{bin,etc,dev,proc,sys,tmp,root}
        chmod 0755 "$to"
        chmod 1777 "$to/tmp"
        echo 'root:x:0:0:root:/root:/bin/sh' >"$to/etc/passwd"
        echo 'root:x:0:' >"$to/etc/group"
        cp /bin/busybox "$to/bin/busybox"
        for applet in $(/bin/busybox --list); do
            [ "$applet" = busybox ] || ln -s busybox "$to/bin/$applet"
        done
        pack busybox
    fi
    echo "$cache/busybox-$fingerprint.tar"
}

scratch_tar() {
    if [ ! -f "$cache/scratch-$fingerprint.tar" ]; then
        mkdir -p "$stage/scratch"
        chmod 0755 "$stage/scratch"
        cat >"$stage/hello.c" <<'C'
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
    printf("hello from scratch");
    for (int i = 1; i < argc; ++i) {
        printf(" %s", argv[i]);
    }
    printf("\n");
    FILE* file = fopen("output/hello.txt", "w");
    if (file != NULL) {
        fputs("hello from scratch\n", file);
        fclose(file);
    }
    return argc > 1 ? atoi(argv[1]) : 0;
}
C
        clang-19 -static -Os -s -o "$stage/scratch/hello" "$stage/hello.c"
        pack scratch
    fi
    echo "$cache/scratch-$fingerprint.tar"
}

import() { # $1 = name, $2 = tar, then docker import's options
    local name="mayfly-test/$1:1" tar=$2
    shift 2
    docker import --change "LABEL $label=$fingerprint" "$@" "$tar" "$name" >/dev/null
    say "imported $name"
}

is_there() {
    [ "$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "mayfly-test/$1:1" \
        2>/dev/null)" = "$fingerprint" ]
}

other_architecture() {
    case "$(uname -m)" in
    x86_64) echo arm64 ;;
    *) echo amd64 ;;
    esac
}

# Changes an image's configuration in ways that docker import has no words for: save, edit, load.
# $1 = new name, $2 = image to start from, $3 = JSON to lay over its configuration.
derive() {
    python3 - "$stage" "mayfly-test/$1:1" "mayfly-test/$2:1" "$3" <<'PYTHON'
import hashlib, json, os, subprocess, sys, tarfile
stage, image, source, patch = sys.argv[1:]
saved = os.path.join(stage, "derive")
os.mkdir(saved)
subprocess.run(["docker", "save", "-o", saved + ".tar", source], check=True)
with tarfile.open(saved + ".tar") as archive:
    archive.extractall(saved)
manifest = json.load(open(os.path.join(saved, "manifest.json")))[0]
config = json.load(open(os.path.join(saved, manifest["Config"])))
patch = json.loads(patch)
config["config"].update(patch.pop("config", {}))
config.update(patch)
text = json.dumps(config).encode()
name = hashlib.sha256(text).hexdigest() + ".json"
open(os.path.join(saved, name), "wb").write(text)
out = {"Config": name, "RepoTags": [image], "Layers": manifest["Layers"]}
json.dump([out], open(os.path.join(saved, "manifest.json"), "w"))
with tarfile.open(saved + ".new.tar", "w") as archive:
    for entry in ["manifest.json", name] + manifest["Layers"]:
        archive.add(os.path.join(saved, entry), entry)
subprocess.run(["docker", "load", "-q", "-i", saved + ".new.tar"], check=True,
               stdout=subprocess.DEVNULL)
PYTHON
    rm -rf "$stage/derive" "$stage/derive.tar" "$stage/derive.new.tar"
    say "imported mayfly-test/$1:1"
}

busybox_there() { is_there busybox || make busybox; }

make() {
    case "$1" in
    busybox) import busybox "$(busybox_tar)" --change 'CMD ["/bin/sh"]' ;;
    python) "$root/deploy/runner-image.sh" --cache "$cache" mayfly-test/python:1 ;;
    entrypoint)
        busybox_there
        derive entrypoint busybox '{"config": {
            "Entrypoint": ["/bin/sh", "-c", "echo the entrypoint of the image ran; exit 99"],
            "Cmd": ["an argument"], "User": "root", "WorkingDir": "/root",
            "Env": ["FROM_IMAGE=yes", "HOME=/root", "PATH=/bin"], "StopSignal": "SIGUSR1",
            "Healthcheck": {"Test": ["CMD", "/bin/false"], "Interval": 1000000000}}}'
        ;;
    scratch) import scratch "$(scratch_tar)" --change 'CMD ["/hello"]' ;;
    volume) import volume "$(busybox_tar)" --change 'VOLUME /data' ;;
    arch)
        busybox_there
        derive arch busybox "{\"architecture\": \"$(other_architecture)\"}"
        ;;
    *)
        say "no image '$1'; there are: ${all[*]}"
        exit 2
        ;;
    esac
}

for name in "${@:-${all[@]}}"; do
    # The Python image has a fingerprint of its own and looks for it itself.
    if [ "$name" = python ] || ! is_there "$name"; then
        make "$name"
    fi
done
