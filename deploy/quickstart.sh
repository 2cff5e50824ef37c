#!/usr/bin/env bash
# From a fresh clone to a finished run, with everything on the way shown.
#
#   deploy/quickstart.sh [--keep] [--image IMAGE] [--script FILE]
#
#   --keep          leave mayflyd (and an engine that was started here) running, and say how to
#                   stop them
#   --stop          stop what an earlier --keep left running
#   --image IMAGE   run on this image, which must have python3 (default: python:3-slim if it is
#                   there or can be pulled, else a small one made of this host's Python)
#   --script FILE   submit this Python script in place of deploy/example/report.py
#
# It installs what is missing with apt, builds mayflyd, and uses the Docker Engine at DOCKER_HOST
# or at the default socket; if none answers it starts a private one. All that it makes is under
# build/. Needs Debian 12; root, where something is to be installed or an engine to be started.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
. deploy/packages.sh

work="$root/build/quickstart"
engine_dir="$work/engine"
python=/usr/bin/python3
keep=no
image=
script=deploy/example/report.py
rows=5000

started_at=$(date +%s%N)
step_at=$started_at

seconds_since() { # $1 = nanoseconds
    local tenths=$((($(date +%s%N) - $1) / 100000000))
    echo "$((tenths / 10)).$((tenths % 10)) s"
}

# Closes the step before, opens the next.
step() {
    if [ -n "${step_name:-}" ]; then
        printf '    (%s)\n' "$(seconds_since "$step_at")"
    fi
    step_name=$1
    step_at=$(date +%s%N)
    printf '\n==> %s\n' "$1"
}

say() { printf '    %s\n' "$*"; }

die() {
    printf '\nquickstart: %s\n' "$*" >&2
    exit 1
}

# ---- JSON and HTTP

# $1 = Python expression over d, the document on standard input. Prints nothing for null.
json() {
    "$python" -c '
import json, sys
d = json.load(sys.stdin)
value = eval(sys.argv[1], {"d": d, "json": json})
if value is not None:
    print(value)' "$1"
}

get() { curl -sS --max-time 70 "$@"; }

# ---- what is to be stopped in the end

pid_of_mayflyd() {
    local pid
    pid=$(cat "$work/mayflyd.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$root/build/release/mayflyd" ] || return 1
    echo "$pid"
}

stop_mayflyd() {
    local pid tenths=150
    pid=$(pid_of_mayflyd) || return 0
    kill -TERM "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        if [ $tenths -eq 0 ]; then
            echo "quickstart: mayflyd did not stop in 15 s and was killed" >&2
            kill -KILL "$pid"
        fi
        tenths=$((tenths - 1))
        sleep 0.1
    done
    rm -f "$work/mayflyd.pid"
}

stop_all() {
    stop_mayflyd
    if [ -d "$engine_dir" ]; then
        deploy/private-engine.sh stop "$engine_dir" 2>/dev/null || true
    fi
}

clean_up() {
    local status=$?
    trap - EXIT
    if [ $status -ne 0 ] && [ -s "$work/mayflyd.log" ]; then
        echo "--- the end of $work/mayflyd.log" >&2
        tail -n 15 "$work/mayflyd.log" >&2
    fi
    if [ $keep = no ] || [ $status -ne 0 ]; then
        stop_all
    fi
    exit $status
}

# ---- the steps

find_engine() {
    step "Finding a Docker Engine"
    command -v docker >/dev/null || install_packages engine || die "no docker client"
    if timeout 5 docker version >/dev/null 2>&1; then
        say "one answers at ${DOCKER_HOST:-the default socket}"
    else
        say "none answers at ${DOCKER_HOST:-the default socket}; starting a private one"
        unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT
        DOCKER_HOST=$(deploy/private-engine.sh start "$engine_dir") || die "no engine to run on"
        export DOCKER_HOST
    fi
    say "$(docker version -f 'Docker Engine {{.Server.Version}}, API {{.Server.APIVersion}}')"
}

