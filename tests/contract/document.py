"""The OpenAPI document, and whether requests and responses are as it says.

    with Document() as document:
        found = document.find("GET", "/v1/runs")
        complaints = document.response_complaints(found, answer)

Schemas are ajv's business (validator.cjs); what is around them in OpenAPI is in here: paths,
parameters, headers, content types, event streams.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SOURCE = os.path.join(ROOT, "api/openapi/openapi.json")
NODE = os.path.join(ROOT, "build/tools/openapi")
PACKAGES = ["@redocly/cli@1.34.20", "ajv@8.17.1", "ajv-formats@3.0.1"]
INSTALL_S = 600

# What every answer may have without an operation's naming it; info.description does.
EVERYWHERE = {"date", "content-type", "content-length", "connection", "transfer-encoding",
              "x-content-type-options"}


def install():
    """The packages that others publish, pinned, below build/."""
    if shutil.which("npm") is None:
        subprocess.run([os.path.join(ROOT, "deploy/packages.sh"), "install", "node"], check=True)
    stamp = os.path.join(NODE, "installed")
    wanted = "\n".join(PACKAGES)
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == wanted:
                return
    os.makedirs(NODE, exist_ok=True)
    subprocess.run(["npm", "install", "--prefix", NODE, "--no-audit", "--no-fund",
                    "--loglevel=error", *PACKAGES], check=True, timeout=INSTALL_S)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(wanted)


def pointer(*steps):
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


class Answer:
    """A response as it came. `cut`: its end is missing."""

    def __init__(self, status, headers, body, cut=False):
        self.status, self.body, self.cut = status, body, cut
        self.headers = [(name.lower(), value) for name, value in headers]

    def header(self, name):
        return next((value for key, value in self.headers if key == name.lower()), None)

    def media_type(self):
        return (self.header("content-type") or "").split(";")[0].strip().lower()


class Found:
    """An operation, and what the path says of its parameters."""

    def __init__(self, method, template, steps, operation, path_values):
        self.method, self.template, self.steps = method, template, steps
        self.operation, self.path_values = operation, path_values
        self.name = f"{method} {template}"


def events_of(text):
    """A text/event-stream as [{event, id?, data}], data read as JSON. What is cut is left out."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n")[:-1]:
        event, lines = {}, []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field in ("event", "id"):
                event[field] = value
            elif field == "data":
                lines.append(value)
        if lines:
            event["data"] = json.loads("\n".join(lines))
            events.append(event)
    return events


