"""/etc/aliases (aliases(5)): who reads a local user's mail.

Understood: addresses, lists, other aliases, `\\name`, continuation lines, quoted names, `:include:/file` and the
wildcard `*`. A pipe or a file is never opened or run: it is reported and passed over, so that its mail goes to the
administrator instead of nowhere. The file is read at each delivery; newaliases has nothing to do.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from proxmox_graph_mail.rfc822.addresses import mailboxes

INCLUDE_LIMIT = 1 << 20  # bytes read of a file that `:include:` names


@dataclass(frozen=True, slots=True)
class Aliases:
    """The file's entries, names in lower case, and what in it was passed over."""

    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def expand(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Where the alias leads: (addresses and local names without an alias of their own, warnings).

        Each name is visited once, so a loop ends; a name that leads to itself alone stands for the local user.
        """
        targets: dict[str, None] = {}
        warnings: list[str] = []
        seen: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop(0)
            key = current.lower()
            terminal = "@" in current or key in seen or (key == "root" and name.lower() != "root")  # root is MAIL_TO's
            values = None if terminal else self._lookup(key)
            seen.add(key)
            if values is None:
                if key != name.lower():
                    targets[current] = None
                continue
            for value in values:
                if value.startswith(":include:"):
                    included, problem = _include(value.removeprefix(":include:"))
                    pending += included
                    warnings += problem
                elif value.startswith(("|", "/")):
                    warnings.append(f"/etc/aliases: {name}: {value}: pipes and files are not supported; ignored")
                elif value.startswith("\\"):
                    targets[value[1:]] = None
                else:
                    pending.append(value)
        return tuple(targets), tuple(warnings)

    def _lookup(self, name: str) -> tuple[str, ...] | None:
        entry = self.entries.get(name)
        if entry is None and "+" in name:  # user+extension falls back to user
            entry = self.entries.get(name.partition("+")[0])
        return self.entries.get("*") if entry is None and name != "root" else entry


def read_aliases(path: Path) -> Aliases:
    """Read the file; an absent one is empty, a line that is no alias is reported and passed over."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return Aliases()
    except OSError as error:
        return Aliases(warnings=(f"cannot read {path}: {error.strerror}",))
    entries: dict[str, tuple[str, ...]] = {}
    warnings = []
    for number, line in _logical_lines(text):
        name, colon, values = _name(line)
        if not colon or not name:
            warnings.append(f"{path}, line {number}: not an alias; the form is name: address, …")
            continue
        entries[name.lower()] = tuple(_values(values))
    return Aliases(entries, tuple(warnings))


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and lines:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {line.strip()}")
        else:
            lines.append((number, line.strip()))
    return lines


def _name(line: str) -> tuple[str, str, str]:
    if line.startswith('"'):
        name, _, rest = line[1:].partition('"')
        return name, ":" if rest.lstrip().startswith(":") else "", rest.lstrip()[1:]
    name, colon, rest = line.partition(":")
    return name.strip(), colon, rest


def _values(text: str) -> list[str]:
    """The right-hand side: `|command` and `:include:` may be quoted and hold commas and colons."""
    values: list[str] = []
    for item in _split_quoted(text):
        bare = item.strip()
        if bare.startswith('"') and bare.endswith('"') and len(bare) > 1 and bare[1:2] in "|/:":
            bare = bare[1:-1]
        if bare.startswith(("|", "/", ":include:", "\\")):
            values.append(bare)
        elif bare:
            values += [address for _, address in mailboxes(bare)]
    return values


def _split_quoted(text: str) -> list[str]:
    items, start, quoted = [], 0, False
    for at, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        elif c == "," and not quoted:
            items.append(text[start:at])
            start = at + 1
    return [*items, text[start:]]


def _include(path: str) -> tuple[list[str], list[str]]:
    """The addresses of an included file; commands and files in it are not taken."""
    try:
        fd = os.open(path.strip(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer for ever
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return [], [f"/etc/aliases: :include:{path}: not a plain file; ignored"]
            text = file.read(INCLUDE_LIMIT).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        error = error if isinstance(error, OSError) else OSError(22, "no path")
        return [], [f"/etc/aliases: :include:{path}: {error.strerror}; ignored"]
    targets = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            targets += [value for value in _values(line) if not value.startswith(("|", "/", ":"))]
    return targets, []
