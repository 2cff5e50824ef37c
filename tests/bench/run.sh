#!/usr/bin/env bash
# Builds, starts a Docker Engine of its own, runs the benches, prints their tables.
#
#   tests/bench/run.sh [NAME [options of that bench...]]    every bench without a name
#   tests/bench/run.sh --list
#
# A bench is an executable tests/bench/NAME.py. It gets DOCKER_HOST, MAYFLY_ENGINE_DIR and
# MAYFLY_BUILD, checks every result that it counts, prints a table and writes --out
# (build/bench/NAME.json). To add one, put such a file beside this one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
. deploy/packages.sh

python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1
export MAYFLY_ENGINE_DIR="$root/build/bench/engine"
export MAYFLY_BUILD="$root/build/release"
out="$root/build/bench"
deadline_s=${MAYFLY_BENCH_S:-1200}

names() {
    local file
    for file in tests/bench/*.py; do
        if [ -x "$file" ]; then basename "$file" .py; fi
    done
}

case "${1:-}" in
-h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
--list)
    for name in $(names); do
        printf '%-12s %s\n' "$name" "$("$python" "tests/bench/$name.py" --about)"
    done
    exit 0
    ;;
"") mapfile -t wanted < <(names) ;;
*)
    [ -x "tests/bench/$1.py" ] || {
        echo "bench: no bench '$1'; there are:" $(names) >&2
        exit 2
    }
    wanted=("$1")
    shift
    ;;
esac

mkdir -p "$out"
install_packages build engine client test
echo "== building"
cmake --preset release >"$out/configure.log" 2>&1 || {
    tail -n 30 "$out/configure.log" >&2
    exit 1
}
cmake --build --preset release --target mayflyd -- --quiet

stop_engine() { tests/support/engine.sh stop "$MAYFLY_ENGINE_DIR" --purge || true; }
trap stop_engine EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
stop_engine
DOCKER_HOST=$(tests/support/engine.sh start "$MAYFLY_ENGINE_DIR")
export DOCKER_HOST
unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT
tests/support/images.sh busybox

status=0
for name in "${wanted[@]}"; do
    echo "== $name: $("$python" "tests/bench/$name.py" --about)"
    timeout -k 10 "$deadline_s" "$python" "tests/bench/$name.py" --out "$out/$name.json" "$@" ||
        status=1
done
exit $status
