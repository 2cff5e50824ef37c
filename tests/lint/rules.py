"""The rules of the house, as functions from a source tree to findings.

Each rule takes a Tree and yields Finding(path, line, message). lint.py runs them; selftest.py
plants something bad for each of them and expects it to be found.
"""

import ast
import collections
import os
import re
import subprocess

Finding = collections.namedtuple("Finding", "path line message")

MAX_COLUMNS = 99
MAX_PYTHON_FUNCTION_LINES = 70

# Who may include whom. A room that is not listed may include nothing of ours.
ARROWS = {
    "store": {"store"},
    "metrics": {"metrics"},
    "controller": {"controller", "store", "metrics"},
    "api": {"api", "store", "metrics"},
    "tests": {"tests", "api", "controller", "store", "metrics"},
}
ARROWS_OF_FILES = {"controller/main.cc": {"api", "controller", "store", "metrics"}}

# What the CMake targets of a room may link of ours, by the beginning of the target's name.
ROOM_OF_TARGET = [
    ("mayfly_store", "store"), ("mayfly_metrics", "metrics"), ("mayfly_api", "api"),
    ("mayfly_controller", "controller"), ("mayfly_docker", "controller"),
    ("mayfly_engine", "controller"), ("mayfly_archive", "controller"),
    ("mayfly_init", "controller"), ("mayfly_webhook", "controller"),
]

# Pure: the sources of these targets, and every header of ours that they reach.
PURE_TARGETS = re.compile(r"mayfly_\w+_(core|types)$")
# The one place where time and randomness come from; all others get them by its interfaces.
CLOCK_FILES = {"store/clock.h", "store/clock.cc"}
IMPURE_INCLUDES = re.compile(
    r"[<\"](boost/(asio|beast)|SQLiteCpp/|sqlite3|archive|random>|thread>|mutex>|future>|"
    r"condition_variable>|fstream>|iostream>|filesystem>|sys/(random|socket|stat|time)|"
    r"unistd\.h|fcntl\.h|poll\.h|prometheus/|spdlog/)")
IMPURE_WORDS = re.compile(
    r"\bco_await\b|\bco_return\b|\bco_spawn\b|\bawaitable\s*<|\bgetrandom\b|\bgetentropy\b|"
    r"\brandom_device\b|\bmt19937|\bs?rand\s*\(|\bclock_gettime\b|\bgettimeofday\b|"
    r"\btimespec_get\b|\blocaltime|\bmktime\b|(?<![\w.>])(?:time|clock)\s*\(|\bnow\s*\(|"
    r"\bnow_ms\s*\(\s*\)|\bsteady_us\s*\(\s*\)|\bnext_u64\s*\(|\bgetenv\b|\bfopen\b|"
    r"\bsleep_for\b|\bstd::this_thread\b")

# Paths of somebody's machine. /work alone is the folder inside every container.
MACHINE_PATHS = re.compile(
    r"/work/(?:main|shared|\.lib)|/(?:home|root)/[\w.]|/tmp/(?:build|brief)|/User[s]/|/mnt/[a-z]")

BANNED_FILE_WORDS = re.compile(
    r"(?:^|[_-])(utils?|managers?|helpers?|misc|common|stuff)(?:[_.-]|$)")
BANNED_TYPE_WORDS = re.compile(r"\b(?:class|struct)\s+(\w*(?:Manager|Helper|Utils?))\b")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b|Not written yet")
SKIPPED_TESTS = re.compile(
    r"\bGTEST_SKIP\b|\bDISABLED_\w|\bunittest\.skip|\bSkipTest\b|\bskipTest\b")
SLEEPS = re.compile(
    r"\bsleep_for\s*\(|\bsleep_until\s*\(|\busleep\s*\(|\bnanosleep\s*\(|::sleep\s*\(")

CONFIG_BEGIN = "<!-- config:begin -->"
CONFIG_END = "<!-- config:end -->"


