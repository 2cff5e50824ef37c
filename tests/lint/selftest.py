"""Every rule can fail: a small tree with something bad in it for each, and a good one beside it.

PLANTED maps a rule's name to its cases: ({path: text}, {"path:line", ...}), all that must show.
"""

import os
import tempfile

import rules

HEADER = "// What it is.\n#pragma once\nnamespace mayfly::{room} {{}}\n"

CORE = "add_library(mayfly_controller_core STATIC plan.cc)\n"

TABLE = f"{rules.CONFIG_BEGIN}\n| flag |\n{rules.CONFIG_END}\n"


def repeat(count):
    return "def long():\n" + "    pass\n" * (count - 1)


PLANTED = {
    "room_arrows": [
        ({"store/a.cc": '#include "store/b.h"\n#include "controller/plan.h"\n'}, {"store/a.cc:2"}),
        ({"metrics/a.h": "#include <string>\n#include <store/run.h>\n"}, {"metrics/a.h:2"}),
        ({"api/a.cc": '#include "metrics/a.h"\n#include "controller/a.h"\n'}, {"api/a.cc:2"}),
        ({"controller/a.cc": '#include "store/a.h"\n#include "api/a.h"\n'}, {"controller/a.cc:2"}),
        ({"controller/main.cc": '#include "api/a.h"\n', "tests/unit/t.cc": '#include "api/a.h"\n'},
         set()),
    ],
    "room_links": [
        ({"api/CMakeLists.txt": "# fine\ntarget_link_libraries(mayfly_api PUBLIC mayfly_store\n"
                                "  mayfly_controller)\n"}, {"api/CMakeLists.txt:2"}),
        ({"controller/CMakeLists.txt": "target_link_libraries(mayfly_controller_core\n"
                                       "  PUBLIC mayfly_store_types mayfly_asio)\n"},
         {"controller/CMakeLists.txt:1"}),
        ({"controller/CMakeLists.txt": "\ntarget_link_libraries(mayfly_x_core mayfly_store)\n"},
         {"controller/CMakeLists.txt:2"}),
        ({"api/CMakeLists.txt": "target_link_libraries(mayfly_api PUBLIC mayfly_api_core "
                                "mayfly_store mayfly_metrics mayfly_asio)\n"}, set()),
    ],
    "purity": [
        ({"controller/CMakeLists.txt": CORE, "controller/plan.cc": "#include <random>\n"},
         {"controller/plan.cc:1"}),
        ({"controller/CMakeLists.txt": CORE, "controller/plan.cc": "",
          "controller/plan.h": "\n#include <boost/asio/post.hpp>\n"}, {"controller/plan.h:2"}),
        ({"controller/CMakeLists.txt": CORE,
          "controller/plan.cc": '#include "controller/deep.h"\n',
          "controller/deep.h": "int x = rand();\n"}, {"controller/deep.h:1"}),
        ({"controller/CMakeLists.txt": CORE,
          "controller/plan.cc": "auto a = Clock::now();\nauto b = clock.now_ms();\n"
                                "auto c = time(nullptr);\nco_await x;\n"},
         {f"controller/plan.cc:{n}" for n in (1, 2, 3, 4)}),
        ({"controller/CMakeLists.txt": CORE,
          "controller/plan.cc": "// asks no now()\nint now_ms = 1; f(now_ms); run_time(2);\n"
                                'auto text = "rand()";\n',
          "controller/loop.cc": "#include <chrono>\n"}, set()),
    ],
    "await_statements": [
        ({"api/a.cc": "int x = flag ? co_await f() : 2;\n"}, {"api/a.cc:1"}),
        ({"api/a.cc": "f();\nco_await run(pool, [this, n] { return n; }, use_awaitable);\n"},
         {"api/a.cc:2"}),
        ({"api/a.cc": "co_spawn(ex, [&]() -> awaitable<void> { co_await g(); }, token);\n"},
         {"api/a.cc:1"}),
        ({"api/a.cc": "auto job = [this] { return 1; };\nauto y = co_await run(job);\n"
                      "int z = y ? 1 : 2;\nco_await f([](int v) { return v; });\n"
                      "co_await f(table[i](3));  // is it so?\n"}, set()),
    ],
    "columns": [
        ({"a.sh": "x" * 99 + "\n" + "x" * 100 + "\n"}, {"a.sh:2"}),
        ({"a.md": "x" * 300 + "\n"}, set()),
    ],
    "machine_paths": [
        ({"a.md": "see\n/work/" + "main/x\n"}, {"a.md:2"}),
        ({"a.cc": "// /home/" + "me/x\n// /tmp/bu" + "ild-x\n"}, {"a.cc:1", "a.cc:2"}),
        ({"a.md": "files land at /work/output/x, /work/.mayfly/claim, /work/a.csv\n"}, set()),
    ],
    "names": [
        ({"store/file_util.cc": ""}, {"store/file_util.cc:1"}),
        ({"api/a.cc": "int x;\nclass RunManager {};\n"}, {"api/a.cc:2"}),
        ({"api/utility_room.cc": "// a helper\n"}, set()),
    ],
    "headers": [
        ({"store/a.h": "// What it is.\n"}, {"store/a.h:1"}),
        ({"store/a.h": "#pragma once\n"}, {"store/a.h:1"}),
        ({"store/a.h": HEADER.format(room="store")}, set()),
    ],
    "include_spelling": [
        ({"store/a.h": "", "store/a.cc": '#include "a.h"\n'}, {"store/a.cc:1"}),
        ({"store/a.h": "", "store/a.cc": "#include <store/a.h>\n"}, {"store/a.cc:1"}),
        ({"store/a.h": "", "store/a.cc": '#include "store/a.h"\n#include <vector>\n'}, set()),
    ],
    "namespaces": [
        ({"store/a.h": HEADER.format(room="api")}, {"store/a.h:1"}),
        ({"store/a.h": HEADER.format(room="store")}, set()),
    ],
    "whitespace": [
        ({"a.py": "x = 1 \n"}, {"a.py:1"}),
        ({"a.cc": "\tint x;\n"}, {"a.cc:1"}),
        ({"a.md": "text"}, {"a.md:1"}),
        ({"a.md": "text\n"}, set()),
    ],
    "unfinished": [
        ({"store/a.cc": "int x;\n// TO" + "DO later\n"}, {"store/a.cc:2"}),
        ({"store/a.cc": "// todos are fine in prose\n"}, set()),
    ],
    "skipped_tests": [
        ({"tests/unit/a_test.cc": "GTEST_" + "SKIP();\n"}, {"tests/unit/a_test.cc:1"}),
        ({"store/a.cc": "// GTEST_" + "SKIP\n"}, set()),
    ],
    "sleeping_tests": [
        ({"tests/unit/a_test.cc": "\nstd::this_thread::sleep_for(1s);\n"},
         {"tests/unit/a_test.cc:2"}),
        ({"tests/engine/a_test.cc": "std::this_thread::sleep_for(1s);\n"}, set()),
    ],
    "scripts": [
        ({"a.sh": "#!/usr/bin/env bash\nset -euo pipefail\n"}, {"a.sh:1"}),
        ({"a.sh": "set -euo pipefail\nif true; then\n"}, {"a.sh:3"}),
        ({"a.sh": "true\n"}, {"a.sh:1"}),
        ({"a.py": "x = 1\nx = = 2\n"}, {"a.py:2"}),
        ({"a.sh": "set -euo pipefail\n", "a.py": "x = 1\n"}, set()),
    ],
    "one_log": [
        ({"api/a.cc": "#include <spdlog/spdlog.h>\n"}, {"api/a.cc:1"}),
        ({"metrics/log.cc": "#include <spdlog/spdlog.h>\n",
          "tests/sim/main.cc": "#include <spdlog/spdlog.h>\n"}, set()),
    ],
    "python_functions": [
        ({"a.py": "x = 1\n" + repeat(71)}, {"a.py:2"}),
        ({"a.py": repeat(70)}, set()),
    ],
    "python_imports": [
        ({"a.py": "from b import x, y\n", "b.py": "x = 1\nfrom c import y\n"}, {"a.py:1"}),
        ({"a.py": "def f():\n    from b import g\n", "b.py": ""}, {"a.py:2"}),
        ({"a.py": "from b import x, F, g\nfrom os import y\n",
          "b.py": "x, z = 1, 2\nclass F: pass\ndef g(): pass\n"}, set()),
    ],
    "clang_format": [
        ({".clang-format": "BasedOnStyle: Google\n", "a.cc": "int x;\nint  y ;\n"}, {"a.cc:2"}),
        ({".clang-format": "BasedOnStyle: Google\n", "a.cc": "int x;\n"}, set()),
    ],
    "configuration_table": [
        ({"README.md": TABLE, "mayflyd": "#!/bin/sh\necho '| another flag |'\n"}, {"README.md:1"}),
        ({"README.md": "# no table\n", "mayflyd": "#!/bin/sh\n"}, {"README.md:1"}),
        ({"README.md": TABLE}, {"README.md:1"}),
        ({"README.md": TABLE, "mayflyd": "#!/bin/sh\necho '| flag |'\n"}, set()),
    ],
}


def run_case(rule, files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
            if path == "mayflyd":
                os.chmod(full, 0o755)
        tree = rules.Tree(root, os.path.join(root, "mayflyd"))
        return {f"{finding.path}:{finding.line}" for finding in rule(tree)}


def check(rule):
    """Plants every case of a rule; returns whether each was judged right."""
    cases = PLANTED.get(rule.__name__, [])
    wrong = []
    for files, expected in cases:
        found = run_case(rule, files)
        if found != expected:
            wrong.append((files, expected, found))
    if not any(expected for _, expected in cases):
        wrong.append(({}, "a case in which it fails", "none"))
    verdict = "FAILED" if wrong else "ok    "
    print(f"{verdict}  {rule.__name__}, planted: {len(cases)} small trees")
    for files, expected, found in wrong:
        print(f"        in {files}: expected {expected or 'nothing'}, found {found or 'nothing'}")
    return not wrong
