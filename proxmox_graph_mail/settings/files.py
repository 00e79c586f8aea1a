"""The settings files: dotenv lines, read with their places; what is none of ours in them is an error.

Of the cluster's file a copy is read (proxmox/facts.py): /etc/pve is closed to the queue runner, and may hang.
"""

import difflib
import os
import re
from collections.abc import Collection
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from proxmox_graph_mail.errors import SettingsError

HOST_FILE = Path("/etc/proxmox-graph-mail.conf")
CLUSTER_FILE = Path("/etc/pve/priv/proxmox-graph-mail.conf")
CLUSTER_COPY = Path(os.environ.get("PROXMOX_GRAPH_MAIL_HOST", "/var/lib/proxmox-graph-mail-host")) / "cluster.conf"
"""What is read in its place."""

_OURS = re.compile(r"(?:GRAPH|MAIL|QUEUE|CREDENTIAL|ALARM)_\w*", re.IGNORECASE)
LIKENESS = 0.7
"""From which a key that is none of ours is a typo of one."""


def read(path: Path, known: Collection[str]) -> dict[str, tuple[str, int]]:
    """The known keys of one file, lower case, with value and line. An absent file is empty."""
    text = _text(path)
    found: dict[str, tuple[str, int]] = {}
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
        if binding.error:
            raise SettingsError(f"{shown(path)}, line {line}: not of the form KEY=value")
        if binding.key is None:
            continue
        key = binding.key.lower()
        if key in known:
            if key in found:
                raise SettingsError(
                    f"{shown(path)}, line {line}: {binding.key} is set a second time (first in line {found[key][1]})"
                )
            found[key] = (binding.value or "", line)
        elif _OURS.fullmatch(binding.key) or difflib.get_close_matches(key, known, 1, LIKENESS):
            raise SettingsError(f"{shown(path)}, line {line}: {binding.key}: unknown key{_nearest(key, known)}")
    return found


def shown(path: Path) -> Path:
    """The file an admin knows."""
    return CLUSTER_FILE if path == CLUSTER_COPY else path


def _nearest(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"; is {near[0].upper()} meant?" if near else "; proxmox-graph-mail.conf(5) has the list"


def one(path: Path, key: str) -> str:
    """A key's value in a file whose rest may be wrong; empty if it is not there. Raises SettingsError if it cannot be read."""
    return next((binding.value or "" for binding in parse_stream(StringIO(_text(path))) if binding.key == key), "")


def _text(path: Path) -> str:
    """A file's text; empty if there is none."""
    try:
        return path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}; it belongs to root and group proxmox-graph-mail, 0640"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{shown(path)} is not UTF-8 text (byte {error.start})") from None
