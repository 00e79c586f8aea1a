"""Values from an admin: asked for on a terminal, pasted as a block, or read from a file; each checked before it is taken."""

import contextlib
import select
import sys
import termios
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import typer

from proxmox_graph_mail import settings
from proxmox_graph_mail.errors import FileError, SettingsError, UsageError
from proxmox_graph_mail.log import printable

NONE = "-"  # what takes an optional value away


def secret_from(path: Path) -> str:
    """The secret in a file; `-` is standard input. Raises FileError."""
    try:
        text = (sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")).strip()
    except OSError as error:
        raise FileError(f"cannot read {printable(str(path))}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"cannot read {printable(str(path))}: not a text file") from error
    if not text:
        raise FileError(f"{printable(str(path))} is empty; it must hold the secret's Value, on one line")
    return text


def pasted() -> dict[str, str]:
    """The keys (upper case) in lines that are typed or pasted, to the first empty one behind which nothing waits; nothing of them
    is shown."""
    lines: list[str] = []
    with _unseen():
        while (line := sys.stdin.readline()) and (line.strip() or _more_is_waiting()):
            lines.append(line.strip())
    found = settings.values_in("\n".join(lines))
    if any(lines) and not found:
        print("No line of the form KEY=value was in what was pasted. The values are asked for one by one.")
    return found


def _more_is_waiting() -> bool:
    """Has more been pasted than was read? (Python may have read ahead of the terminal.)"""
    return bool(select.select([sys.stdin], [], [], 0.2)[0])


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Without the terminal's echo. What was typed ahead stays (getpass would throw away the rest of a pasted block)."""
    before = termios.tcgetattr(sys.stdin)
    without = [*before]
    without[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, without)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


class Answers:
    """The values of keys (upper case), as far as they are known; `final` are those that need not be asked for."""

    def __init__(self, values: dict[str, str], final: set[str]) -> None:
        self.values = values
        self.asked = False
        """Was anything asked since the last `reopen`?"""
        self._final = final

    def reopen(self, keys: tuple[str, ...]) -> None:
        """Ask for these again, and offer what they are now; not a secret, which nobody sees."""
        self._final.difference_update(keys)
        self.asked = False
        if "GRAPH_CLIENT_SECRET" in keys:
            self.values["GRAPH_CLIENT_SECRET"] = ""

    def take(self, values: dict[str, str]) -> None:
        """These are given; each is checked when its turn comes."""
        self.values.update(values)
        self._final.update(values)

    def ask(self, key: str, prompt: str, *, hidden: bool = False, optional: bool = False) -> None:
        """Ask until the answer is valid, with the known value as the default. Without a terminal the known value must do; raises
        SettingsError, UsageError."""
        known = self.values.get(key, "")
        problem = settings.fault(key, known) if known else ""
        if not sys.stdin.isatty():
            if problem:
                raise SettingsError(f"{key}: {problem}")
            if not known and not optional:
                raise UsageError(
                    f"{key} is missing, and there is no terminal to ask on: give it by option, --from or the environment"
                )
            if doubt := _doubt(key, known):
                print(f"warning: {key}: {doubt}", file=sys.stderr)
            return
        if problem:
            print(f"{key}: {printable(problem)}")
        elif key in self._final and not _doubt(key, known) and (known or optional):
            return
        self.asked = True
        self._until_valid(key, prompt, "" if problem else known, hidden=hidden, optional=optional)
        self._final.add(key)

    def _until_valid(self, key: str, prompt: str, known: str, *, hidden: bool, optional: bool) -> None:
        hint = "" if not known else " [Enter: as it is]" if hidden else f" [{printable(known)}]"
        if optional and known:
            hint += f" ({NONE}: none)"
        while True:
            default = known or ("" if optional else None)
            answer = str(typer.prompt(f"{prompt}{hint}", default=default, hide_input=hidden, show_default=False)).strip()
            if optional and answer in ("", NONE):
                self.values[key] = ""
                return
            if problem := settings.fault(key, answer):
                print(f"  {printable(problem)}")
            elif not (doubt := _doubt(key, answer)) or typer.confirm(f"  {doubt}. Is that right?", default=False):
                self.values[key] = answer
                return


def _doubt(key: str, value: str) -> str:
    """What is strange about a valid value; empty if nothing is."""
    if key == "CREDENTIAL_EXPIRES" and value and not settings.fault(key, value) and date.fromisoformat(value) < date.today():
        return f"{value} is past: a secret that has expired gives no token"
    return ""
