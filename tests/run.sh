#!/usr/bin/env bash
# Installs what is missing, builds, starts a Docker Engine of its own, runs the suites.
#
#   tests/run.sh             every suite but those marked with * below
#   tests/run.sh SUITE...    only these, in this order
#   tests/run.sh --list      name the suites
#
# The last line is "N passed, N failed"; the exit status is 0 only if nothing failed. A suite whose
# program is missing, that has no engine, or that runs nothing has failed: nothing is skipped.
#
# A suite is a GoogleTest program, and every executable tests/SUITE/*.py, which ends with a line
# "N passed, N failed". They get DOCKER_HOST, MAYFLY_ENGINE_DIR (for deploy/private-engine.sh) and
# MAYFLY_BUILD (the folder with mayflyd and the test programs). MAYFLY_SUITE_S is the longest that
# one program may take.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
. deploy/packages.sh

default_suites=(lint unit sim api contract engine crash deploy browser quickstart asan)
engine_dir="$root/build/engine"
logs="$root/build/tests"
program_deadline_s=${MAYFLY_SUITE_S:-1800}
export MAYFLY_ENGINE_DIR=$engine_dir
export MAYFLY_BUILD="$root/build/release"
export PYTHONDONTWRITEBYTECODE=1
# Debian's, for its python3-docker, whatever else is first in PATH.
python=/usr/bin/python3

list_suites() {
    cat <<'LIST'
  lint        the rules of the house, clang-format, the README's table   (tests/lint/lint.py)
  unit        pure parts and the store                                   (mayfly-unit-tests)
  api         the HTTP API                                               (mayfly-api-tests)
  contract    the OpenAPI document against all of the API, README examples  (tests/contract)
  engine      the client and the sandbox, on a real Docker Engine        (mayfly-engine-tests)
  sim         simulated histories, every crash point, planted faults     (tests/sim/suite.py)
  crash       kill -9 and engine failures, whole runs, nothing lost      (tests/crash)
  deploy      dashboards, alerts, Compose, image, systemd, the guide     (tests/deploy)
  browser     the status page in chromium, on real runs                  (tests/browser)
  quickstart  deploy/quickstart.sh from end to end
  asan        unit and api again, with AddressSanitizer and UBSan
* soak        an hour's questions in a minute, and N runs under way at kill -9 (tests/sim/soak.py)
* image       the image, built from source in a container     (tests/deploy/image_from_source.py)
* tidy        clang-tidy over every file that changed                    (tests/lint/tidy.py)
* tsan        unit and api again, with ThreadSanitizer
LIST
}

say() { echo "== $*"; }

suites=()
for argument in "$@"; do
    case "$argument" in
    -h | --help)
        sed -n '2,15s/^# \{0,1\}//p' "$0"
        list_suites
        exit 0
        ;;
    --list)
        list_suites
        exit 0
        ;;
    lint | unit | sim | api | contract | engine | crash | deploy | browser | quickstart | asan | \
        soak | image | tidy | tsan)
        suites+=("$argument")
        ;;
    *)
        echo "run.sh: no suite '$argument'; there are:" >&2
        list_suites >&2
        exit 2
        ;;
    esac
