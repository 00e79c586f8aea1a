"""Writing a settings file: each key in its place, everything else as it was, complete before it has its name."""

import grp
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from proxmox_graph_mail import files, paths, settings
from proxmox_graph_mail.errors import SettingsError

_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+~=-]*")


def write(path: Path, values: Mapping[str, str]) -> bool:
    """Set keys (upper case) in a settings file; an empty value takes the key away. False where the file says that already, and
    its owner and mode are right: then it is left alone. Raises SettingsError."""
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        example = Path(paths.EXAMPLE_SETTINGS)
        text = changed(before or (example.read_text("utf-8") if example.exists() else ""), values)
        if text == before and _is_closed(path):
            return False
        replace(path, text)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    return True


def would_change(path: Path, values: Mapping[str, str]) -> bool:
    """Would `write` change the file? Raises SettingsError."""
    try:
        before = path.read_text("utf-8")
        return changed(before, values) != before or not _is_closed(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error


def correct(path: Path, line: int, key: str, instead: str) -> None:
    """Put another key into a line (from 1), or, with an empty one, comment the line out. Raises SettingsError."""
    try:
        lines = path.read_text("utf-8").splitlines()
        text = lines[line - 1]
        lines[line - 1] = text.replace(key, instead, 1) if instead else f"# {text}"
        replace(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def changed(text: str, values: Mapping[str, str]) -> str:
    """The file's text with these keys: where each is set (however many lines its value has), or commented out, else at the end.
    Raises SettingsError where the result would not say what it should."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    pieces = settings.bindings(text)
    for key, value in values.items():
        places = [at for at, (name, _) in enumerate(pieces) if name == key.lower()]
        for at in reversed(places[1:] if value else places):
            del pieces[at]
        if value:
            _put(pieces, places[0] if places else -1, key, f"{key}={quoted(value)}\n")
    made = "".join(piece for _, piece in pieces)
    made = made if made.endswith("\n") else f"{made}\n"
    said = settings.values_in(made)
    if wrong := [key for key, value in values.items() if key.lower() in settings.KEYS and said.get(key, "") != value]:
        raise SettingsError(f"{wrong[0]}: the settings file has no form for this value; write it by hand")
    return made


def _put(pieces: list[tuple[str, str]], at: int, key: str, line: str) -> None:
    """A setting's line in its place, in that of a comment that shows it, or at the end."""
    comment = re.compile(rf"#[ \t]*(?:export\s+)?{key}[ \t]*=")
    if at < 0:
        at = next((n for n, (name, piece) in enumerate(pieces) if not name and comment.match(piece.lstrip("\n"))), -1)
    if at < 0:
        pieces.append((key.lower(), "\n" * bool(pieces and not pieces[-1][1].endswith("\n")) + line))
        return
    before = pieces[at][1]
    pieces[at] = (key.lower(), before[: len(before) - len(before.lstrip("\n"))] + line)


def quoted(value: str) -> str:
    """The value as dotenv reads it back."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def replace(path: Path, text: str) -> None:
    """Write the file: 0640 of root and the service group; in /etc/pve the cluster's file system says whose. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    group = _service_group()
    if str(path).startswith("/etc/pve/") or group is None or os.geteuid() != 0:
        files.replace(str(path), text.encode())  # no package, no service user: it stays 0600 of whoever runs this
    else:
        files.replace(str(path), text.encode(), mode=0o640, owner=(0, group))


def _is_closed(path: Path) -> bool:
    """Are owner and mode those that `replace` gives?"""
    group = _service_group()
    if str(path).startswith("/etc/pve/") or group is None or os.geteuid() != 0:
        return not path.stat().st_mode & 0o077 or str(path).startswith("/etc/pve/")
    status = path.stat()
    return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, group, 0o640)


def _service_group() -> int | None:
    try:
        return grp.getgrnam("proxmox-graph-mail").gr_gid
    except KeyError:
        return None
