#!/usr/bin/env bash
# What Mayfly needs from Debian 12, in one place, and its installation.
#
#   deploy/packages.sh                  list the groups
#   deploy/packages.sh list GROUP...    one package a line
#   deploy/packages.sh install GROUP... install what is missing (root); quick when nothing is
#
# Sourced by other scripts, it only defines its functions.

packages_of() {
    case "$1" in
    build) # compiler, build tools, libraries
        echo clang-19 lld-19 cmake ninja-build ccache pkg-config libc6-dev libstdc++-12-dev \
            libboost1.81-dev libssl-dev libsqlite3-dev libsqlitecpp-dev nlohmann-json3-dev \
            libarchive-dev libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev zlib1g-dev \
            libgtest-dev # the presets configure the tests too
        ;;
    engine) # a Docker Engine of our own, and images made on the spot
        echo docker.io containerd runc iptables apparmor procps ca-certificates \
            busybox-static python3
        ;;
    client) # what the scripts themselves call
        echo curl ca-certificates python3 procps tar
        ;;
    test) # beside all of the above
        echo clang-format-19 clang-tidy-19 libclang-rt-19-dev python3-docker python3-requests git \
            groff-base
        ;;
    image) # beside build, what the image of mayflyd is made of
        echo ca-certificates
        ;;
    deploy) # what the tests of Compose, image and unit call
        echo systemd docker-compose debootstrap iproute2 openssl busybox-static binutils
        ;;
    node) # npm, for what is checked by programs and types that others publish
        echo nodejs npm
        ;;
    browser) # what the status page is looked at with
        echo chromium fonts-dejavu-core
        ;;
    *)
        echo "packages: no group '$1'; there are:" \
            "build engine client test image deploy node browser" >&2
        return 2
        ;;
    esac
}

missing_packages() {
    local group package
    for group in "$@"; do
        packages_of "$group" || return 2
    done | tr ' ' '\n' | sort -u | while read -r package; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

# Installs what is missing of the groups. Says what it does; fails with the reason.
install_packages() {
    local missing log
    missing=$(missing_packages "$@") || return 2
    if [ -z "$missing" ]; then
        return 0
    fi
    if ! command -v apt-get >/dev/null; then
        echo "packages: not a Debian system (no apt-get). Needed:" $missing >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "packages: run as root, or install by hand: apt-get install" $missing >&2
        return 1
    fi
    log=$(mktemp)
    echo "packages: installing" $missing >&2
    if ! { apt-get update -q &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "packages: apt-get failed; its whole output is in $log" >&2
        return 1
    fi
    rm -f "$log"
}

# The path of one program of a package, unpacked into a folder and not installed: installing it
# would start a server.
#   fetch_program FOLDER PACKAGE PROGRAM
fetch_program() {
    local folder=$1 package=$2 program=$3
    if command -v "$program"; then
        return 0
    fi
    if [ ! -x "$folder/usr/bin/$program" ]; then
        mkdir -p "$folder" || return 1
        echo "packages: fetching $program" >&2
        (cd "$folder" && apt-get download -q "$package" >/dev/null 2>&1 &&
            dpkg-deb -x "$package"_*.deb . && rm -f "$package"_*.deb) || {
            echo "packages: cannot fetch $program (package $package)" >&2
            return 1
        }
    fi
    echo "$folder/usr/bin/$program"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    command=${1:-}
    [ $# -gt 0 ] && shift
    case "$command" in
    list)
        for group in "$@"; do packages_of "$group" | tr ' ' '\n'; done | sort -u
        ;;
    install)
        install_packages "$@"
        ;;
    "" | -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "$0"
        for group in build engine client test image deploy node browser; do
            echo "  $group: $(packages_of "$group")"
        done
        ;;
    *)
        echo "packages: list or install, not '$command'" >&2
        exit 2
        ;;
    esac
fi