done
[ ${#suites[@]} -gt 0 ] || suites=("${default_suites[@]}")

total_passed=0
total_failed=0
table=()

finish() { # $1 = what went wrong before any suite could run
    echo "run.sh: $1" >&2
    echo "$total_passed passed, $((total_failed + 1)) failed"
    exit 1
}

# ---- one program of a suite; they add to passed and failed

# $1 = the JSON file of GoogleTest, $2 = its exit status. Prints "passed failed".
count_gtest() {
    "$python" - "$1" "$2" <<'PYTHON'
import json, sys
path, status = sys.argv[1], int(sys.argv[2])
try:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
except (OSError, ValueError):
    print(0, 1)  # it died before it could report
    sys.exit()
passed = failed = 0
for suite in report["testsuites"]:
    for test in suite["testsuite"]:
        ran = test["status"] == "RUN" and test.get("result") == "COMPLETED"
        good = ran and not test.get("failures")
        passed, failed = passed + good, failed + (not good)
print(passed, failed + (1 if status != 0 and failed == 0 else 0))
PYTHON
}

# $1 = log, $2 = exit status. Prints "passed failed" by the last "N passed, N failed" in it.
count_lines() {
    local last
    last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1 || true)
    if [ -z "$last" ]; then
        echo "0 1"
        return
    fi
    local p=${last%% passed*} f=${last##*, }
    f=${f%% failed*}
    if [ "$2" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
    fi
    echo "$p $f"
}

add() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# $1 = name of the program, $2 = its log. Keeps what it says of each failure, for the end: in hours
# of output a failure is not found, and where only the end of it is kept it is not there.
remember_failures() {
    local said
    said=$(tr -d '\0' <"$2" | awk '
        /^(FAILED|FAIL) / || /: Failure$/ || /^==[0-9]+==ERROR/ { shows = 1; lines = 0 }
        /^ok / { shows = 0 }
        shows && lines++ < 30 { print substr($0, 1, 2000) }
        /^\[  FAILED  \]/ { shows = 0 }')
    {
        echo "-- $1"
        if [ -n "$said" ]; then
            head -n 200 <<<"$said"
        else
            echo "   names no failure; it ends with:"
            tail -n 15 "$2" | tr -d '\0'
        fi
    } >>"$logs/failures.log"
}

# $1 = name of the program, $2 = its log, $3 = passed, $4 = failed
count() {
    add "$3" "$4"
    if [ "$4" -gt 0 ]; then
        remember_failures "$1" "$2"
    fi
}

# $1 = suite, $2 = program, then its arguments
run_gtest() {
    local suite=$1 program=$2 name status=0
    name="$suite-$(basename "$program")"
    shift 2
    if [ ! -x "$program" ]; then
        echo "FAILED  $program is not there"
        add 0 1
        return
    fi
    rm -f "$logs/$name.json"
    timeout -k 10 "$program_deadline_s" "$program" --gtest_brief=1 \
        --gtest_output="json:$logs/$name.json" "$@" 2>&1 </dev/null | tee "$logs/$name.log" ||
        status=${PIPESTATUS[0]}
    say_status "$program" "$status"
    # shellcheck disable=SC2046
    count "$name" "$logs/$name.log" $(count_gtest "$logs/$name.json" "$status")
}

# $1 = suite, then the command
run_counting() {
    local suite=$1 name status=0
    shift
    name="$suite-$(basename "$1")"
    [ "$1" = "$python" ] && name="$suite-$(basename "$2")"
    timeout -k 10 "$program_deadline_s" "$@" 2>&1 </dev/null | tee "$logs/$name.log" ||
        status=${PIPESTATUS[0]}
    say_status "$name" "$status"
    # shellcheck disable=SC2046
    count "$name" "$logs/$name.log" $(count_lines "$logs/$name.log" "$status")
}

say_status() {
    case "$2" in
    0) ;;
    124 | 137) echo "FAILED  $1 was stopped after $program_deadline_s s" ;;
    *) echo "        $1 ended with status $2" ;;
    esac
}

# Every executable tests/SUITE/*.py.
run_scripts() {
    local script
    for script in tests/"$1"/*.py; do
        if [ -x "$script" ]; then
            echo "-- $script"
            local began=$SECONDS
            run_counting "$1" "$python" "$script"
            echo "-- $script took $((SECONDS - began)) s"
        fi
    done
}

# ---- the suites

suite_lint() { run_counting lint "$python" tests/lint/lint.py; }

suite_tidy() { run_counting tidy "$python" tests/lint/tidy.py; }

suite_unit() { run_gtest unit build/release/mayfly-unit-tests; }

suite_api() {
    run_gtest api build/release/mayfly-api-tests
    run_scripts api
}

suite_contract() { run_scripts contract; }

suite_engine() {
    run_gtest engine build/release/mayfly-engine-tests
    run_scripts engine
}

suite_sim() {
    if ! build release mayfly-sim mayfly-sim-mutants; then
        add 0 1
        return
    fi
    run_counting sim "$python" tests/sim/suite.py
}

suite_soak() {
    run_counting soak "$python" tests/sim/soak.py
    run_counting soak "$python" tests/sim/converge.py
}

suite_crash() { run_scripts crash; }

# These bring their engines themselves.
suite_deploy() {
    if ! install_packages deploy; then
        add 0 1
        return
    fi
    run_scripts deploy
}

suite_browser() {
    # npm may be there from elsewhere; the script sees to it.
    if ! install_packages browser; then
        add 0 1
        return
    fi
    run_scripts browser
}

suite_image() { run_counting image "$python" tests/deploy/image_from_source.py; }

suite_quickstart() {
    local status=0
    timeout -k 10 "$program_deadline_s" deploy/quickstart.sh 2>&1 </dev/null |
        tee "$logs/quickstart.log" || status=${PIPESTATUS[0]}
    say_status deploy/quickstart.sh "$status"
    if [ "$status" -eq 0 ]; then add 1 0; else add 0 1; fi
}

suite_sanitized() { # $1 = preset
    if ! build "$1" mayfly-unit-tests mayfly-api-tests; then
        add 0 1
        return
    fi
    local options=halt_on_error=1:abort_on_error=0
    export ASAN_OPTIONS="$options:detect_leaks=1" UBSAN_OPTIONS="$options:print_stacktrace=1" \
        TSAN_OPTIONS="$options"
    run_gtest "$1" "build/$1/mayfly-unit-tests"
    run_gtest "$1" "build/$1/mayfly-api-tests"
}

suite_asan() { suite_sanitized asan; }

suite_tsan() { suite_sanitized tsan; }

# ---- before and after

build() { # $1 = preset, then targets
    local preset=$1 started=$SECONDS
    shift
    say "building $preset ${*:+($*)}"
    cmake --preset "$preset" >"$logs/configure-$preset.log" 2>&1 || {
        tail -n 30 "$logs/configure-$preset.log"
        return 1
    }
    # With a terminal ninja shows one moving line; else only what went wrong.
    local quiet=()
    [ -t 1 ] || quiet=(-- --quiet)
    cmake --build --preset "$preset" ${1:+--target "$@"} "${quiet[@]}" || return 1
    say "built $preset in $((SECONDS - started)) s"
}

needs_engine() {
    local suite
    for suite in "${suites[@]}"; do
        case "$suite" in
        api | contract | engine | crash | browser | quickstart) return 0 ;;
        esac
    done
    return 1
}

start_engine() {
    local started=$SECONDS
    tests/support/engine.sh stop "$engine_dir" --purge
    DOCKER_HOST=$(tests/support/engine.sh start "$engine_dir") || return 1
    export DOCKER_HOST
    unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT
    tests/support/images.sh || return 1
    say "an engine with the tests' images runs at $DOCKER_HOST, in $((SECONDS - started)) s"
}

clean_up() {
    if [ "${engine_started:-no}" = yes ]; then
        tests/support/engine.sh stop "$engine_dir" --purge || true
    fi
}

mkdir -p "$logs"
exec 9>"$logs/lock"
if ! flock -n 9; then
    finish "another tests/run.sh is running in this tree"
fi

rm -f "$logs/failures.log"
all_started=$SECONDS
install_packages build engine client test 9>&- || finish "cannot install what is needed"
promtool=$(fetch_program "$root/build/tools" prometheus promtool) || finish "no promtool"
registry=$(fetch_program "$root/build/tools" docker-registry docker-registry) ||
    finish "no docker-registry"
prometheus=$(fetch_program "$root/build/tools" prometheus prometheus) || finish "no prometheus"
export PROMTOOL=$promtool PROMETHEUS=$prometheus DOCKER_REGISTRY=$registry
build release 9>&- || finish "the build failed"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if needs_engine; then
    engine_started=yes
    start_engine 9>&- || finish "there is no engine to test on"
fi

for suite in "${suites[@]}"; do
    say "suite $suite"
    passed=0
    failed=0
    started=$SECONDS
    "suite_$suite" 9>&-
    if [ $((passed + failed)) -eq 0 ]; then
        echo "FAILED  suite $suite ran nothing"
        failed=1
    fi
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    table+=("$(printf '%-12s %8d %8d %9d' "$suite" "$passed" "$failed" $((SECONDS - started)))")
done

if [ -s "$logs/failures.log" ]; then
    say "what failed"
    cat "$logs/failures.log"
fi
echo
printf '%-12s %8s %8s %9s\n' suite passed failed seconds
printf '%s\n' "${table[@]}"
printf '%-12s %8d %8d %9d\n' all "$total_passed" "$total_failed" $((SECONDS - all_started))
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ]
