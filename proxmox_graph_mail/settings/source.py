"""The one source of settings: every key that is set, with its value and the place that sets it.

A key is looked for in the environment, in `$CREDENTIALS_DIRECTORY` (systemd-creds: one file a key, lower case), then in the files
that paths.settings_files names. Files are dotenv: `KEY=value` lines. An unknown key in them, or a file that cannot be read, is a
problem, which names file and line; whoever wants one key alone (ALARM_COMMAND, when everything else is wrong) looks past the
problems.
"""

import difflib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from proxmox_graph_mail import files, paths

_OURS = re.compile(r"(?:GRAPH|MAIL|QUEUE|CREDENTIAL|ALARM)_\w*", re.IGNORECASE)
LIKENESS = 0.7  # from which a key that is none of ours is a typo of one
ENVIRONMENT = "the environment"


@dataclass(frozen=True, slots=True)
class Value:
    """A key's text, and its place as an admin is told it; `file` is the path that holds it, empty where none does."""

    text: str
    place: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file or a credential: a sentence; where one line is, its number (from 1), its key, and the key that
    was probably meant."""

    text: str
    line: int = 0
    key: str = ""
    near: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Keys, in lower case, with their values; and what is wrong with the places they were read from."""

    values: Mapping[str, Value]
    problems: tuple[Problem, ...] = ()

    def place(self, key: str) -> str:
        """What sets a key (lower case); where nothing does, where it would be looked for."""
        if key in self.values:
            return self.values[key].place
        return " or ".join(
            f"{paths.shown(path)}{'' if os.path.exists(path) else ' (no such file)'}" for path in paths.settings_files()
        )

    def text(self, key: str) -> str:
        """A key's value; empty if nothing sets it."""
        return self.values[key].text if key in self.values else ""


def read(known: Collection[str], environment: Mapping[str, str] = os.environ, given: Mapping[str, str] | None = None) -> Source:
    """What environment, credentials and files say of the `known` keys (lower case). `given` (upper case) takes the files'
    place, and stands above the rest."""
    values = {name.lower(): Value(text, ENVIRONMENT) for name, text in environment.items() if name.lower() in known and text}
    problems: list[Problem] = []
    for key, path in _credentials(known, environment.get("CREDENTIALS_DIRECTORY", "")):
        try:
            text = files.read_named(path).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"))
            continue
        if text:
            values.setdefault(key, Value(text, str(path), str(path)))
    if given is not None:
        return Source(values | {key.lower(): Value(text, "") for key, text in given.items() if text})
    for file in paths.settings_files():
        one = read_file(file, known)
        problems += one.problems
        values = {**one.values, **values}
    return Source(values, tuple(problems))


def read_file(path: str, known: Collection[str]) -> Source:
    """What one file says; an absent one says nothing."""
    shown = paths.shown(path)
    try:
        text = files.read_named(path).decode("utf-8-sig").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError):
        return Source({})
    except OSError as error:
        remedy = "run it as root" if _is_a_stranger() else "it belongs to root and group proxmox-graph-mail, 0640"
        text = f"cannot read {path}: {error.strerror}; {remedy}"
        return Source({}, (Problem(text),))
    except UnicodeDecodeError as error:
        return Source({}, (Problem(f"{shown} is not UTF-8 text (byte {error.start})"),))
    return parse(text, shown, known)


def parse(text: str, shown: str, known: Collection[str]) -> Source:
    """What lines of KEY=value say; `shown` names where they stand."""
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
        place = f"{shown}, line {line}"
        name = binding.key or ""
        key = name.lower()
        if binding.error:
            problems.append(Problem(f"{place}: not of the form KEY=value", line))
        elif key in values:
            first = values[key].place.rpartition(", ")[2]
            problems.append(Problem(f"{place}: {name} is set a second time (first in {first})", line, name))
        elif key in known:
            values[key] = Value(binding.value or "", place, shown)
        elif name and (_OURS.fullmatch(name) or difflib.get_close_matches(key, known, 1, LIKENESS)):
            near = "".join(difflib.get_close_matches(key, known, 1)).upper()
            hint = f"did you mean {near}?" if near else "proxmox-graph-mail.conf(5) has the list"
            problems.append(Problem(f"{place}: {name}: unknown key; {hint}", line, name, near))
    return Source({key: value for key, value in values.items() if value.text}, tuple(problems))


def bindings(text: str) -> list[tuple[str, str]]:
    """A file's text in pieces: each setting (its key in lower case) with its lines as they stand; what is between has no key."""
    return [((binding.key or "").lower(), binding.original.string) for binding in parse_stream(StringIO(text))]


def _is_a_stranger() -> bool:
    """Neither root nor whom the spool belongs to: somebody who need not be able to read the settings."""
    try:
        return os.geteuid() not in (0, os.stat(paths.spool()).st_uid)
    except OSError:
        return False


def pairs(text: str) -> list[tuple[str, str]]:
    """Keys, in lower case, and values of dotenv's lines."""
    return [(binding.key.lower(), (binding.value or "").strip()) for binding in parse_stream(StringIO(text)) if binding.key]


def _credentials(known: Collection[str], directory: str) -> list[tuple[str, Path]]:
    return [(key, path) for key in known if directory and (path := Path(directory) / key).is_file()]
