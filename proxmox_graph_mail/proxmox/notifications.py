"""Proxmox's notification system: its targets and matchers, through Proxmox's own commands alone.

`pvesh` on Proxmox VE, `proxmox-backup-manager` on Proxmox Backup Server. The configuration files are never written: one section
that Proxmox does not know would make the whole file unreadable to it. Raises CommandError with the command's own words.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxmox_graph_mail.errors import CommandError

PATIENCE = 60.0  # seconds a command of Proxmox's may take; pmxcfs waits 10 for a lock
LOCAL_SMTP = ("127.0.0.1", "::1", "localhost")
COMMENT = "through Microsoft 365, by proxmox-graph-mail"


@dataclass(frozen=True, slots=True)
class Target:
    """A target: `addresses` and `users` get its mail, `sender` is its from-address (empty: Proxmox's default), `server` and
    `user` are an smtp target's."""

    name: str
    kind: str
    addresses: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    sender: str = ""
    server: str = ""
    user: str = ""
    disabled: bool = False
    comment: str = ""

    @property
    def to(self) -> tuple[str, ...]:
        """Its addresses and users."""
        return (*self.addresses, *self.users)

    def reaches_us(self) -> bool:
        """Does what it sends come to this host's sendmail, or its SMTP socket?"""
        return self.kind == "sendmail" or (self.kind == "smtp" and self.server in LOCAL_SMTP)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A matcher, and the targets it leads to; `rules` in words."""

    name: str
    targets: tuple[str, ...]
    rules: str = ""
    disabled: bool = False


def product() -> str:
    """pve or pbs, by which command is there. Raises CommandError."""
    if shutil.which("pvesh"):
        return "pve"
    if shutil.which("proxmox-backup-manager"):
        return "pbs"
    raise CommandError("this is not a Proxmox host: neither pvesh nor proxmox-backup-manager is installed")


class Notifications:
    """The notification system of one product on this host."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def targets(self) -> list[Target]:
        """Every target, by name."""
        listed = []
        for entry in self._list("targets", ("target",)):
            name, kind = str(entry["name"]), str(entry.get("type", ""))
            details: Mapping[str, Any] = entry
            if kind in ("sendmail", "smtp"):
                endpoints = self._list(f"endpoints/{kind}", ("endpoint", kind))
                details = next((one for one in endpoints if one.get("name") == name), entry)
            addresses, users = _words(details.get("mailto")), _words(details.get("mailto-user"))
            keys = ("from-address", "server", "username", "comment")
            sender, server, user, comment = (str(details.get(key, "")) for key in keys)
            disabled = bool(details.get("disable", False))
            listed.append(Target(name, kind, addresses, users, sender, server, user, disabled, comment))
        return sorted(listed, key=lambda target: target.name)

    def matchers(self) -> list[Matcher]:
        """Every matcher, by name."""
        listed = []
        for entry in self._list("matchers", ("matcher",)):
            keys = ("match-severity", "match-field", "match-calendar")
            rules = [f"{key.removeprefix('match-')} {', '.join(_words(entry[key]))}" for key in keys if entry.get(key)]
            words = f" {entry.get('mode', 'all')}: ".join(["", "; ".join(rules)]).strip() if rules else "everything"
            words = f"not ({words})" if entry.get("invert-match") else words
            listed.append(Matcher(str(entry["name"]), _words(entry.get("target")), words, bool(entry.get("disable", False))))
        return sorted(listed, key=lambda matcher: matcher.name)

    def add(self, name: str, *, to: Sequence[str], users: Sequence[str]) -> None:
        """Make a sendmail target."""
        options = [*_options("mailto", to), *_options("mailto-user", users), "--comment", COMMENT]
        self._change("create", "endpoints/sendmail", ("endpoint", "sendmail"), name, options)

    def add_matcher(self, name: str, target: str) -> None:
        """Make a matcher that leads everything to a target."""
        self._change("create", "matchers", ("matcher",), name, ["--target", target, "--comment", COMMENT])

    def lead(self, matcher: str, targets: Sequence[str]) -> None:
        """Let a matcher lead to these targets."""
        self._change("set", "matchers", ("matcher",), matcher, _options("target", targets))

    def disable_smtp(self, name: str, *, disabled: bool) -> None:
        """Let an smtp target rest, or work again; its password stays where it is."""
        value = str(int(disabled)) if self._kind == "pve" else str(disabled).lower()
        self._change("set", "endpoints/smtp", ("endpoint", "smtp"), name, ["--disable", value])

    def remove(self, name: str) -> None:
        """Remove a sendmail target."""
        self._change("delete", "endpoints/sendmail", ("endpoint", "sendmail"), name, [])

    def remove_matcher(self, name: str) -> None:
        """Remove a matcher."""
        self._change("delete", "matchers", ("matcher",), name, [])

    def test(self, name: str) -> None:
        """Let Proxmox send its test notification. That it raises nothing says only that sendmail could be run."""
        if self._kind == "pve":
            _run(["pvesh", "create", f"/cluster/notifications/targets/{name}/test"])
        else:
            _run(["proxmox-backup-manager", "notification", "target", "test", name])

    def _list(self, path: str, words: Sequence[str]) -> list[dict[str, Any]]:
        if self._kind == "pve":
            command = ["pvesh", "get", f"/cluster/notifications/{path}", "--output-format", "json"]
        else:
            command = ["proxmox-backup-manager", "notification", *words, "list", "--output-format", "json"]
        text = _run(command)
        try:
            rows = json.loads(text or "[]")
            return [entry for entry in rows if isinstance(entry, dict) and "name" in entry]
        except (ValueError, TypeError):
            raise CommandError(f"{' '.join(command)} did not print JSON") from None

    def _change(self, verb: str, path: str, words: Sequence[str], name: str, options: Sequence[str]) -> None:
        """`verb` is pvesh's: create, set or delete."""
        if self._kind == "pbs":
            verb = "update" if verb == "set" else verb
            _run(["proxmox-backup-manager", "notification", *words, verb, name, *options])
        elif verb == "create":
            _run(["pvesh", "create", f"/cluster/notifications/{path}", "--name", name, *options])
        else:
            _run(["pvesh", verb, f"/cluster/notifications/{path}/{name}", *options])


def _options(name: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (f"--{name}", value)]


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else (str(value),) if value else ()


def _run(command: Sequence[str]) -> str:
    """A command's output. Raises CommandError with its own words."""
    environment = {key: value for key, value in os.environ.items() if key != "PERL5LIB"} | {"LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # noqa: S603 - Proxmox's commands, by name; what a user typed is an argument of its own
            list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandError(
            f"{' '.join(command)} did not end within {PATIENCE:.0f} s: is the cluster's file system stuck?"
        ) from None
    except OSError as error:
        raise CommandError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        said = " ".join(" ".join(words[:4]).split())[:400]
        raise CommandError(f"{' '.join(command[:3])}: {said or f'status {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")