build() {
    step "Building mayflyd (the first time takes some minutes)"
    mkdir -p "$work"
    cmake --preset release >"$work/configure.log" 2>&1 || {
        tail -n 30 "$work/configure.log" >&2
        die "cmake failed; its whole output is $work/configure.log"
    }
    # One line in five seconds is enough to see that it goes on.
    cmake --build --preset release --target mayflyd mayfly | awk '
        /^\[[0-9]+\/[0-9]+\]/ {
            if (systime() - told >= 5) { told = systime(); print "    " $1 " " $NF; fflush() }
            next
        }
        /no work to do/ { print "    it is built"; next }
        { print "    " $0 }
        { fflush() }'
}

choose_image() {
    local public=python:3-slim made=mayfly-example/python:3
    step "Choosing an image with Python"
    if [ -n "$image" ]; then
        say "$image, as asked"
    elif docker image inspect "$public" >/dev/null 2>&1; then
        image=$public
        say "$image is there"
    elif curl -s -o /dev/null -m 3 https://registry-1.docker.io/v2/ &&
        timeout 180 docker pull -q "$public" >/dev/null 2>&1; then
        image=$public
        say "$image was pulled"
    else
        say "$public cannot be pulled here; making a small one of this host's Python"
        deploy/runner-image.sh "$made"
        image=$made
        say "$image is there"
    fi
}

start_mayflyd() {
    local port tries=300
    step "Starting mayflyd"
    stop_mayflyd
    port=$("$python" -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')
    url="http://127.0.0.1:$port"
    setsid build/release/mayflyd --data-dir "$work/data" --listen "127.0.0.1:$port" \
        --docker-host "${DOCKER_HOST:-unix:///var/run/docker.sock}" \
        >"$work/mayflyd.log" 2>&1 </dev/null &
    echo $! >"$work/mayflyd.pid"
    until curl -sf -o /dev/null -m 2 "$url/readyz"; do
        kill -0 "$(cat "$work/mayflyd.pid")" 2>/dev/null || die "mayflyd ended at once"
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "mayflyd is not ready after 30 s: $(get "$url/readyz" || true)"
        sleep 0.1
    done
    say "it listens on $url, its log is $work/mayflyd.log"
}

make_input() {
    awk -v rows=$rows 'BEGIN {
        split("Abisko Bergen Cork Dresden Evora Falun Gdansk Haarlem", names, " ")
        print "day,station,celsius"
        for (i = 0; i < rows; i++) {
            s = i % 8
            celsius = 4 + 2 * s + 9 * sin(i / 700) + (i * 37 % 61) / 20
            printf "%d,%s,%.1f\n", i / 8, names[s + 1], celsius
        }
    }' >"$work/measurements.csv"
}

submit() {
    step "Submitting $(basename "$script") with an input of $rows rows"
    make_input
    "$python" - "$image" "$(basename "$script")" >"$work/spec.json" <<'PYTHON'
import json, sys
image, script = sys.argv[1:]
print(json.dumps({
    "image": image,
    "command": ["python3", script],
    "labels": {"example": "quickstart"},
    "limits": {"timeout_s": 60, "memory_bytes": 256 * 1024 * 1024, "cpus": 1},
}, indent=2))
PYTHON
    sed 's/^/    /' "$work/spec.json"
    local code
    code=$(get -o "$work/answer.json" -w '%{http_code}' "$url/v1/runs" \
        -F "spec=<$work/spec.json;type=application/json" \
        -F "$(basename "$script")=@$script" \
        -F "input/measurements.csv=@$work/measurements.csv")
    [ "$code" = 201 ] || die "it was not accepted ($code): $(cat "$work/answer.json")"
    id=$(json 'd["id"]' <"$work/answer.json")
    say "accepted, and durable: run $id"
}