class Tree:
    """The files of a source tree, read once. Paths are relative to its root and use '/'."""

    def __init__(self, root, mayflyd=None):
        self.root = root
        self.mayflyd = mayflyd  # the program, for what is generated from it
        self.paths = sorted(self._list())
        self._texts = {}

    def _list(self):
        if os.path.isdir(os.path.join(self.root, ".git")) or os.path.isfile(
                os.path.join(self.root, ".git")):
            out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co",
                                  "--exclude-standard", "-z"], cwd=self.root, check=True,
                                 capture_output=True).stdout
            return [path for path in out.decode().split("\0")
                    if path and os.path.isfile(os.path.join(self.root, path))]
        found = []
        for folder, inner, names in os.walk(self.root):
            inner[:] = [name for name in inner if name not in ("build", ".git", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return found

    def text(self, path):
        if path not in self._texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                self._texts[path] = file.read()
        return self._texts[path]

    def lines(self, path):
        return enumerate(self.text(path).splitlines(), 1)

    def named(self, *endings):
        return [path for path in self.paths if path.endswith(endings)]

    def cpp(self):
        return self.named(".h", ".cc")

    def readable(self):
        """Everything that is text."""
        return [path for path in self.paths
                if not path.endswith((".png", ".ico", ".tar", ".gz", ".woff2"))]


def blank_comments(text, strings=False):
    """The C++ text with comments (and strings, if asked) blanked; lines and columns stay."""
    def blank(match):
        piece = match.group(0)
        if piece.startswith(("//", "/*")) or strings:
            return re.sub(r"[^\n]", " ", piece)
        return piece
    return re.sub(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
                  r"(?<!\w)'(?:\\.|[^'\\\n])+'", blank, text, flags=re.S)


def includes(tree, path):
    """(line, spelled with its quotes or brackets) of every #include."""
    for line, text in tree.lines(path):
        match = re.match(r'\s*#\s*include\s*([<"][^>"]+[>"])', text)
        if match:
            yield line, match.group(1)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


# ---- arrows, purity

def room_arrows(tree):
    """An #include follows an arrow of the house."""
    for path in tree.cpp():
        room = path.split("/")[0]
        allowed = ARROWS_OF_FILES.get(path, ARROWS.get(room, set()))
        for line, spelled in includes(tree, path):
            target = spelled.strip('<>"').split("/")[0]
            if target in ARROWS and target not in allowed:
                yield Finding(path, line, f"{room} must not include {target}/: {spelled}")


def cmake_targets(tree):
    """(path, line, command, target, words) of every command that makes or links a target."""
    for path in tree.named("CMakeLists.txt", ".cmake"):
        text = re.sub(r"#[^\n]*", lambda match: " " * len(match.group(0)), tree.text(path))
        for match in re.finditer(
                r"\b(add_library|add_executable|target_link_libraries|target_sources)"
                r"\s*\(([^()]*)\)", text):
            words = match.group(2).split()
            if words:
                yield path, line_of(text, match.start()), match.group(1), words[0], words[1:]


def room_links(tree):
    """A CMake target links along the same arrows; what is pure links neither Asio nor SQLite."""
    for path, line, command, target, words in cmake_targets(tree):
        room = path.split("/")[0]
        if command != "target_link_libraries" or room == "tests" or room not in ARROWS:
            continue
        for word in words:
            owner = next((r for start, r in ROOM_OF_TARGET if word.startswith(start)), None)
            if owner and owner not in ARROWS[room]:
                yield Finding(path, line, f"{target} ({room}) must not link {word} ({owner})")
            if PURE_TARGETS.match(target) and re.search(
                    r"asio|SQLite|LibArchive|prometheus|spdlog|Boost", word):
                yield Finding(path, line, f"{target} is pure and must not link {word}")
            if PURE_TARGETS.match(target) and owner and not PURE_TARGETS.match(word):
                yield Finding(path, line, f"{target} is pure, {word} is not: must not link it")


def pure_files(tree):
    """Sources of pure targets, their headers, and all headers of ours that they reach."""
    present = set(tree.paths)
    todo = []
    for path, _, command, target, words in cmake_targets(tree):
        if command in ("add_library", "target_sources") and PURE_TARGETS.match(target):
            folder = os.path.dirname(path)
            for word in words:
                if word.endswith(".cc"):
                    source = os.path.normpath(os.path.join(folder, word))
                    todo += [source, source[:-3] + ".h"]
    seen = set()
    while todo:
        path = todo.pop()
        if path in seen or path not in present:
            continue
        seen.add(path)
        todo += [spelled.strip('"') for _, spelled in includes(tree, path) if spelled[0] == '"']
    return sorted(seen)


def purity(tree):
    """Pure files ask no clock, no randomness, no system; they never suspend."""
    for path in pure_files(tree):
        if path in CLOCK_FILES:
            continue
        for line, spelled in includes(tree, path):
            if IMPURE_INCLUDES.match(spelled):
                yield Finding(path, line, f"a pure file includes {spelled}")
        code = blank_comments(tree.text(path), strings=True)
        for match in IMPURE_WORDS.finditer(code):
            yield Finding(path, line_of(code, match.start()),
                          f"a pure file says {match.group(0).strip()}")


# ---- coroutines

def statements(code):
    """(offset, text) of each statement: up to a ';', '{' or '}' that is in no parenthesis."""
    depth, begin = 0, 0
    for at, char in enumerate(code):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth = max(0, depth - 1)
        elif char in ";{}" and depth == 0:
            yield begin, code[begin:at]
            begin = at + 1
    yield begin, code[begin:]


CAPTURING_LAMBDA = re.compile(r"(?<![\w\])\[])\s*\[(?!\[)[^\]\s][^\]]*\]\s*(?:\(|\{|mutable|->|<)")


def await_statements(tree):
    """A statement that holds co_await holds no capturing lambda and no '?:'."""
    for path in tree.cpp():
        code = blank_comments(tree.text(path), strings=True)
        if "co_await" not in code:
            continue
        code = re.sub(r"^[ \t]*#[^\n]*", lambda match: " " * len(match.group(0)), code, flags=re.M)
        for begin, statement in statements(code):
            at = statement.find("co_await")
            if at < 0:
                continue
            line = line_of(code, begin + at)
            if "?" in statement:
                yield Finding(path, line, "co_await and ?: in one statement; name it a line above")
            if CAPTURING_LAMBDA.search(statement):
                yield Finding(path, line, "co_await and a capturing lambda in one statement; "
                                          "name it a line above")


# ---- files

def columns(tree):
    """No line has 100 columns or more."""
    for path in tree.named(".h", ".cc", ".py", ".sh") + [p for p in tree.paths if p == ".ci/run"]:
        for line, text in tree.lines(path):
            if len(text) > MAX_COLUMNS:
                yield Finding(path, line, f"{len(text)} columns, at most {MAX_COLUMNS}")


def machine_paths(tree):
    """No path of somebody's machine."""
    for path in tree.readable():
        for line, text in tree.lines(path):
            match = MACHINE_PATHS.search(text)
            if match:
                yield Finding(path, line, f"a machine's path: {match.group(0)}")


def names(tree):
    """No util, manager, helper: a name says what it is for."""
    for path in tree.paths:
        for part in path.split("/"):
            match = BANNED_FILE_WORDS.search(part)
            if match:
                yield Finding(path, 1, f"'{match.group(1)}' in a file name")
    for path in tree.cpp():
        code = blank_comments(tree.text(path), strings=True)
        for match in BANNED_TYPE_WORDS.finditer(code):
            yield Finding(path, line_of(code, match.start()), f"type name {match.group(1)}")


def headers(tree):
    """Every header has #pragma once, and opens by saying what it is."""
    for path in tree.named(".h"):
        text = tree.text(path)
        if "#pragma once" not in text:
            yield Finding(path, 1, "no #pragma once")
        if not text.startswith("//"):
            yield Finding(path, 1, "no leading comment that says what it is")


def include_spelling(tree):
    """Includes of ours are spelled from the root, in quotes."""
    present = set(tree.paths)
    for path in tree.cpp():
        for line, spelled in includes(tree, path):
            name = spelled.strip('<>"')
            if spelled[0] == '"' and name not in present and not name.startswith("gtest/"):
                yield Finding(path, line, f"{spelled} is not a file, seen from the root")
            if spelled[0] == "<" and name in present:
                yield Finding(path, line, f"{spelled} is ours: in quotes")


def namespaces(tree):
    """Everything of a room is in its namespace."""
    for path in tree.cpp():
        room = path.split("/")[0]
        if room not in ("api", "controller", "metrics", "store"):
            continue
        code = blank_comments(tree.text(path), strings=True)
        if path.endswith(".h") and not re.search(rf"\bnamespace\s+mayfly::{room}\b", code):
            yield Finding(path, 1, f"declares nothing in namespace mayfly::{room}")


def whitespace(tree):
    """No tab in code, no blank at an end of line, one newline at the end of the file."""
    for path in tree.named(".h", ".cc", ".py", ".sh", ".md", ".txt", ".cmake", ".yaml", ".json"):
        text = tree.text(path)
        for line, content in tree.lines(path):
            if content != content.rstrip():
                yield Finding(path, line, "a blank at the end of the line")
            if "\t" in content and path.endswith((".h", ".cc", ".py")):
                yield Finding(path, line, "a tab")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            yield Finding(path, text.count("\n") + 1, "must end with one newline")


def unfinished(tree):
    """Nothing says that it is not done."""
    for path in tree.named(".h", ".cc", ".py", ".sh", ".txt", ".cmake"):
        if path.startswith("tests/lint/"):
            continue
        for line, text in tree.lines(path):
            match = UNFINISHED.search(text)
            if match:
                yield Finding(path, line, match.group(0))


def skipped_tests(tree):
    """No test is skipped: it runs, or it is not there."""
    for path in tree.named(".cc", ".py"):
        if not path.startswith("tests/") or path.startswith("tests/lint/"):
            continue
        for line, text in tree.lines(path):
            match = SKIPPED_TESTS.search(text)
            if match:
                yield Finding(path, line, match.group(0))


def sleeping_tests(tree):
    """Unit tests wait for no clock."""
    for path in tree.named(".cc"):
        if not path.startswith(("tests/unit/", "tests/sim/")):
            continue
        for line, text in enumerate(blank_comments(tree.text(path)).splitlines(), 1):
            match = SLEEPS.search(text)
            if match:
                yield Finding(path, line, f"{match.group(0)} in a unit test")


def scripts(tree):
    """Scripts parse, may be executed, and bash ones stop at the first failure."""
    for path in tree.paths:
        if not (path.endswith((".sh", ".py")) or path == ".ci/run"):
            continue
        text = tree.text(path)
        full = os.path.join(tree.root, path)
        if text.startswith("#!") and not os.access(full, os.X_OK):
            yield Finding(path, 1, "begins with #! but is not executable")
        if path.endswith(".py"):
            try:
                ast.parse(text)
            except SyntaxError as error:
                yield Finding(path, error.lineno or 1, f"does not parse: {error.msg}")
            continue
        done = subprocess.run(["bash", "-n", full], capture_output=True, text=True)
        if done.returncode != 0:
            match = re.search(r"line (\d+)", done.stderr)
            yield Finding(path, int(match.group(1)) if match else 1, done.stderr.strip())
        if "set -e" not in text and not re.search(r"^exec ", text, flags=re.M):
            yield Finding(path, 1, "no 'set -euo pipefail'")


def one_log(tree):
    """The product logs through metrics/log.h: one form, one place that escapes."""
    for path in tree.cpp():
        if path.split("/")[0] in ("store", "controller", "api") or (
                path.startswith("metrics/") and path != "metrics/log.cc"):
            for line, spelled in includes(tree, path):
                if spelled.startswith("<spdlog/"):
                    yield Finding(path, line, f"log through metrics/log.h, not {spelled}")


def python_functions(tree):
    """A Python function fits on a screen."""
    for path in tree.named(".py"):
        try:
            module = ast.parse(tree.text(path))
        except SyntaxError:
            continue  # the rule above says so
        for node in ast.walk(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                if length > MAX_PYTHON_FUNCTION_LINES:
                    yield Finding(path, node.lineno, f"{node.name} has {length} lines, at most "
                                                     f"{MAX_PYTHON_FUNCTION_LINES}")


def names_defined(tree, path):
    """What the top level of a Python file defines itself, imports left out."""
    found = set()
    for node in ast.parse(tree.text(path)).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


def python_imports(tree):
    """What a Python file takes from another of ours is defined in that one."""
    modules = {}
    for path in tree.named(".py"):
        modules.setdefault(os.path.basename(path)[:-3], []).append(path)
    for path in tree.named(".py"):
        try:
            imports = [node for node in ast.walk(ast.parse(tree.text(path)))
                       if isinstance(node, ast.ImportFrom) and node.module in modules]
            for node in imports:
                defined = set().union(*(names_defined(tree, of) for of in modules[node.module]))
                for alias in node.names:
                    if alias.name not in defined | {"*"}:
                        yield Finding(path, node.lineno,
                                      f"{node.module}.py does not define {alias.name}")
        except SyntaxError:
            continue  # `scripts` says so


# ---- other programs

def clang_format(tree):
    """clang-format-19 would change nothing."""
    paths = tree.cpp()
    if not paths:
        return
    done = subprocess.run(["clang-format-19", "--dry-run", "-Werror", "--style=file", *paths],
                          cwd=tree.root, capture_output=True, text=True)
    told = set()
    for match in re.finditer(r"^([^\s:]+):(\d+):\d+: error:", done.stderr, flags=re.M):
        if match.group(1) not in told:  # the first of each file says enough
            told.add(match.group(1))
            yield Finding(match.group(1), int(match.group(2)), "clang-format-19 would change this")
    if done.returncode != 0 and not told:
        yield Finding(".clang-format", 1, "clang-format-19 failed: " + done.stderr.strip()[:300])


def configuration_table(tree):
    """The README's configuration table is what the program prints."""
    if "README.md" not in tree.paths:
        yield Finding("README.md", 1, "is not there")
        return
    text = tree.text("README.md")
    begin, end = text.find(CONFIG_BEGIN), text.find(CONFIG_END)
    if begin < 0 or end < begin:
        yield Finding("README.md", 1, f"has no {CONFIG_BEGIN} ... {CONFIG_END}")
        return
    written = text[begin + len(CONFIG_BEGIN):end].strip()
    line = line_of(text, begin)
    if not tree.mayflyd or not os.access(tree.mayflyd, os.X_OK):
        yield Finding("README.md", line, f"cannot be checked: no program {tree.mayflyd}")
        return
    done = subprocess.run([tree.mayflyd, "--help-markdown"], capture_output=True, text=True,
                          timeout=30)
    if done.returncode != 0:
        yield Finding("README.md", line, f"--help-markdown failed: {done.stderr.strip()[:300]}")
    elif done.stdout.strip() != written:
        yield Finding("README.md", line, "differs from mayflyd --help-markdown; "
                                         "mend it with tests/lint/lint.py --write")


def write_configuration_table(tree):
    """Replaces the table in the README by what the program prints."""
    text = tree.text("README.md")
    head, _, rest = text.partition(CONFIG_BEGIN)
    _, _, tail = rest.partition(CONFIG_END)
    printed = subprocess.run([tree.mayflyd, "--help-markdown"], capture_output=True, text=True,
                             check=True).stdout.strip()
    with open(os.path.join(tree.root, "README.md"), "w", encoding="utf-8") as file:
        file.write(f"{head}{CONFIG_BEGIN}\n{printed}\n{CONFIG_END}{tail}")


RULES = [
    room_arrows, room_links, purity, await_statements, columns, machine_paths, names, headers,
    include_spelling, namespaces, whitespace, unfinished, skipped_tests, sleeping_tests, scripts,
    one_log, python_functions, python_imports, clang_format, configuration_table,
]
