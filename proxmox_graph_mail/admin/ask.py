"""Values from an admin: asked for on a terminal, or read from a file; each checked before it is taken."""

import sys
from pathlib import Path

import typer

from proxmox_graph_mail import settings
from proxmox_graph_mail.errors import FileError, SettingsError, UsageError
from proxmox_graph_mail.log import printable


def secret_from(path: Path) -> str:
    """The secret in a file; `-` is standard input. Raises FileError."""
    try:
        return (sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")).strip()
    except OSError as error:
        raise FileError(f"cannot read {printable(str(path))}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"cannot read {printable(str(path))}: not a text file") from error


class Answers:
    """The values of keys (upper case), as far as they are known."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def ask(self, key: str, prompt: str, *, hidden: bool = False, optional: bool = False) -> None:
        """Ask until the answer is valid; keep a value that is there and valid."""
        if self.values.get(key):
            problem = settings.fault(key, self.values[key])
            if not problem:
                return
            if not sys.stdin.isatty():
                raise SettingsError(f"{key}: {problem}")
            print(f"{key}: {problem}")
            self.values.pop(key)
        if not sys.stdin.isatty():
            if optional:
                return
            raise UsageError(
                f"{key} is missing, and there is no terminal to ask on: give it by option, --from or the environment"
            )
        while True:
            answer = str(typer.prompt(prompt, default="" if optional else None, hide_input=hidden, show_default=False)).strip()
            if not answer and optional:
                return
            if not (problem := settings.fault(key, answer)):
                self.values[key] = answer
                return
            print(f"  {printable(problem)}")
