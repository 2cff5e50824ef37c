#!/usr/bin/env python3
"""What mayflyd answers about whole runs on a real engine, every ending among them, is what the
OpenAPI document describes: tests/engine/whole_run.py, recorded and judged.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from checks import Checks  # noqa: E402
from document import ROOT, Document  # noqa: E402
from judge import Judge  # noqa: E402

RUNS_S = 900


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="mayfly-contract-")
    recording = os.path.join(folder, "recording.jsonl")
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/engine/whole_run.py")],
                          timeout=RUNS_S, check=False, capture_output=True, text=True,
                          env={**os.environ, "MAYFLY_RECORD": recording})
    checks.check("whole runs pass while they are recorded", done.returncode == 0,
                 done.stdout[-2000:] + done.stderr[-2000:])
    with Document() as document:
        judge = Judge(document)
        judge.judge_all(recording)
        judge.report(checks)
    checks.finish(folder)


if __name__ == "__main__":
    main()
