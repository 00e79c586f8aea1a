"""A terminal, and somebody who types at it."""

import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

from tests.programs import eventually


class Terminal:
    """Somebody who types."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, env={**env, "TERM": "dumb"}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=_as_a_shell_starts_it,
        )  # fmt: skip
        os.close(slave)
        self.screen = ""
        self._read_to = 0

    def until(self, words: str, patience: float = 30.0) -> None:
        """Read until these words are shown."""
        end = time.monotonic() + patience
        while words not in self.screen[self._read_to :]:
            assert time.monotonic() < end, self.screen
            if select.select([self._master], [], [], 1.0)[0]:
                try:
                    self.screen += os.read(self._master, 4096).decode().replace("\r\n", "\n")
                except OSError:
                    assert words in self.screen[self._read_to :], self.screen
        self._read_to = self.screen.index(words, self._read_to) + len(words)

    def until_hidden(self) -> None:
        """Wait until what is typed is not shown."""
        eventually(lambda: not termios.tcgetattr(self._master)[3] & termios.ECHO, "the echo is off")

    def type(self, text: str) -> None:
        """And Enter."""
        os.write(self._master, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def close(self) -> int:
        """Read to the end; the exit status."""
        while True:
            if not select.select([self._master], [], [], 90.0)[0]:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"it says nothing, and does not end:\n{self.screen}")
            try:
                if not (chunk := os.read(self._master, 4096)):
                    break
            except OSError:
                break
            self.screen += chunk.decode().replace("\r\n", "\n")
        os.close(self._master)
        return self._process.wait(60)


def _as_a_shell_starts_it() -> None:
    """Ctrl-C works in it, even if whoever runs the tests ignores it (a command in a shell's background)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
