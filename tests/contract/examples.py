#!/usr/bin/env python3
"""Every example in the OpenAPI document is valid by the schema beside it."""

import copy
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), HERE]
from checks import Checks  # noqa: E402
from document import SOURCE, Document  # noqa: E402


def walk(node, steps=()):
    """(steps, object) of every object in the document."""
    if isinstance(node, dict):
        yield list(steps), node
        for key, inner in node.items():
            yield from walk(inner, [*steps, key])
    if isinstance(node, list):
        for at, inner in enumerate(node):
            yield from walk(inner, [*steps, at])


def is_schema(steps):
    """Whether what is there is a JSON Schema, by the way to it."""
    keys = [step for step in steps if isinstance(step, str)]
    return "schemas" in keys[:2] or "schema" in keys


def examples(document):
    """(steps, schema's steps, media type or "", value) of every example."""
    for steps, node in walk(document.root):
        if "example" in steps or "examples" in steps:
            continue
        if is_schema(steps):
            named = node.get("examples", [])
            for value in named if isinstance(named, list) else []:
                yield steps, steps, "", value
        elif "schema" in node:
            media_type = steps[-1] if len(steps) > 1 and steps[-2] == "content" else ""
            if "example" in node:
                yield [*steps, "example"], [*steps, "schema"], media_type, node["example"]
            for name in node.get("examples", {}):
                _, example = document.resolve([*steps, "examples", name])
                yield ([*steps, "examples", name], [*steps, "schema"], media_type,
                       example["value"])


def complaints_of(document, steps, media_type, value):
    if media_type == "text/event-stream":
        return document.body_complaints(steps[:-1], media_type, value.encode())
    return document.schema_complaints(steps, value)


def media_types_without(document):
    """Bodies that show no example."""
    for steps, node in walk(document.root):
        if len(steps) > 1 and steps[-2] == "content" and not is_schema(steps):
            if "example" not in node and not node.get("examples"):
                yield "/".join(map(str, steps))


def planted():
    """(what is wrong, a document)"""
    with open(SOURCE, encoding="utf-8") as file:
        root = json.load(file)
    responses = ["components", "responses"]
    for what, steps, name, value in [
            ("a field too much in an answer", [*responses, "Health", "content",
             "application/json", "examples", "alive", "value"], "more", 1),
            ("a value of another type in an event", ["webhooks", "runEvent", "post", "requestBody",
             "content", "application/json", "examples", "finished", "value"], "id", "44"),
            ("a limit over its maximum", ["paths", "/v1/runs", "post", "requestBody", "content",
             "application/json", "examples", "python", "value", "limits"], "timeout_s", 86400),
            ("an event that does not exist in a stream", [*responses, "Events", "content",
             "text/event-stream", "examples", "two"], "value",
             "event: goodbye\ndata: {}\n\n"),
            ("a parameter outside its bounds", ["components", "parameters", "PageLimit"],
             "example", 201)]:
        wrong = copy.deepcopy(root)
        node = wrong
        for step in steps:
            node = node[step]
        node[name] = value
        yield what, wrong


def main():
    checks = Checks()
    counted = 0
    with Document() as document:
        for steps, at, media_type, value in examples(document):
            counted += 1
            errors = complaints_of(document, at, media_type, value)
            checks.check("the example " + "/".join(map(str, steps)) + " is valid", not errors,
                         errors[:3])
        without = list(media_types_without(document))
        checks.check("every body has an example", not without, without)
        unused = set(document.root["components"]["schemas"])
        for name in unused:
            errors = document.schema_complaints(["components", "schemas", name], None)
            unreadable = [error for error in errors if "must" not in error]
            checks.check(f"the schema {name} can be compiled, strictly", not unreadable,
                         unreadable)
    with tempfile.TemporaryDirectory() as folder:
        for what, wrong in planted():
            path = os.path.join(folder, "wrong.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(wrong, file)
            with Document(path) as document:
                found = [errors for _, at, media_type, value in examples(document)
                         if (errors := complaints_of(document, at, media_type, value))]
            checks.check(f"planted: {what} is noticed", len(found) == 1, found)
    print(f"examples validated: {counted}")
    checks.finish()


if __name__ == "__main__":
    main()