class Document:
    def __init__(self, path=SOURCE):
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.root = json.load(file)
        install()
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "validator.cjs"), NODE, path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, encoding="utf-8")
        self.templates = sorted(self.root["paths"], key=lambda path: "{" in path)
        self.patterns = {template: self._pattern(template) for template in self.templates}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    @staticmethod
    def _pattern(template):
        pattern = re.escape(template).replace(r"\{path\}", "(?P<path>.+)")
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern) + r"\Z")

    # ---- looking up

    def resolve(self, steps):
        """(where it really is, what is there), references followed."""
        node, at = self.root, []
        for step in steps:
            node, at = node[step], [*at, step]
            while isinstance(node, dict) and set(node) >= {"$ref"} and "schema" not in at:
                at = node["$ref"][2:].split("/")
                node = self.root
                for inner in at:
                    node = node[inner]
        return at, node

    def find(self, method, path):
        """The operation that a request line asks for, or None."""
        for template in self.templates:
            match = self.patterns[template].match(path)
            operation = self.root["paths"][template].get(method.lower())
            if match and operation and method == method.upper():
                return Found(method, template, ["paths", template, method.lower()], operation,
                             match.groupdict())
        return None

    def operations(self):
        for template, item in self.root["paths"].items():
            for method, operation in item.items():
                yield Found(method.upper(), template, ["paths", template, method], operation, {})

    # ---- schemas

    def schema_complaints(self, steps, value):
        self.process.stdin.write(json.dumps({"at": pointer(*steps), "value": value}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("validator.cjs has ended")
        return json.loads(line)["errors"]

    def text_complaints(self, steps, text):
        """Of what is text in HTTP and a number or a boolean in its schema."""
        _, schema = self.resolve(steps)
        while "$ref" in schema:
            _, schema = self.resolve(schema["$ref"][2:].split("/"))
        if schema.get("type") == "integer" and re.fullmatch(r"-?[0-9]+", text):
            return self.schema_complaints(steps, int(text))
        return self.schema_complaints(steps, text)

    def body_complaints(self, steps, media_type, body):
        """`steps` lead to a media type object."""
        try:
            if media_type.endswith("json"):
                return self.schema_complaints([*steps, "schema"], json.loads(body))
            if media_type == "text/event-stream":
                where, schema = self.resolve([*steps, "schema"])
                if "$ref" in schema:
                    where = schema["$ref"][2:].split("/")
                return self.schema_complaints([*where, "contentSchema"],
                                              events_of(body.decode("utf-8")))
            if media_type.startswith("text/"):
                return self.schema_complaints([*steps, "schema"], body.decode("utf-8", "replace"))
        except ValueError as error:
            return [f"the body cannot be read as {media_type}: {error}"]
        return self.schema_complaints([*steps, "schema"], body.decode("latin-1"))

    # ---- responses

    def response_complaints(self, found, answer):
        responses = found.operation["responses"]
        if str(answer.status) not in responses:
            return [f"{answer.status} is not among {', '.join(responses)}"]
        steps = [*found.steps, "responses", str(answer.status)]
        return self.described(found.method, steps, answer)

    def problem_complaints(self, answer):
        """Of an answer where no operation is: it must be a problem."""
        steps = ["components", "responses", "OtherProblem"]
        complaints = self.described("GET", steps, answer)
        if not complaints and json.loads(answer.body)["status"] != answer.status:
            complaints.append("another status in the body")
        return complaints

    def described(self, method, steps, answer):
        where, response = self.resolve(steps)
        complaints = self.header_complaints(where, response, answer)
        if answer.header("x-content-type-options") != "nosniff" or not answer.header("date"):
            complaints.append("no `X-Content-Type-Options: nosniff`, or no Date")
        media_type = answer.media_type()
        content = response.get("content")
        if content is None:
            if answer.body or media_type:
                complaints.append("has a body, which the document does not know")
            return complaints
        if media_type not in content:
            return [*complaints, f"is `{media_type}`, not one of {', '.join(content)}"]
        length = answer.header("content-length")
        if method == "HEAD":
            return complaints if not answer.body else [*complaints, "a body after HEAD"]
        if answer.cut and media_type != "text/event-stream":
            return complaints
        if length is not None and int(length) != len(answer.body):
            complaints.append(f"Content-Length is {length}, the body has {len(answer.body)}")
        return complaints + self.body_complaints([*where, "content", media_type], media_type,
                                                 answer.body)

    def header_complaints(self, where, response, answer):
        complaints, known = [], set(EVERYWHERE)
        for name in response.get("headers", {}):
            known.add(name.lower())
            at, header = self.resolve([*where, "headers", name])
            value = answer.header(name)
            if value is None:
                if header.get("required"):
                    complaints.append(f"has no {name}")
                continue
            complaints += [f"{name}: {error}"
                           for error in self.text_complaints([*at, "schema"], value)]
        return complaints + [f"has {name}, which the document does not know"
                             for name, _ in answer.headers if name not in known]

    # ---- requests

    def parameters(self, found):
        for at in range(len(found.operation.get("parameters", []))):
            where, parameter = self.resolve([*found.steps, "parameters", at])
            yield where, parameter

    def request_complaints(self, found, query, headers, body):
        """Of a request that was taken: the document must take it too."""
        complaints = []
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        known = {parameter["name"] for _, parameter in self.parameters(found)
                 if parameter["in"] == "query"}
        complaints += [f"?{name} is not in the document" for name, _ in pairs if name not in known]
        given = {name.lower(): value for name, value in headers}
        for where, parameter in self.parameters(found):
            name = parameter["name"]
            values = [value for key, value in pairs if key == name]
            if parameter["in"] == "header" and name.lower() in given:
                values = [given[name.lower()]]
            if parameter["in"] == "path":
                values = [urllib.parse.unquote(found.path_values.get(name, ""))]
            if not values:
                continue
            if parameter["schema"].get("type") == "array":
                if not parameter.get("explode", True):
                    values = [value for joined in values for value in joined.split(",")]
                errors = self.schema_complaints([*where, "schema"], values)
            else:
                errors = [] if len(values) == 1 else ["comes more than once"]
                errors += self.text_complaints([*where, "schema"], values[0])
            complaints += [f"{parameter['in']} {name}: {error}" for error in errors]
        if "requestBody" in found.operation:
            complaints += self.sent_body_complaints(found, given.get("content-type", ""), body)
        return complaints

    def sent_body_complaints(self, found, content_type, body):
        media_type = content_type.split(";")[0].strip().lower()
        steps = [*found.steps, "requestBody", "content", media_type]
        if media_type not in found.operation["requestBody"]["content"]:
            return [f"a body of the type `{media_type}` is not in the document"]
        if media_type == "multipart/form-data":
            return self.schema_complaints([*steps, "schema"], multipart_fields(content_type, body))
        return self.schema_complaints([*steps, "schema"], json.loads(body))


def multipart_fields(content_type, body):
    """{name: text}; `spec` is read as JSON."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type).group(1).encode()
    fields = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="((?:\\.|[^"])*)"', head).group(1).decode("utf-8", "replace")
        fields[name] = json.loads(content) if name == "spec" else content.decode("latin-1")
    return fields
