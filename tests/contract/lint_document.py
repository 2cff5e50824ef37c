#!/usr/bin/env python3
"""A public linter has nothing to say about the OpenAPI document, and much about a spoiled one."""

import copy
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from checks import Checks  # noqa: E402
from document import NODE, SOURCE, install  # noqa: E402

RULES = """
extends: [recommended-strict]
rules:
  operation-4xx-problem-details-rfc7807: error
  operation-description: error
  parameter-description: error
"""


def linted(path, folder):
    """(exit status, what it says)"""
    rules = os.path.join(folder, "redocly.yaml")
    with open(rules, "w", encoding="utf-8") as file:
        file.write(RULES)
    done = subprocess.run(
        [os.path.join(NODE, "node_modules/.bin/redocly"), "lint", "--config", rules, "--format",
         "json", path], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"})
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return done.returncode, [done.stderr[-2000:]]
    said = [f"{problem['severity']} {problem['ruleId']}: {problem['message']}"
            for problem in report["problems"]]
    return done.returncode, said


def planted(document):
    """(what is wrong, document)"""
    def change(what, edit):
        wrong = copy.deepcopy(document)
        edit(wrong)
        return what, wrong
    runs = "/v1/runs"
    yield change("a reference that leads nowhere",
                 lambda d: d["components"]["schemas"]["Run"]["properties"].update(
                     id={"$ref": "#/components/schemas/Nothing"}))
    yield change("an operation that does not say what it does",
                 lambda d: d["paths"][runs]["get"].pop("description"))
    yield change("two operations of one name",
                 lambda d: d["paths"][runs]["get"].update(operationId="submitRun"))
    yield change("a parameter of the path that is not declared",
                 lambda d: d["paths"]["/v1/runs/{id}"]["get"].pop("parameters"))
    yield change("a schema that nobody uses",
                 lambda d: d["components"]["schemas"].update(Unused={"type": "string"}))
    yield change("an example that does not fit",
                 lambda d: d["components"]["responses"]["Health"]["content"]["application/json"]
                 ["examples"]["alive"].update(value={"ok": "yes"}))
    yield change("a type that does not exist",
                 lambda d: d["components"]["schemas"]["RunId"].update(type="text"))


def main():
    install()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        status, said = linted(SOURCE, folder)
        checks.check("the linter has neither an error nor a warning", status == 0 and not said,
                     said[:10])
        with open(SOURCE, encoding="utf-8") as file:
            document = json.load(file)
        for what, wrong in planted(document):
            path = os.path.join(folder, "wrong.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(wrong, file)
            status, said = linted(path, folder)
            checks.check(f"planted: {what} is noticed", status != 0 and said,
                         f"status {status}, {said}")
    checks.finish()


if __name__ == "__main__":
    main()