# Prints each phase when it is seen. Waits for the end as a client would.
follow() {
    local line seen= phase deadline=$((SECONDS + 120))
    step "Following it"
    while :; do
        get "$url/v1/runs/$id?wait=100ms" >"$work/run.json"
        phase=$(json 'd["status"]["phase"]' <"$work/run.json")
        line=$(json '" ".join(filter(None, (d["status"][n] for n in
            ("phase", "pending_reason", "reason", "message"))))' <"$work/run.json")
        if [ "$line" != "$seen" ]; then
            seen=$line
            say "$(seconds_since "$step_at")  $line"
        fi
        case "$phase" in
        succeeded | failed | timed_out | cancelled | lost) break ;;
        esac
        [ $SECONDS -lt $deadline ] || die "run $id is still $phase after 120 s"
    done
    say "exit code $(json 'd["status"]["exit_code"]' <"$work/run.json")"
    json '"clocks: " + ", ".join(f"{name} {ms} ms" for name in
        ("queue", "prepare", "run", "harvest")
        if (ms := d["status"]["clocks_ms"][name]) is not None)' <"$work/run.json" |
        sed 's/^/    /'
}

show_logs() {
    local stream
    step "What it printed"
    for stream in stdout stderr; do
        get "$url/v1/runs/$id/logs?stream=$stream" >"$work/$stream.log"
        tail -n 12 "$work/$stream.log" | sed "s/^/    $stream: /"
    done
}

# Every artifact is downloaded and hashed here, too.
fetch_artifacts() {
    local sha256 size path
    step "What it left under output/"
    rm -rf "$work/output"
    get "$url/v1/runs/$id/artifacts" |
        json '"\n".join("{sha256} {size} {path}".format(**a) for a in d["artifacts"])' \
            >"$work/artifacts.txt"
    while read -r sha256 size path; do
        [ -n "$path" ] || continue
        mkdir -p "$work/output/$(dirname "$path")"
        get -f -o "$work/output/$path" "$url/v1/runs/$id/artifacts/$path"
        say "$path, $size bytes, sha256 $sha256"
        echo "$sha256  $work/output/$path" | sha256sum --check --quiet ||
            die "$path came with other bytes than the manifest says"
    done <"$work/artifacts.txt"
    say "downloaded to $work/output; every sha256 is right"
}

show_result() {
    step "Its result.json, as it comes with the run"
    json 'json.dumps(d["status"]["result"])' <"$work/run.json" | sed 's/^/    /'
    if [ -f "$work/output/report.md" ]; then
        step "The head of its report"
        head -n 8 "$work/output/report.md" | sed 's/^/    /'
    fi
}

how_to_go_on() {
    step "Done, in $(seconds_since "$started_at") altogether"
    if [ $keep = yes ]; then
        cat <<TEXT
    mayflyd is still running. Look at it in a browser
      $url/
    or run a command of yours in a container of its own, live
      export MAYFLY_URL=$url
      build/release/mayfly run --image $image -- python3 -c 'print(6 * 7)'
      build/release/mayfly explain $id
      build/release/mayfly doctor
      build/release/mayfly --help
    or ask it yourself
      curl -s $url/v1/runs/$id
      curl -s '$url/v1/runs?label=example=quickstart&limit=5'
      curl -s $url/v1/engines
      curl -s $url/metrics
    and when you are done
      deploy/quickstart.sh --stop
TEXT
    else
        cat <<TEXT
    To look around while mayflyd runs:         deploy/quickstart.sh --keep
    To run a script of yours:                  deploy/quickstart.sh --script FILE
    The command line:                          build/release/mayfly --help
    To run it as a service:                    build/release/mayflyd --help
    The contract of a run, the API by example: README.md
TEXT
    fi
}

while [ $# -gt 0 ]; do
    case "$1" in
    --keep) keep=yes ;;
    --stop)
        stop_all
        echo "stopped"
        exit 0
        ;;
    --image)
        image=${2:?--image needs a name}
        shift
        ;;
    --script)
        script=${2:?--script needs a file}
        [ -f "$script" ] || die "no file $script"
        shift
        ;;
    -h | --help)
        sed -n '2,16s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) die "unknown option $1; see --help" ;;
    esac
    shift
done

mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || die "another quickstart is running in this tree"
step "Installing what is missing"
install_packages build client || die "install what is named above, then try again"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
{
    build
    find_engine
    choose_image
    start_mayflyd
} 9>&-
submit
follow
show_logs
fetch_artifacts
show_result
how_to_go_on
[ "$(json 'd["status"]["phase"]' <"$work/run.json")" = succeeded ] || exit 1
