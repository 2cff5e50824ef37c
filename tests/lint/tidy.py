#!/usr/bin/env python3
"""clang-tidy over every source file of ours, remembering the clean ones.

  tests/lint/tidy.py [--build build/release] [FILE...]

A file is looked at again when it, a header of ours that it reaches, its command line, .clang-tidy
or clang-tidy itself has changed. Ends with "N passed, N failed", a file counting as one test.
Needs a configured build (compile_commands.json).
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIDY = "clang-tidy-19"
FILE_DEADLINE_S = 600


def read(path):
    with open(path, "rb") as file:
        return file.read()


def reached(path, seen):
    """Adds path and every header of ours that it includes, directly or not, to seen."""
    if path in seen or not os.path.isfile(os.path.join(ROOT, path)):
        return
    seen.add(path)
    for name in re.findall(rb'^\s*#\s*include\s*"([^"]+)"', read(os.path.join(ROOT, path)), re.M):
        reached(name.decode(), seen)


def fingerprint(entry, salt):
    seen = set()
    reached(os.path.relpath(entry["file"], ROOT), seen)
    digest = hashlib.sha256(salt)
    digest.update(entry["command"].encode())
    for path in sorted(seen):
        digest.update(path.encode() + b"\0" + read(os.path.join(ROOT, path)))
    return digest.hexdigest()


def entries(build, wanted):
    """One compile command for each source of ours."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    out = {}
    for entry in commands:
        path = os.path.relpath(entry["file"], ROOT)
        # PID 1 is C++ too; the assembler's file is not.
        if not path.endswith(".cc") or path.startswith(("..", "build")):
            continue
        if os.path.isfile(entry["file"]) and (not wanted or path in wanted):
            out[path] = entry
    return out


def look(build, path):
    started = time.monotonic()
    try:
        done = subprocess.run([TIDY, "-p", build, "--quiet", os.path.join(ROOT, path)],
                              capture_output=True, text=True, timeout=FILE_DEADLINE_S)
        good, said = done.returncode == 0, done.stdout
        if not good and not said:
            said = done.stderr
    except subprocess.TimeoutExpired:
        good, said = False, f"{path}: no answer in {FILE_DEADLINE_S} s"
    return path, good, said.replace(ROOT + "/", ""), time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="*", help="only these, seen from the root")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    cache = os.path.join(ROOT, "build/tidy")
    os.makedirs(cache, exist_ok=True)
    salt = read(os.path.join(ROOT, ".clang-tidy")) + subprocess.run(
        [TIDY, "--version"], capture_output=True, check=True).stdout
    marks, todo, passed, failed = {}, [], 0, 0
    for path, entry in sorted(entries(options.build, options.file).items()):
        marks[path] = os.path.join(cache, fingerprint(entry, salt))
        if os.path.exists(marks[path]):
            os.utime(marks[path])
            passed += 1
        else:
            todo.append(path)
    if passed:
        print(f"ok      {passed} files as they were when they were clean")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(look, options.build, path) for path in todo]
        for job in concurrent.futures.as_completed(jobs):
            path, good, said, seconds = job.result()
            print(f"{'ok    ' if good else 'FAILED'}  {path} ({seconds:.1f} s)", flush=True)
            if good:
                passed += 1
                open(marks[path], "w").close()
            else:
                failed += 1
                print(said, flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
