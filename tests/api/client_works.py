#!/usr/bin/env python3
"""mayfly against a real mayflyd on a real engine: every ending, files both ways, signals, a daemon
that is killed under it, every command, and what is said when something is broken."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from checks import Checks, wait_for  # noqa: E402
from client_rig import MAYFLY, OnTerminal, Started, environment, mayfly  # noqa: E402
from daemon import ROOT, Mayflyd, free_port  # noqa: E402

BUSYBOX = "mayfly-test/busybox:1"
FLAGS = ["--pull-policy", "never", "--term-grace-ms", "200"]
FOLDER = tempfile.mkdtemp(prefix="mayfly-client-")
LARGE_BYTES = 64 << 20
MEMORY_MOST_KIB = 48 << 10


def url_of(daemon):
    return f"http://127.0.0.1:{daemon.port}"


def script(*lines):
    return ["--", "sh", "-c", "; ".join(lines)]


def run(daemon, *arguments, **more):
    return mayfly(url_of(daemon), "run", "--image", BUSYBOX, *arguments, **more)


# sentence, arguments, exit code, what stderr says
ENDINGS = [
    ("a script that succeeds", script("exit 0"), 0, b"succeeded"),
    ("a script's own exit code", script("exit 3"), 3, b"exit code 3"),
    ("a script's own 125 is its own", script("exit 125"), 125, b"exit code 125"),
    ("a script that dies of a signal", script("kill -SEGV $$"), 139, b"signal 11"),
    ("a run over its time", ["--limit", "timeout=1s", *script("sleep 60")], 120, b"RunTimeout"),
    ("a command that is not there", ["--", "no-such-program"], 126, b"CommandNotStarted"),
    ("an image that is not there", ["--image", "mayfly-test/none:1", "--", "true"], 126,
     b"ImageUnavailable"),
    ("more artifacts than allowed", ["--limit", "artifact_files=1",
                                     *script("touch output/a output/b")], 126, b"ArtifactLimit"),
    ("a spec that is refused", ["--limit", "memory=1", "--", "true"], 123,
     b"limits.memory_bytes: must be a whole number from 16777216 to 4294967296"),
    ("a label that is refused", ["--label", "A=b", "--", "true"], 123, b"labels.A"),
    ("a file that is not there", ["--file", "/no/such", "--", "true"], 125, b"No such file"),
    ("an argument that is wrong", ["--limit", "memry=1", "--", "true"], 125, b"did you mean"),
]


def endings(checks, daemon):
    for sentence, arguments, code, said in ENDINGS:
        image = [] if "--image" in arguments else ["--image", BUSYBOX]
        done = mayfly(url_of(daemon), "run", *image, *arguments)
        checks.check(f"{sentence}: exit code {code}, and it is said",
                     done.code == code and said in done.err, done)
        checks.check(f"{sentence}: no colour without a terminal",
                     b"\x1b" not in done.out + done.err, done)


def streams_are_apart_and_raw(checks, daemon):
    done = run(daemon, "--quiet", *script("printf 'o\\000\\377ut\\n'", "echo err >&2"))
    checks.equal("stdout is the script's, byte for byte", done.out, b"o\0\xffut\n")
    checks.equal("with --quiet, stderr too", done.err, b"err\n")
    started = Started(url_of(daemon), FOLDER, "run", "-q", "--image", BUSYBOX,
                      *script("echo first", "while [ ! -e /tmp/go ]; do sleep 0.1; done"))
    checks.check("output comes while the script runs",
                 wait_for(lambda: started.out() == b"first\n"), started.out())
    started.send(signal.SIGTERM)
    done = started.wait()
    checks.equal("TERM without a terminal cancels it: 121", done.code, 121)


def files_both_ways(checks, daemon):
    inside = os.path.join(FOLDER, "in")
    os.makedirs(os.path.join(inside, "deep"))
    for name, content in (("run.sh", "#!/bin/sh\ncat deep/x given/y - > output/all\n"),
                          ("deep/x", "x"), ("y", "y"), ("spec", "a file named spec")):
        with open(os.path.join(inside, name), "w", encoding="utf-8") as file:
            file.write(content)
    os.chmod(os.path.join(inside, "run.sh"), 0o755)
    out = os.path.join(FOLDER, "out")
    done = run(daemon, "--file", f"{inside}/run.sh", "--file", f"{inside}/deep",
               "--file", f"{inside}/y=given/y", "--file", f"{inside}/spec", "--stdin", "-",
               "--env", "A=b=c", "--env", "FROM_US", "--label", "team=maths", "--out", out,
               *script("./run.sh", "echo \"$A $FROM_US\" > output/env", "cp spec output/",
                       "mkdir 'output/d e'", "echo > \"output/d e/`printf 'u\\303\\274'`\"",
                       "ln -s /etc/passwd output/link"),
               given=b"typed", FROM_US="ours")
    checks.equal("files, folders, modes and standard input arrive", done.code, 0)
    found = {os.path.relpath(os.path.join(at, name), out)
             for at, _, names in os.walk(out) for name in names}
    checks.equal("artifacts are saved, links are not", found, {"all", "env", "spec", "d e/uü"})
    for name, content in (("all", b"xytyped"), ("env", b"b=c ours\n"),
                          ("spec", b"a file named spec")):
        with open(os.path.join(out, name), "rb") as file:
            checks.equal(f"{name} is what the script wrote", file.read(), content)
    checks.check("what was not kept is said", b"output/link" in done.err, done)


def large_files_are_streamed(checks, daemon):
    large = os.path.join(FOLDER, "large")
    with open(large, "wb") as file:
        for number in range(LARGE_BYTES >> 20):
            file.write(bytes([number]) * (1 << 20))
    out = os.path.join(FOLDER, "large-out")
    process = subprocess.Popen(
        [MAYFLY, "run", "--image", BUSYBOX, "--file", large, "--limit", "work=512M",
         "--limit", "artifact_bytes=128M", "--out", out, *script("cp large output/")],
        env=environment(url_of(daemon)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    checks.equal("a large file goes there and back", process.returncode, 0)
    same = subprocess.run(["cmp", large, os.path.join(out, "large")], check=False)
    checks.equal("unchanged", same.returncode, 0)
    checks.check("and is never in memory", usage.ru_maxrss < MEMORY_MOST_KIB,
                 f"{usage.ru_maxrss} KiB")
    shutil.rmtree(out, ignore_errors=True)
    terminal = OnTerminal(url_of(daemon), "run", "--image", BUSYBOX, "--file", large,
                          "--limit", "work=512M", "--", "true")
    checks.equal("on a terminal too", terminal.wait(), 0)
    checks.check("there with a progress bar", b"sending [" in terminal.screen
                 and b"64 MiB" in terminal.screen, terminal.screen[-800:])
    os.unlink(large)


def waiting(daemon, *arguments, marker="waits"):
    """A run on a terminal whose script has begun, and waits."""
    terminal = OnTerminal(url_of(daemon), "run", "--image", BUSYBOX, *arguments,
                          *script(f"echo {marker}", "sleep 120"))
    begun = terminal.shows(marker.encode())
    match = re.search(rb"run ([0-9a-z]{26})", terminal.screen)
    return terminal, match.group(1).decode() if match and begun else None


def phase_of(daemon, run_id):
    return daemon.new_client().get(run_id)["status"]["phase"]


QUESTION = b"detach (d), cancel (c) or go on (Enter)?"


def ctrl_c_asks(checks, daemon):
    terminal, run_id = waiting(daemon)
    if not checks.check("a run on a terminal begins", run_id, terminal.screen):
        return
    terminal.ctrl_c()
    checks.check("Ctrl-C asks", terminal.shows(QUESTION), terminal.screen)
    terminal.keys(b"x\n")
    checks.check("another key is asked again", terminal.shows(b"d, c or Enter?"), terminal.screen)
    terminal.keys(b"\n")
    checks.check("Enter goes on", terminal.shows(b"going on"), terminal.screen)
    terminal.ctrl_c()
    checks.check("and it can be asked again", terminal.shows(QUESTION, times=2),
                 terminal.screen)
    terminal.keys(b"d\n")
    checks.equal("d detaches: 119", terminal.wait(), 119)
    checks.check("and says how to come back", f"mayfly logs -f {run_id}".encode()
                 in terminal.screen, terminal.screen)
    checks.equal("the run goes on", phase_of(daemon, run_id), "running")
    done = mayfly(url_of(daemon), "cancel", run_id, "--wait", "30s")
    checks.equal("cancel --wait waits for its end", done.out, f"{run_id} cancelled\n".encode())

    terminal, run_id = waiting(daemon)
    terminal.ctrl_c()
    terminal.shows(QUESTION)
    terminal.keys(b"c\n")
    checks.equal("c cancels: 121", terminal.wait(), 121)
    checks.equal("the run is cancelled", phase_of(daemon, run_id), "cancelled")

    terminal, run_id = waiting(daemon)
    terminal.ctrl_c()
    terminal.shows(QUESTION)
    terminal.ctrl_c()
    checks.equal("a second Ctrl-C detaches at once", terminal.wait(), 119)
    checks.equal("and the run goes on", phase_of(daemon, run_id), "running")
    mayfly(url_of(daemon), "cancel", run_id, "--wait", "30s")


def signals_without_a_terminal(checks, daemon):
    started = Started(url_of(daemon), FOLDER, "run", "--image", BUSYBOX, "--detach-on-signal",
                      *script("echo up", "sleep 120"))
    wait_for(lambda: started.out() == b"up\n")
    started.send(signal.SIGINT)
    done = started.wait()
    checks.equal("--detach-on-signal leaves the run alone: 119", done.code, 119)
    run_id = re.search(rb"run ([0-9a-z]{26})", done.err).group(1).decode()
    checks.equal("it goes on", phase_of(daemon, run_id), "running")
    mayfly(url_of(daemon), "cancel", run_id, "--wait", "30s")


def a_daemon_is_killed_under_it(checks, daemon):
    lines = 60
    started = Started(url_of(daemon), FOLDER, "run", "--image", BUSYBOX, *script(
        f"for i in `seq {lines}`; do echo line $i; echo err $i >&2; sleep 0.1; done"))
    wait_for(lambda: b"line 10\n" in started.out())
    daemon.kill()
    checks.check("the person hears that mayflyd is gone",
                 wait_for(lambda: b"trying again" in started.err()), started.err())
    daemon.start()
    done = started.wait()
    checks.equal("the client comes through kill -9 and restart", done.code, 0)
    checks.check("and says that it is back", b"mayflyd is back" in done.err, done)
    run_id = re.search(rb"run ([0-9a-z]{26})", done.err).group(1).decode()
    stored = daemon.client.logs(run_id)
    checks.equal("what was shown is what is stored", done.out, stored)
    checks.equal("which is all of it", stored.count(b"\n"), lines)
    shown = b"".join(line + b"\n" for line in done.err.splitlines() if line.startswith(b"err "))
    checks.equal("stderr too", shown, daemon.client.logs(run_id, "stderr"))


def logs_of_all_kinds(checks, daemon):
    url = url_of(daemon)
    started = Started(url, FOLDER, "run", "-q", "--image", BUSYBOX, "--label", "kind=logs",
                      *script("for i in `seq 30`; do echo o $i; echo e $i >&2; sleep 0.1; done"))
    wait_for(lambda: started.out() != b"")
    run_id = json.loads(mayfly(url, "ps", "--json", "--label", "kind=logs").out)["runs"][0]["id"]
    followed = mayfly(url, "logs", "-f", run_id)
    one = mayfly(url, "logs", "-f", "--stream", "stderr", run_id)
    done = started.wait()
    out = b"".join(b"o %d\n" % i for i in range(1, 31))
    err = out.replace(b"o", b"e")
    checks.equal("logs -f gives all of a run under way", (followed.out, followed.err), (out, err))
    checks.equal("one stream goes where it belongs", (one.out, one.err), (b"", err))
    checks.equal("run gave the same", (done.out, done.err), (out, err))
    kept = mayfly(url, "logs", run_id)
    checks.equal("logs gives what was kept", (kept.out, kept.err), (out, err))
    tail = mayfly(url, "logs", "--stream", "stdout", "--tail", "2", run_id[-10:])
    checks.equal("--tail its last lines, by the end of an id", tail.out, b"o 29\no 30\n")
    offset = mayfly(url, "logs", "--stream", "stdout", "--offset", str(len(out) - 5), run_id)
    checks.equal("--offset what is behind it", offset.out, b"o 30\n")
    again = mayfly(url, "logs", "-f", "--json", run_id)
    events = [json.loads(line) for line in again.out.splitlines()]
    text = "".join(event["data"]["text"] for event in events
                   if event["event"] == "log" and event["data"]["stream"] == "stdout")
    checks.equal("--json is a JSON object a line", (text.encode(), events[-1]["event"]),
                 (out, "end"))


def every_command_speaks_json(checks, daemon):
    url = url_of(daemon)
    done = run(daemon, "--json", "--label", "kind=json", *script("echo x > output/x", "exit 4"))
    events = [json.loads(line) for line in done.out.splitlines()]
    names = [event["event"] for event in events]
    checks.check("run --json: created, what happened, end, the run",
                 done.code == 4 and names[0] == "created" and names[-2:] == ["end", "run"], done)
    run_id = events[0]["data"]["id"]
    checks.equal("with the run's own JSON", events[-1]["data"]["status"]["exit_code"], 4)
    for arguments in (["ps"], ["get", run_id], ["artifacts", "ls", run_id], ["explain", run_id],
                      ["top"], ["doctor"], ["ps", "--all", "--phase", "failed,lost"]):
        answer = mayfly(url, *arguments, "--json")
        checks.check(f"{arguments[0]} --json is JSON",
                     answer.code == 0 and isinstance(json.loads(answer.out), dict), answer)
    lines = mayfly(url, "events", "--json", "--since", "0", "--run", run_id, "--count", "4")
    types = [json.loads(line)["type"] for line in lines.out.splitlines()]
    checks.check("events --json too", len(types) == 4 and types[0] == "created", lines)
    wrong = mayfly(url, "get", "0" * 26, "--json")
    checks.check("and a problem", wrong.code == 123 and json.loads(wrong.out)["status"] == 404,
                 wrong)
    detached = mayfly(url, "run", "--image", BUSYBOX, "-d", "--json", "--", "true")
    checks.check("run -d --json is the run", "spec" in json.loads(detached.out), detached)


def people_read_tables(checks, daemon):
    url = url_of(daemon)
    nasty = "a\x1b[31mred\nx"
    done = run(daemon, "--label", f"note={nasty}", "--label", "kind=table", *script("exit 7"))
    run_id = re.search(rb"run ([0-9a-z]{26})", done.err).group(1).decode()
    table = mayfly(url, "ps", "--label", "kind=table")
    lines = table.out.decode().splitlines()
    checks.check("ps is a table with the run in one line",
                 len(lines) == 2 and lines[1].startswith(run_id) and "exit code 7" in lines[1],
                 table)
    checks.check("in which no label steers", "\\x1b[31mred\\nx" in lines[1], table)
    checks.equal("ps -q is ids", mayfly(url, "ps", "-q", "--label", "kind=table").out,
                 f"{run_id}\n".encode())
    shown = mayfly(url, "get", run_id)
    checks.check("get shows it", b"exit code 7" not in shown.out and b"NonZeroExit" in shown.out
                 and b"7" in shown.out, shown)
    why = mayfly(url, "explain", run_id)
    checks.check("explain tells its history", why.code == 0 and b"failed" in why.out
                 and b"What happened" in why.out, why)
    gone = mayfly(url, "rm", run_id)
    checks.equal("rm deletes it", (gone.code, mayfly(url, "get", run_id).code), (0, 123))
    colours = OnTerminal(url, "ps")
    colours.wait()
    checks.check("colours on a terminal", b"\x1b[3" in colours.screen, colours.screen)
    for arguments, variables in ((["ps", "--no-color"], {}), (["ps"], {"NO_COLOR": "1"})):
        plain = OnTerminal(url, *arguments, **variables)
        plain.wait()
        checks.check(f"none with {arguments[1:] or variables}", b"\x1b[" not in plain.screen,
                     plain.screen)


def live_views(checks, daemon):
    url = url_of(daemon)
    watch = OnTerminal(url, "ps", "--watch", "--label", "kind=live")
    top = OnTerminal(url, "top", "--every", "1")
    checks.check("ps --watch begins with what there is", watch.shows(b"No runs."), watch.screen)
    checks.check("top shows the slots", top.shows(b"run slots"), top.screen)
    run_id = mayfly(url, "run", "-d", "--image", BUSYBOX, "--label", "kind=live",
                    *script("sleep 60")).out.decode().strip()
    checks.check("ps --watch shows a run as it comes", watch.shows(run_id.encode())
                 and watch.shows(b"running"), watch.screen[-500:])
    checks.check("top too", top.shows(run_id.encode()), top.screen[-500:])
    mayfly(url, "cancel", run_id, "--wait", "30s")
    checks.check("and as it goes", watch.shows(b"cancelled"), watch.screen[-500:])
    for terminal in (watch, top):
        terminal.ctrl_c()
        checks.equal("Ctrl-C ends it", terminal.wait(), -signal.SIGINT)
    once = mayfly(url, "top")
    checks.check("top without a terminal looks once", once.code == 0
                 and b"run slots" in once.out and b"\x1b" not in once.out, once)


def queued_runs_say_why(checks, daemon):
    url = url_of(daemon)
    ids = [mayfly(url, "run", "-d", "--image", BUSYBOX, "--label", "kind=queue",
                  *script("sleep 60")).out.decode().strip() for _ in range(3)]
    started = Started(url, FOLDER, "run", "--image", BUSYBOX, *script("echo mine"))
    checks.check("a run that waits says for what",
                 wait_for(lambda: b"Capacity" in started.err()), started.err())
    match = re.search(rb"run ([0-9a-z]{26})", started.err())
    why = mayfly(url, "explain", match.group(1).decode())
    checks.check("explain too", b"queued" in why.out or b"preparing" in why.out, why)
    done = mayfly(url, "cancel", *ids, "--wait", "60s")
    checks.equal("several are cancelled at once", done.out.count(b"cancelled"), 3)
    checks.equal("then its turn comes", (started.wait().code, started.out()), (0, b"mine\n"))


def doctor_knows(checks, daemon):
    well = mayfly(url_of(daemon), "doctor")
    checks.check("doctor on a healthy set-up: 0", well.code == 0 and b"fail" not in well.out
                 and b"engine" in well.out, well)
    for sentence, url, said in (
            ("no daemon there", f"http://127.0.0.1:{free_port()}", b"start mayflyd"),
            ("no such host", "http://no-such-host.invalid:7070", b"no such host"),
            ("no such socket", "unix:///no/such.sock", b"--unix-socket /no/such.sock")):
        ill = mayfly(url, "doctor")
        checks.check(f"doctor: {sentence}: 1, with the fix", ill.code == 1 and said in ill.out,
                     ill)
        for arguments in (["ps"], ["run", "--", "true"], ["top"], ["events"]):
            done = mayfly(url, *arguments)
            checks.check(f"{arguments[0]}: {sentence}: 124, with the fix",
                         done.code == 124 and said in done.err, done)
        report = mayfly(url, "doctor", "--json")
        checks.check(f"doctor --json: {sentence}", report.code == 1
                     and json.loads(report.out)["healthy"] is False, report)
    wrong = mayfly("localhost:7070", "ps")
    checks.check("a wrong URL: 125, with the right form", wrong.code == 125
                 and b"http://127.0.0.1:7070" in wrong.err, wrong)


def an_engine_that_is_down(checks):
    with Mayflyd(os.path.join(FOLDER, "down"), "unix:///no/docker.sock", FLAGS) as daemon:
        url = url_of(daemon)
        ill = mayfly(url, "doctor")
        checks.check("doctor: the engine is down: 1, with the fix",
                     ill.code == 1 and b"fail" in ill.out and b"fix:" in ill.out, ill)
        top = mayfly(url, "top")
        checks.check("top says that it is down", top.code == 0 and b"DOWN" in top.out, top)
        started = Started(url, FOLDER, "run", "--image", BUSYBOX, "--", "true")
        checks.check("a run says that it waits for the engine",
                     wait_for(lambda: b"EngineDown" in started.err()), started.err())
        run_id = re.search(rb"run ([0-9a-z]{26})", started.err()).group(1).decode()
        why = mayfly(url, "explain", run_id)
        checks.check("explain too", why.code == 0 and b"EngineDown" in why.out
                     or b"engine" in why.out, why)
        daemon.kill()
        done = mayfly(url, "--contact-s", "1", "logs", "-f", run_id)
        checks.equal("a daemon that stays away is given up: 124", done.code, 124)
        started.send(signal.SIGKILL)
        started.wait()


def a_unix_socket(checks):
    path = os.path.join(FOLDER, "m.sock")
    with Mayflyd(os.path.join(FOLDER, "unix"), os.environ["DOCKER_HOST"],
                 [*FLAGS, "--unix-socket", path]):
        done = mayfly(f"unix://{path}", "run", "-q", "--image", BUSYBOX, *script("echo hi"))
        checks.equal("a run through a unix socket", (done.code, done.out), (0, b"hi\n"))
    gone = mayfly(f"unix://{path}", "doctor")
    checks.check("a socket that nobody listens on", gone.code == 1 and b"fix:" in gone.out, gone)


def generated_texts(checks):
    page = subprocess.run([MAYFLY, "man"], capture_output=True, check=True).stdout
    lint = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-Kutf8"], input=page,
                          capture_output=True, check=False)
    checks.check("the manual page is roff without a warning",
                 lint.returncode == 0 and not lint.stderr, lint.stderr)
    plain = re.sub(rb"\x1b\[[0-9;]*m|.\x08", b"", lint.stdout)
    words = (b"EXIT STATUS", b"MAYFLY_URL", b"mayfly artifacts get")
    checks.check("with its sections", all(word in plain for word in words), plain[:500])
    bash = subprocess.run([MAYFLY, "completion", "bash"], capture_output=True, check=True).stdout
    for words, wanted in ((["mayfly", "ru"], "run"), (["mayfly", "run", "--netw"], "--network"),
                          (["mayfly", "run", "--network", "loop"], "loopback"),
                          (["mayfly", "artifacts", "g"], "get"),
                          (["mayfly", "--json", "ps", "--pha"], "--phase"),
                          (["mayfly", "completion", "z"], "zsh")):
        quoted = " ".join(f"'{word}'" for word in words)
        asked = bash.decode() + (f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _mayfly; "
                                 'echo "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", asked], capture_output=True, check=False)
        checks.equal(f"bash completes {' '.join(words)}", (done.stdout.decode().strip(),
                                                           done.stderr), (wanted, b""))
    tables = subprocess.run([MAYFLY, "--help-markdown"], capture_output=True, check=True).stdout
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    inside = readme.partition("<!-- cli:begin -->")[2].partition("<!-- cli:end -->")[0]
    checks.equal("the README's tables are mayfly --help-markdown", inside.strip(),
                 tables.decode().strip())


def main():
    checks = Checks()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    flags = [*FLAGS, "--max-running", "2", "--prepare-ahead", "1"]
    with Mayflyd(os.path.join(FOLDER, "data"), os.environ["DOCKER_HOST"], flags) as daemon:
        for test in (endings, streams_are_apart_and_raw, files_both_ways,
                     large_files_are_streamed, ctrl_c_asks, signals_without_a_terminal,
                     logs_of_all_kinds, every_command_speaks_json, people_read_tables, live_views,
                     queued_runs_say_why, doctor_knows, a_daemon_is_killed_under_it):
            checks.step(test, checks, daemon)
    checks.step(an_engine_that_is_down, checks)
    checks.step(a_unix_socket, checks)
    checks.step(generated_texts, checks)
    checks.finish(FOLDER)


if __name__ == "__main__":
    main()
