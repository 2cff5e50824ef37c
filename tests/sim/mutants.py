#!/usr/bin/env python3
"""Planted faults, to test the tester.

    mutants.py --list                name them, and what each breaks
    mutants.py --write DIR           the product's sources with all of them in, each behind a switch
    mutants.py --run PROGRAM         kill each with mayfly-sim-mutants, print the table

A fault is a text of one source file and what stands there instead. The switched sources are made
at build time and compiled into mayfly-sim-mutants only: the product has no such switches. A text
that is no longer there is an error: then the table is behind the product.
"""
import argparse
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEEDS = 1000

# name, what it breaks, [(file, text, instead)]; PLANTED(name) is true when it is switched on.
MUTANTS = [
    ("start_without_fence", "an unclear start is sent again, without looking at the claim", [
        ("controller/plan.cc",
         "if (ev_.start == Start::armed && ev_.container == Container::present)",
         "if (PLANTED(start_without_fence) && o_.engine_up && ev_.container == Container::unknown)\n"
         "            return InspectContainer{};\n"
         "        if ((ev_.start == Start::armed || (PLANTED(start_without_fence) &&\n"
         "             ev_.state == ContainerState::created)) &&\n"
         "            ev_.container == Container::present)")]),
    ("conflict_is_ours", "409 on create: taken as ours without looking at its labels", [
        ("controller/apply.cc", "if (!is_ours(sandbox, facts.labels)) {",
         "if (!PLANTED(conflict_is_ours) && !is_ours(sandbox, facts.labels)) {"),
        ("controller/apply.cc", "for (const auto& sentence : verify_sandbox(sandbox, facts)) {",
         "for (const auto& sentence : PLANTED(conflict_is_ours) ? std::vector<std::string>{}\n"
         "                                                        : verify_sandbox(sandbox, facts)) {")]),
    ("zero_is_success", "the engine's exit code 0 is enough, whatever PID 1 says", [
        ("controller/exit_policy.cc", "    } else if (!evidence.record) {",
         "    } else if (PLANTED(zero_is_success) && evidence.engine->exit_code == 0) {\n"
         "        end(verdict, Phase::succeeded, Reason::Completed, \"\");\n"
         "    } else if (!evidence.record) {")]),
    ("harvest_before_exit", "a running container is harvested", [
        ("controller/plan.cc", "            case ContainerState::removing:\n                return Wait{now_ + 500};",
         "            case ContainerState::running:\n"
         "                if (PLANTED(harvest_before_exit) && ev_.facts) return record_exit(exit_of(*ev_.facts));\n"
         "                return stop_or_wait();\n"
         "            case ContainerState::removing:\n                return Wait{now_ + 500};")]),
    ("delete_before_commit", "the container goes before the outcome is committed", [
        ("controller/plan.cc", "            return conclude(*ev_.harvest);",
         "            if (PLANTED(delete_before_commit) && o_.engine_up && !ev_.container_removed)\n"
         "                return RemoveContainer{};\n"
         "            return conclude(*ev_.harvest);")]),
    ("sweep_without_grace", "what no record knows is swept at once", [
        ("controller/sweep.cc", "            if (age_ms >= settings.grace_ms)\n",
         "            if (PLANTED(sweep_without_grace) || age_ms >= settings.grace_ms)\n")]),
    ("synchronous_normal", "commits are not synced", [
        ("store/database.cc", "{\"synchronous\", \"FULL\", \"2\"},",
         "{\"synchronous\", PLANTED(synchronous_normal) ? \"NORMAL\" : \"FULL\",\n"
         "         PLANTED(synchronous_normal) ? \"1\" : \"2\"},")]),
    ("log_left_unsettled", "a commit that is read at the start is not made durable first", [
        ("store/database.cc", "if (auto settled = settle_log(*db); !settled)",
         "if (auto settled = PLANTED(log_left_unsettled) ? Result<void>{} : settle_log(*db); !settled)")]),
    ("torn_is_whole", "a truncated archive is taken for all of it", [
        ("controller/harvest.cc", "    if (evidence.state == State::torn) {",
         "    if (PLANTED(torn_is_whole) && evidence.state == State::torn) evidence.state = State::whole;\n"
         "    if (evidence.state == State::torn) {")]),
    ("count_not_compared", "nobody compares what PID 1 counted with what the archive brings", [
        ("controller/harvest.cc", "if (record.output_files < 0 || index.seen_files < 0) return;",
         "if (PLANTED(count_not_compared) || record.output_files < 0 || index.seen_files < 0) return;")]),
    ("rename_without_fsync", "a spool file is named before its bytes are durable", [
        ("store/data_dir.cc", "    if (auto synced = disk_->sync_file(file.fd_, file.path_); !synced) return synced;",
         "    if (auto synced = PLANTED(rename_without_fsync) ? Result<void>{}\n"
         "                                                   : disk_->sync_file(file.fd_, file.path_);\n"
         "        !synced)\n        return synced;")]),
    ("folder_not_synced", "a spool file's name is not made durable", [
        ("store/data_dir.cc", "    return disk_->sync_folder(folder);",
         "    return PLANTED(folder_not_synced) ? Result<void>{} : disk_->sync_folder(folder);")]),
    ("phase_goes_back", "a run may return to an earlier phase", [
        ("store/transition.cc", "    attempt->stage = Stage::collected;\n",
         "    attempt->stage = Stage::collected;\n"
         "    if (PLANTED(phase_goes_back) && status.phase == Phase::failed) {\n"
         "        status.phase = Phase::cancelled;\n        status.message = \"?\";\n    }\n"),
        ("store/database.cc", "    migrate(*db, steps);",
         "    migrate(*db, steps);\n"
         "    if (PLANTED(phase_goes_back)) {\n"
         "        db->exec(\"DROP TRIGGER IF EXISTS runs_terminal; DROP TRIGGER IF EXISTS runs_forward;\"\n"
         "                 \"DROP TRIGGER IF EXISTS runs_once\");\n    }")]),
    ("retry_the_start", "a start that timed out is posted once more", [
        ("controller/apply.cc", "        default:\n            ev.start = Start::unclear;",
         "        default:\n"
         "            if (PLANTED(retry_the_start)) {\n"
         "                ev.start = Start::armed;\n                break;\n            }\n"
         "            ev.start = Start::unclear;")]),
    ("list_proves_absence", "what a list does not show is taken to be gone", [
        ("controller/loop.cc", "        if (ev.container == Container::present && stage < Stage::exited) {",
         "        if (PLANTED(list_proves_absence) && stage < Stage::exited) {\n"
         "            ev.container = Container::absent;\n            wake(key);\n            return;\n        }\n"
         "        if (ev.container == Container::present && stage < Stage::exited) {")]),
    ("inputs_put_once", "a container that was made anew does not get its inputs again", [
        ("controller/apply.cc", "    evidence.inputs_put = false;\n",
         "    if (!PLANTED(inputs_put_once)) evidence.inputs_put = false;\n")]),
    ("fence_takes_the_volume", "the fence removes the volume, and the claim with it", [
        ("controller/apply.cc", "    forget_container(live->evidence, Container::absent);\n    live->evidence.look = false;",
         "    if (PLANTED(fence_takes_the_volume)) {\n"
         "        (void)co_await engine_.remove_volume(live->record.attempt->volume_name);\n"
         "        live->evidence.claim = Claim::untouched;\n    }\n"
         "    forget_container(live->evidence, Container::absent);\n    live->evidence.look = false;")]),
    ("kill_not_recorded", "a deadline's kill is sent without a record of its cause", [
        ("controller/plan.cc", "            return record_kill(KillCause::run_timeout);",
         "            if (PLANTED(kill_not_recorded)) return KillContainer{\"SIGKILL\"};\n"
         "            return record_kill(KillCause::run_timeout);"),
        ("controller/plan.cc", "            if (now_ < deadline_ms) return Wait{deadline_ms};",
         "            if (PLANTED(kill_not_recorded) && now_ < deadline_ms - 9'000) return Wait{deadline_ms - 9'000};\n"
         "            if (PLANTED(kill_not_recorded)) return KillContainer{\"SIGTERM\"};\n"
         "            if (now_ < deadline_ms) return Wait{deadline_ms};")]),
    ("unclear_start_frees_slot", "a start whose answer is lost does not count as running", [
        ("controller/plan.cc", "    return stage == Stage::started ||\n",
         "    if (PLANTED(unclear_start_frees_slot)) return stage == Stage::started;\n"
         "    return stage == Stage::started ||\n")]),
    ("every_failure_is_retried", "a failed script runs again as a new attempt", [
        ("controller/plan.cc", "        if (verdict.phase == Phase::lost && attempt().number",
         "        if ((verdict.phase == Phase::lost ||\n"
         "             (PLANTED(every_failure_is_retried) && verdict.phase == Phase::failed)) &&\n"
         "            attempt().number")]),
    ("cancel_forgotten", "an acknowledged cancel of a running script is ignored", [
        ("controller/plan.cc", "        if (attempt().kill_cause == KillCause::none && cancel_requested()) {",
         "        if (!PLANTED(cancel_forgotten) && attempt().kill_cause == KillCause::none && cancel_requested()) {"),
        ("controller/plan.cc", ".cancel_requested = cancel_requested(),",
         ".cancel_requested = !PLANTED(cancel_forgotten) && cancel_requested(),")]),
    ("removed_by_name", "containers are removed by name instead of by id", [
        ("controller/apply.cc", "    auto reply = co_await engine_.remove_container(known_id(*live), true);\n    if (!reply) co_return failed(reply.error());\n    live->evidence.container_removed = true;",
         "    auto reply = co_await engine_.remove_container(\n"
         "        PLANTED(removed_by_name) ? live->record.attempt->container_name : known_id(*live), true);\n"
         "    if (!reply) co_return failed(reply.error());\n    live->evidence.container_removed = true;"),
        ("controller/plan.cc", "        if (!ev_.container_removed && !ev_.name_conflict) {",
         "        if (PLANTED(removed_by_name) && !ev_.container_removed) return RemoveContainer{};\n"
         "        if (!ev_.container_removed && !ev_.name_conflict) {")]),
    ("open_attempts_swept", "the sweep takes what a plan still works on", [
        ("controller/sweep.cc", "if (attempt == run->second.attempt && run->second.attempt_open) continue;",
         "if (!PLANTED(open_attempts_swept) && attempt == run->second.attempt && run->second.attempt_open) continue;"),
        ("controller/sweep.cc", "        const auto age_ms = now_ms - object.created_ms;",
         "        const auto age_ms = now_ms - object.created_ms + (PLANTED(open_attempts_swept) ? 1 : 0);"),
        ("controller/sweeper.cc", "    if (live != loop_.live().end() && live->second->has_open_attempt()) {",
         "    if (!PLANTED(open_attempts_swept) && live != loop_.live().end() && live->second->has_open_attempt()) {")]),
    ("ended_runs_forgotten", "after a restart nobody collects what had ended", [
        ("store/database.cc", "\"SELECT seq FROM runs INDEXED BY runs_unfinished\"",
         "PLANTED(ended_runs_forgotten)\n"
         "                                     ? \"SELECT seq FROM runs INDEXED BY runs_unfinished\"\n"
         "                                       \" WHERE (collected = 0 OR delete_requested_ms <> 0)\"\n"
         "                                       \" AND phase < 4 ORDER BY id\"\n"
         "                                     : \"SELECT seq FROM runs INDEXED BY runs_unfinished\""),
        ("controller/sweep.cc", "        if (object.in_use) continue;",
         "        if (object.in_use || PLANTED(ended_runs_forgotten)) continue;")]),
    ("init_takes_no_claim", "PID 1 runs the script again whenever it is started", []),
    ("unverified_is_started", "a container is started although a limit is not in force", [
        ("controller/plan.cc", "if (!ev_.create_warnings.empty() || !ev_.violations.empty()) return unverified();",
         "if (!PLANTED(unverified_is_started) &&\n            (!ev_.create_warnings.empty() || !ev_.violations.empty())) return unverified();"),
        ("controller/apply.cc", "    ev.verified = ev.violations.empty();",
         "    ev.verified = PLANTED(unverified_is_started) || ev.violations.empty();")]),
    ("unknown_is_absent", "an inspect that failed means that there is no container", [
        ("controller/apply.cc", "    if (reply.error().kind == E::not_found) {\n        forget_container(ev, Container::absent);\n        if (attempt.stage",
         "    if (PLANTED(unknown_is_absent) || reply.error().kind == E::not_found) {\n        forget_container(ev, Container::absent);\n        if (attempt.stage")]),
    ("nobody_hears_the_engine_is_up", "runs that wait for the engine are not woken when it is back", [
        ("controller/loop.cc", "    need_admission();\n    wake_all();\n}\n\nvoid Loop::set_engine_down",
         "    need_admission();\n    if (!PLANTED(nobody_hears_the_engine_is_up)) wake_all();\n}\n\nvoid Loop::set_engine_down")]),
    ("no_backoff", "a failed step is tried again at once", [
        ("controller/loop.cc", "    queue_.add_at(key, now_ms + delay_ms, now_ms);\n    dispatch_alarm_->ring();",
         "    queue_.add_at(key, now_ms + (PLANTED(no_backoff) ? 1 : delay_ms), now_ms);\n    dispatch_alarm_->ring();")]),
    ("given_up_after_three", "a step that failed three times is never tried again", [
        ("controller/loop.cc", "    queue_.done(key, now_ms);\n    const auto delay_ms =",
         "    queue_.done(key, now_ms);\n    if (PLANTED(given_up_after_three) && live.failures >= 3) return;\n"
         "    const auto delay_ms =")]),
    ("collected_with_its_volume", "a run counts as collected while its volume is there", [
        ("controller/plan.cc", "if (!ev_.volume_removed) return RemoveVolume{};",
         "if (!PLANTED(collected_with_its_volume) && !ev_.volume_removed) return RemoveVolume{};")]),
    ("key_forgotten", "an idempotency key is not looked up", [
        ("store/database.cc", "        if (run.idempotency_key.empty()) return insert(run);",
         "        if (PLANTED(key_forgotten)) {\n            auto keyless = run;\n"
         "            keyless.idempotency_key.clear();\n            return insert(keyless);\n        }\n"
         "        if (run.idempotency_key.empty()) return insert(run);")]),
]


