#!/usr/bin/env bash
# A Docker Engine of our own, beside whatever else runs on this host and invisible to it.
#
#   deploy/private-engine.sh start DIR [dockerd flags...]   prints its DOCKER_HOST
#   deploy/private-engine.sh stop DIR [--purge]             --purge removes DIR, too
#   deploy/private-engine.sh status DIR                     prints its DOCKER_HOST, or fails
#   deploy/private-engine.sh kill DIR [SIGNAL]              signals dockerd alone (default KILL)
#
# Everything of it lies in DIR: containerd's and dockerd's roots, logs and pid files; sockets too,
# unless that path is too long for a socket. No bridge, no iptables, no network but `none`.
# containerd is started by us and not by dockerd, so that dockerd may be killed and started again.
# Starting what runs, and stopping what does not, are fine. Progress goes to standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

start_deadline_s=${MAYFLY_ENGINE_START_S:-60}
stop_deadline_s=30

say() { echo "engine: $*" >&2; }
die() {
    say "$*"
    exit 1
}

usage() {
    sed -n '2,13s/^# \{0,1\}//p' "$0"
}

# The longest path below is a socket's, $run/exec/libnetwork/<12>.sock, and may have 108 bytes.
choose_folders() {
    dir=$(realpath -m "$1")
    run="$dir/run"
    if [ ${#run} -gt 56 ]; then
        run="/run/mayfly-engine-$(printf '%s' "$dir" | cksum | cut -d' ' -f1)"
    fi
    socket="$run/docker.sock"
    containerd_socket="$run/containerd.sock"
}

answers() {
    [ -S "$socket" ] &&
        [ "$(curl -s -m 2 --unix-socket "$socket" http://engine/_ping 2>/dev/null)" = OK ]
}

# $1 = pid file, $2 = word that the command line must hold. Prints the pid if it is really ours.
pid_of() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$2" || return 1
    echo "$pid"
}

# TERM, then KILL after $2 seconds. Returns when it is gone.
end_process() {
    local pid=$1 tenths=$(($2 * 10))
    kill -TERM "$pid" 2>/dev/null || return 0
    while [ "$tenths" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    if kill -KILL "$pid" 2>/dev/null; then
        say "pid $pid did not end in $2 s and was killed"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
}

# Shims of containers that outlived their engine, and what runs in them. They name our socket.
end_shims() {
    local cmdline pid child
    for cmdline in /proc/[0-9]*/cmdline; do
        pid=${cmdline#/proc/}
        pid=${pid%/cmdline}
        case "$({ tr '\0' ' ' <"$cmdline"; } 2>/dev/null || true)" in
        *containerd-shim*"-address $containerd_socket "*)
            for child in $(ps -o pid= --ppid "$pid" 2>/dev/null); do
                kill -KILL "$child" 2>/dev/null || true
            done
            kill -KILL "$pid" 2>/dev/null || true
            ;;
        esac
    done
}

unmount_leftovers() {
    local point
    # Deepest first. mountinfo prints blanks as \040.
    awk '{print $5}' /proc/self/mountinfo | while read -r point; do printf '%b\n' "$point"; done |
        { grep -E "^($(quoted "$dir")|$(quoted "$run"))(/|\$)" || true; } | sort -r |
        while read -r point; do
            umount -l "$point" 2>/dev/null || true
        done
}

quoted() { printf '%s' "$1" | sed 's/[][\.*^$+?(){}|/]/\\&/g'; }

check_host() {
    [ "$(id -u)" -eq 0 ] || die "starting an engine needs root"
    install_packages engine client || exit 1
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && [ ! -d /sys/fs/cgroup/memory ]; then
        die "no cgroups at /sys/fs/cgroup; mount them (package cgroupfs-mount) and try again"
    fi
}

write_configuration() {
    mkdir -p "$dir/containerd" "$dir/data" "$run/exec"
    chmod 0711 "$dir" "$run"
    cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "$run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$containerd_socket"
TOML
    # An explicit file, so that the host's /etc/docker/daemon.json is not read.
    echo '{}' >"$dir/daemon.json"
}

start_containerd() {
    if pid_of "$dir/containerd.pid" "$dir/containerd.toml" >/dev/null; then
        return
    fi
    rm -f "$containerd_socket"
    setsid containerd --config "$dir/containerd.toml" >>"$dir/containerd.log" 2>&1 </dev/null &
    echo $! >"$dir/containerd.pid"
    wait_until "containerd" "$dir/containerd.pid" "$dir/containerd.toml" "$dir/containerd.log" \
        test -S "$containerd_socket"
}

start_dockerd() {
    rm -f "$socket" "$run/docker.pid"
    setsid dockerd --config-file "$dir/daemon.json" -H "unix://$socket" \
        --containerd "$containerd_socket" --data-root "$dir/data" --exec-root "$run/exec" \
        --pidfile "$run/docker.pid" --bridge=none --iptables=false --ip6tables=false \
        --ip-forward=false --ip-masq=false --userland-proxy=false --shutdown-timeout=3 \
        "$@" >>"$dir/dockerd.log" 2>&1 </dev/null &
    echo $! >"$dir/dockerd.pid"
    wait_until "dockerd" "$dir/dockerd.pid" "$dir/daemon.json" "$dir/dockerd.log" answers
}

# $1 name, $2 pid file, $3 word of its command line, $4 log, then the condition.
wait_until() {
    local name=$1 pid_file=$2 word=$3 log=$4 started=$SECONDS told=$SECONDS
    shift 4
    until "$@"; do
        if ! kill -0 "$(cat "$pid_file")" 2>/dev/null; then
            tail -n 15 "$log" >&2
            die "$name ended at once; its log is $log"
        fi
        if [ $((SECONDS - started)) -ge "$start_deadline_s" ]; then
            tail -n 15 "$log" >&2
            die "$name does not answer after $start_deadline_s s; its log is $log"
        fi
        if [ $((SECONDS - told)) -ge 5 ]; then
            told=$SECONDS
            say "waiting for $name, $((SECONDS - started)) s"
        fi
        sleep 0.1
    done
    pid_of "$pid_file" "$word" >/dev/null || die "$name answers, but is not the one just started"
}

start() {
    choose_folders "$1"
    shift
    if answers && pid_of "$dir/dockerd.pid" "$dir/daemon.json" >/dev/null; then
        say "already running in $dir"
    else
        check_host
        local pid
        if pid=$(pid_of "$dir/dockerd.pid" "$dir/daemon.json"); then
            say "dockerd does not answer; starting it again"
            end_process "$pid" "$stop_deadline_s"
        fi
        write_configuration
        start_containerd
        start_dockerd "$@"
        say "$(dockerd --version | head -n 1) runs in $dir"
    fi
    echo "unix://$socket"
}

stop() {
    choose_folders "$1"
    local pid
    if pid=$(pid_of "$dir/dockerd.pid" "$dir/daemon.json"); then
        kill -CONT "$pid" 2>/dev/null || true # a test may have stopped it
        end_process "$pid" "$stop_deadline_s"
    fi
    end_shims
    if pid=$(pid_of "$dir/containerd.pid" "$dir/containerd.toml"); then
        end_process "$pid" 10
    fi
    unmount_leftovers
    rm -rf "$run"
    rm -f "$dir/dockerd.pid" "$dir/containerd.pid"
    if [ "${2:-}" = --purge ]; then
        rm -rf "$dir"
    fi
    say "stopped ($dir)"
}

case "${1:-}" in
start | stop | status | kill) [ -n "${2:-}" ] || die "$1 needs a folder" ;;
esac
case "${1:-}" in
start)
    shift
    start "$@"
    ;;
stop) stop "$2" "${3:-}" ;;
status)
    choose_folders "$2"
    answers || exit 1
    echo "unix://$socket"
    ;;
kill)
    choose_folders "$2"
    pid=$(pid_of "$dir/dockerd.pid" "$dir/daemon.json") || die "no dockerd runs in $dir"
    kill "-${3:-KILL}" "$pid"
    ;;
-h | --help | "") usage ;;
*) die "start, stop, status or kill, not '$1'" ;;
esac
