"""mayfly, the client, as a child process: on pipes, and on a terminal of its own."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from daemon import BUILD  # noqa: E402

MAYFLY = os.path.join(BUILD, "mayfly")
DEADLINE_S = 60
LINES, COLUMNS = 40, 160


def environment(url, **more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "MAYFLY_URL": url, "TERM": "xterm", "LANG": "C.UTF-8", **more}


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}, stdout {self.out[-600:]!r}, stderr {self.err[-900:]!r}"


def mayfly(url, *arguments, given=b"", deadline_s=DEADLINE_S, **variables):
    """Runs it to its end, without a terminal."""
    done = subprocess.run([MAYFLY, *arguments], input=given, capture_output=True,
                          timeout=deadline_s, check=False, env=environment(url, **variables))
    return Done(done.returncode, done.stdout, done.stderr)


class Started:
    """One that is still running, without a terminal; what it writes goes to files."""

    def __init__(self, url, folder, *arguments):
        self.paths = [os.path.join(folder, name) for name in ("client.out", "client.err")]
        files = [open(path, "wb") for path in self.paths]
        self.process = subprocess.Popen([MAYFLY, *arguments], stdin=subprocess.DEVNULL,
                                        stdout=files[0], stderr=files[1], env=environment(url))
        for file in files:
            file.close()

    def out(self):
        with open(self.paths[0], "rb") as file:
            return file.read()

    def err(self):
        with open(self.paths[1], "rb") as file:
            return file.read()

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, deadline_s=DEADLINE_S):
        try:
            return Done(self.process.wait(deadline_s), self.out(), self.err())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return Done("killed by the test", self.out(), self.err())


class OnTerminal:
    """One with a terminal of its own, as a person has: keys go in, a screen comes out."""

    def __init__(self, url, *arguments, **variables):
        self.screen = b""
        self.code = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)  # before it can ask
            os.execve(MAYFLY, [MAYFLY, *arguments], environment(url, **variables))

    def keys(self, text):
        os.write(self.fd, text)

    def ctrl_c(self):
        self.keys(b"\x03")

    def read(self, wait_s):
        """False when there is nothing more to come."""
        if not select.select([self.fd], [], [], wait_s)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        self.screen += piece
        return bool(piece)

    def shows(self, text, deadline_s=DEADLINE_S, times=1):
        """Whether the text came up on the screen in time, so many times."""
        end = time.monotonic() + deadline_s
        while self.screen.count(text) < times and time.monotonic() < end:
            if not self.read(0.1):
                break
        return self.screen.count(text) >= times

    def wait(self, deadline_s=DEADLINE_S):
        """Its exit code."""
        end = time.monotonic() + deadline_s
        while self.read(0.1):
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code