def switched_sources():
    """file -> text with every mutant in it."""
    texts = {}
    for name, _, edits in MUTANTS:
        for path, old, new in edits:
            if path not in texts:
                with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                    texts[path] = file.read()
    problems = []
    for name, _, edits in MUTANTS:
        for path, old, new in edits:
            if texts[path].count(old) != 1:
                problems.append(f"{name}: in {path}, {texts[path].count(old)} times: {old!r}")
                continue
            texts[path] = texts[path].replace(old, new)
    if problems:
        sys.exit("mutants.py: the table is behind the product:\n" + "\n".join(problems))
    return texts


def write(folder):
    for path, text in switched_sources().items():
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        text = '#include "tests/sim/planted.h"\n' + text
        if os.path.exists(target):
            with open(target, encoding="utf-8") as file:
                if file.read() == text:
                    continue
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)


def kill(program, name, jobs):
    began = time.monotonic()
    command = [program, f"--seeds={SEEDS}", "--from=1", f"--jobs={jobs}", f"--mutant={name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return False, "-", "it did not end", 300.0
    seeds = [line for line in done.stdout.splitlines() if line.startswith("seed ") and ": " in line
             and " at revision " not in line]
    if not seeds:
        return False, "-", done.stdout.strip().splitlines()[-1] if done.stdout else "", time.monotonic() - began
    first = min(seeds, key=lambda line: int(line.split()[1].rstrip(":")))
    number, invariant, message = first[5:].split(": ", 2)
    return True, number, f"{invariant}: {message}", time.monotonic() - began


def run(program, jobs, only):
    killed = failed = 0
    print(f"{'mutant':<28} {'seeds':>6} {'s':>6}  what told")
    for name, _, _ in MUTANTS:
        if only and name not in only:
            continue
        dead, seeds, told, seconds = kill(program, name, jobs)
        killed, failed = killed + dead, failed + (not dead)
        mark = "" if dead else "ALIVE "
        print(f"{name:<28} {seeds:>6} {seconds:>6.1f}  {mark}{told[:110]}", flush=True)
    print(f"{killed} mutants killed of {killed + failed}, each within {SEEDS} seeds")
    print(f"{killed} passed, {failed} failed")
    return 0 if failed == 0 else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--files", action="store_true", help="the files that --write makes")
    parser.add_argument("--write", metavar="DIR")
    parser.add_argument("--run", metavar="PROGRAM")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        for name, breaks, _ in MUTANTS:
            print(f"{name:<28} {breaks}")
    if arguments.files:
        print(";".join(sorted({path for _, _, edits in MUTANTS for path, _, _ in edits})))
    if arguments.write:
        write(arguments.write)
    if arguments.run:
        sys.exit(run(arguments.run, arguments.jobs, arguments.only))


if __name__ == "__main__":
    main()
