#!/usr/bin/env python3
"""The lint suite: every rule of the house is a test, and so is that every rule can fail.

  tests/lint/lint.py            run all; ends with "N passed, N failed"
  tests/lint/lint.py RULE...    only these
  tests/lint/lint.py --list     their names, and what they hold
  tests/lint/lint.py --write    bring the README's configuration table up to date
"""

import argparse
import os
import sys

import rules
import selftest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAX_SHOWN = 40


def check(rule, tree):
    """Runs one rule, prints what it found, returns whether it is clean."""
    found = sorted(set(rule(tree)))
    verdict = "FAILED" if found else "ok    "
    print(f"{verdict}  {rule.__name__}: {rule.__doc__.splitlines()[0]}")
    for finding in found[:MAX_SHOWN]:
        print(f"        {finding.path}:{finding.line}: {finding.message}")
    if len(found) > MAX_SHOWN:
        print(f"        ... and {len(found) - MAX_SHOWN} more")
    return not found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rule", nargs="*", help="run only these")
    parser.add_argument("--list", action="store_true", help="name the rules")
    parser.add_argument("--write", action="store_true", help="bring generated text up to date")
    parser.add_argument("--mayflyd", default=os.path.join(ROOT, "build/release/mayflyd"))
    options = parser.parse_args()
    known = {rule.__name__: rule for rule in rules.RULES}
    if options.list:
        for name, rule in known.items():
            print(f"{name:20} {rule.__doc__.splitlines()[0]}")
        return 0
    tree = rules.Tree(ROOT, options.mayflyd)
    if options.write:
        rules.write_configuration_table(tree)
        return 0
    unknown = [name for name in options.rule if name not in known]
    if unknown:
        print(f"lint: no rule {unknown[0]!r}; --list names them", file=sys.stderr)
        return 2
    passed = failed = 0
    for name in options.rule or known:
        for good in (check(known[name], tree), selftest.check(known[name])):
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
