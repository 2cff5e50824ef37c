#!/usr/bin/env python3
"""Planted faults, to test the tester.

    mutants.py --list                name them, and what each breaks
    mutants.py --write DIR           the product's sources with all of them, each behind a switch
    mutants.py --run PROGRAM         kill each with mayfly-sim-mutants, print the table

The faults are in mutants.txt: a text of one source file and what stands there instead. The
switched sources are made at build time and compiled into mayfly-sim-mutants only: the product has
no such switches. A text that is no longer there is an error: then the table is behind the product.
"""
import argparse
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEEDS = 1000



def read_table():
    """[(name, what it breaks, [(file, text, instead)])]"""
    table = []
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "mutants.txt"),
              encoding="utf-8") as file:
        text = file.read()
    for entry in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, _, rest = entry.partition("\n")
        name, breaks = head.split(": ", 1)
        edits = []
        for edit in re.split(r"^@@ ", rest, flags=re.MULTILINE)[1:]:
            path, _, texts = edit.partition("\n")
            old, new = texts.split("\n=>\n")
            edits.append((path, old, new.removesuffix("\n")))
        table.append((name, breaks, edits))
    return table


MUTANTS = read_table()


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
            if path.endswith(".h"):
                problems.append(f"{name}: {path} is a header: its readers would not see the fault")
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
    lines = done.stdout.splitlines()
    seeds = [line for line in lines if re.match(r"seed \d+: ", line)]
    if not seeds:
        return False, "-", lines[-1] if lines else "", time.monotonic() - began
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
    parser.add_argument("--write", metavar="DIR")
    parser.add_argument("--run", metavar="PROGRAM")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        for name, breaks, _ in MUTANTS:
            print(f"{name:<28} {breaks}")
    if arguments.write:
        write(arguments.write)
    if arguments.run:
        sys.exit(run(arguments.run, arguments.jobs, arguments.only))


if __name__ == "__main__":
    main()
