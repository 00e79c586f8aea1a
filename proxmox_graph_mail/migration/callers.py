"""Who on this host names an address or a sender for its mail: cron, Proxmox's options, zed, smartd, mdadm.

Syntax: crontab(5), Proxmox's datacenter.cfg and node.cfg (`key: value`), zed.rc (shell), smartd.conf(5), mdadm.conf(5).
"""

import os
import re
from collections.abc import Iterator

from proxmox_graph_mail import paths
from proxmox_graph_mail.migration.finding import Fate, Found
from proxmox_graph_mail.migration.relays import read_text
from proxmox_graph_mail.proxmox import facts

_BY_SENDMAIL = ("mail", "mailx", "s-nail", "bsd-mailx", "sendmail")
_SENDER = "by Graph every mail comes from GRAPH_SENDER; this name is shown, or not used"
_GOES = "it goes through sendmail, and so through Microsoft Graph"


def found() -> Iterator[Found]:
    """Each that names one."""
    for path in _crontabs():
        yield from _cron(path)
    if sender := facts.known().email_from:  # as root's part read it, with a time limit: /etc/pve may hang
        yield Found(Fate.WORKS, "Proxmox's options", f"Proxmox sends as {sender}", _SENDER)
    yield from _zed("/etc/zfs/zed.d/zed.rc")
    yield from _smartd("/etc/smartd.conf")
    yield from _mdadm("/etc/mdadm/mdadm.conf")


def _crontabs() -> list[str]:
    names = ["/etc/crontab"]
    for folder in ("/etc/cron.d", "/var/spool/cron/crontabs"):
        try:
            names += [f"{folder}/{name}" for name in sorted(os.listdir(paths.below_root(folder))) if not name.startswith(".")]
        except OSError:
            continue
    return names


def _cron(path: str) -> Iterator[Found]:
    """`NAME = value`, quoted or not, a line. (Any user writes a crontab of his own: only line feeds end lines, and no regular
    expression goes over it.)"""
    for line in (read_text(path) or "").split("\n"):
        name, equals, value = line.partition("=")
        name, value = name.strip(" \t"), value.strip().strip("\"'")
        if equals and value and name in ("MAILTO", "MAILFROM"):
            to = name == "MAILTO"
            yield Found(Fate.WORKS, path, f"cron mails {'to' if to else 'as'} {value}", _GOES if to else _SENDER)


def _zed(path: str) -> Iterator[Found]:
    values = {}
    for line in (read_text(path) or "").splitlines():
        if match := re.match(r"\s*(ZED_EMAIL_\w+)=(.*?)\s*(?:#.*)?$", line):
            values[match[1]] = match[2].strip("\"'")
    if not (address := values.get("ZED_EMAIL_ADDR", "")):
        return
    program = values.get("ZED_EMAIL_PROG", "mail") or "mail"
    if os.path.basename(program) in _BY_SENDMAIL:
        yield Found(Fate.WORKS, path, f"zed mails to {address}", _GOES)
    else:
        means = f"it calls {program}, not sendmail; whether that works without a password of Microsoft's, see its own settings"
        command = f'comment ZED_EMAIL_PROG out in {path} ("mail" is the default), then systemctl restart zfs-zed'
        yield Found(Fate.UNKNOWN, path, f"zed mails to {address} by {program}", means, command)


def _smartd(path: str) -> Iterator[Found]:
    text = re.sub(r"\\\n", " ", read_text(path) or "")
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        addresses = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "-m"]
        programs = [words[at + 2] for at, word in enumerate(words[:-2]) if (word, words[at + 1]) == ("-M", "exec")]
        if not addresses:
            continue
        said = f"smartd mails to {', '.join(addresses)}{f' by {programs[0]}' if programs else ''}"
        known = not programs or programs[0] == "/usr/share/smartmontools/smartd-runner"
        yield Found(Fate.WORKS, path, said, _GOES if known else f"{programs[0]} decides how: look into it")


def _mdadm(path: str) -> Iterator[Found]:
    """Keywords in any case; a line that begins with white space continues the one before."""
    text = re.sub(r"\n[ \t]+(?=\S)", " ", read_text(path) or "")
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0].upper() in ("MAILADDR", "MAILFROM"):
            to = words[0].upper() == "MAILADDR"
            yield Found(Fate.WORKS, path, f"mdadm mails {'to' if to else 'as'} {words[1]}", _GOES if to else _SENDER)
