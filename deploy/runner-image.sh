#!/usr/bin/env bash
# A small image with Python, made of this host's Debian packages, where none can be pulled.
#
#   deploy/runner-image.sh [--cache DIR] NAME:TAG   make it and import it at DOCKER_HOST
#   deploy/runner-image.sh [--cache DIR] --tar      make the root file system only; prints its path
#
# In it: /usr/bin/python3 with its whole standard library (compiled, since containers cannot write
# to it), the shared libraries that it needs, and a static busybox for /bin/sh and friends. No
# package manager, no password, no /work. The file is made once for one version of the packages and
# kept (--cache, default build/images).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/packages.sh"

say() { echo "image: $*" >&2; }

cache="$root/build/images"
target=
only_tar=no
while [ $# -gt 0 ]; do
    case "$1" in
    --cache)
        cache=$2
        shift
        ;;
    --tar) only_tar=yes ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) target=$1 ;;
    esac
    shift
done
if [ -z "$target" ] && [ $only_tar = no ]; then
    say "needs a NAME:TAG (or --tar); see --help"
    exit 2
fi

# ---- the parts of a root file system; each adds to the folder $1

# Users and folders that every program expects.
add_base() {
    mkdir -p "$1"/{bin,etc,dev,proc,sys,tmp,root,usr/bin,usr/lib,var/tmp}
    chmod 1777 "$1/tmp" "$1/var/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
    echo 'root:x:0:' >"$1/etc/group"
}

add_busybox() {
    local applet
    cp /bin/busybox "$1/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"
    done
}

# Every shared library that the programs and modules in $1 name, from this host, and the loader.
add_libraries() {
    local library
    find "$1/usr" -type f \( -name '*.so' -o -name 'python3.*' -perm -100 \) -print0 |
        xargs -0 ldd 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' |
        sort -u | while read -r library; do
            mkdir -p "$1$(dirname "$library")"
            cp -L "$library" "$1$library"
        done
}

add_python() {
    local version
    version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    mkdir -p "$1/usr/lib/$version"
    cp "/usr/bin/$version" "$1/usr/bin/$version"
    ln -s "$version" "$1/usr/bin/python3"
    ln -s "$version" "$1/usr/bin/python"
    (cd "/usr/lib/$version" && tar -c --exclude=__pycache__ --exclude=./test --exclude=./idlelib \
        --exclude=./tkinter --exclude=./ensurepip --exclude=./lib2to3 --exclude=./turtledemo \
        --exclude='./config-*' --exclude=./dist-packages --exclude='./sitecustomize.py' .) |
        tar -x -C "$1/usr/lib/$version"
    # By hash and unchecked: file times are not kept below, and nothing in the image changes.
    "/usr/bin/$version" -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -s "$1" "$1/usr/lib/$version" >/dev/null
    add_libraries "$1"
}

make_tar() { # $1 = file
    local stage
    stage=$(mktemp -d "$cache/stage.XXXXXX")
    trap 'rm -rf "$stage"' EXIT
    mkdir "$stage/root"
    chmod 0755 "$stage/root"
    add_base "$stage/root"
    add_busybox "$stage/root"
    add_python "$stage/root"
    tar -c -C "$stage/root" --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 \
        -f "$stage/image.tar" .
    mv "$stage/image.tar" "$1"
    rm -rf "$stage"
    trap - EXIT
}

install_packages engine client
if [ ! -x /usr/bin/python3 ]; then
    say "no /usr/bin/python3 (package python3)"
    exit 1
fi
mkdir -p "$cache"
# What it is made of: the packages' versions and this script.
made_of() {
    dpkg-query -W -f '${Package} ${Version}\n' 'python3*-minimal' 'libpython3*' libc6 \
        busybox-static 2>/dev/null || true
    cat "${BASH_SOURCE[0]}"
}
fingerprint=$(made_of | sha256sum | cut -c1-16)
tar_file="$cache/python-$fingerprint.tar"
if [ ! -f "$tar_file" ]; then
    started=$SECONDS
    make_tar "$tar_file"
    size_mib=$(($(stat -c %s "$tar_file") >> 20))
    say "made $(basename "$tar_file"), $size_mib MiB, in $((SECONDS - started)) s"
fi
if [ $only_tar = yes ]; then
    echo "$tar_file"
    exit 0
fi

label=mayfly.example.fingerprint
format="{{index .Config.Labels \"$label\"}}"
if [ "$(docker image inspect -f "$format" "$target" 2>/dev/null)" = "$fingerprint" ]; then
    exit 0
fi
docker import --change 'CMD ["/usr/bin/python3"]' --change 'ENV PATH=/usr/bin:/bin' \
    --change "LABEL $label=$fingerprint" "$tar_file" "$target" >/dev/null
say "imported $target"
