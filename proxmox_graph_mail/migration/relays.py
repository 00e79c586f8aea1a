"""Mail systems that hand mail to Microsoft's SMTP, by their own files.

Syntax: postconf(5) (Postfix), msmtp(1), ssmtp.conf(5), nullmailer-send(8) (control/remotes), dma(8), and Debian's
update-exim4.conf(8) for exim. Passwords are neither kept nor shown.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator

from proxmox_graph_mail import paths
from proxmox_graph_mail.migration.finding import Fate, Found
from proxmox_graph_mail.proxmox.microsoft import connects, leads_to_microsoft

Relay = tuple[str, str, str]
"""A server, the user who signs in there (empty: nobody), and what else is worth knowing."""

_STOPS = (
    "Microsoft refuses the password once basic SMTP AUTH is off: by default at the end of December 2026 (a tenant's admin can "
    "turn it on again for a time)"
)
_CONNECTOR = "it needs no password, but reaches the tenant's own mailboxes alone, and only while the tenant permits it"
_OAUTH = "it signs in by OAuth, which goes on working"


def found() -> Iterator[Found]:
    """Every mail system of this host with a relay at Microsoft."""
    for package, program, files, read in SYSTEMS:
        for path in files:
            text = read_text(path)
            for server, user, note in read(text) if text else ():
                if leads_to_microsoft(server):
                    yield _found(package, program, path, server, user, note)


def _found(package: str, program: str, path: str, server: str, user: str, note: str) -> Found:
    account = f" as {user}" if user else ""
    what = f"{package} relays to {server}{account}{f' ({note})' if note else ''}"
    if not os.path.exists(paths.below_root(program)):
        means = f"{package} is not installed any more; its files may still hold a password"
        if waiting := _undelivered() if package == "postfix" else 0:
            command = (
                f"first save what you need of the {waiting} undelivered messages in /var/spool/postfix, which purging deletes"
            )
            return Found(Fate.LEFTOVER, path, what, means, f"{command}; then apt purge postfix")
        return Found(Fate.LEFTOVER, path, what, means, f"apt purge {package}")
    if connects(server):
        return Found(Fate.WORKS, path, what, _CONNECTOR, REPLACE.get(package, ""))
    if "oauth" in note:
        return Found(Fate.WORKS, path, what, _OAUTH)
    return Found(Fate.STOPS, path, what, _STOPS, REPLACE[package])


def _undelivered() -> int:
    """Messages in Postfix's queue."""
    folders = (paths.below_root(f"/var/spool/postfix/{name}") for name in ("maildrop", "incoming", "active", "deferred", "hold"))
    return sum(len(names) for folder in folders for _, _, names in os.walk(folder))


REPLACE = {
    "postfix": "apt install proxmox-graph-mail, which takes Postfix's place (not on Mail Gateway: docs/proxmox.md)",
    "msmtp": "let what calls msmtp call /usr/sbin/sendmail, then apt remove msmtp",
    "ssmtp": "apt install proxmox-graph-mail, which takes its place",
    "nullmailer": "apt install proxmox-graph-mail, which takes its place",
    "dma": "apt install proxmox-graph-mail, which takes its place",
    "exim4-config": "apt install proxmox-graph-mail, which takes exim's place",
}
"""What moves each."""


def postfix(text: str) -> list[Relay]:
    """main.cf: relayhost and what finds a password for it."""
    values = postfix_values(text)
    transport = values.get("default_transport", "").partition(":")[2]
    servers = [one for one in (values.get("relayhost", ""), transport) if one]
    for table in re.split(r"[,\s]+", values.get("sender_dependent_relayhost_maps", "")):
        lines = (read_text(table.partition(":")[2]) or "").split("\n") if ":" in table else []
        servers += [words[1] for line in lines if len(words := line.split()) == 2 and not line.startswith("#")]
    return [_postfix_relay(server, values) for server in dict.fromkeys(servers)]


def _postfix_relay(server: str, values: dict[str, str]) -> Relay:
    signs_in = values.get("smtp_sasl_auth_enable", "no").lower() == "yes"
    oauth = "xoauth2" in values.get("smtp_sasl_mechanism_filter", "").lower()
    user = _postfix_user(values.get("smtp_sasl_password_maps", ""), server) if signs_in else ""
    notes = ["oauth"] if oauth else []
    if maps := values.get("smtp_generic_maps", ""):
        notes.append(f"senders rewritten by {maps}: by Graph every mail comes from GRAPH_SENDER")
    return _postfix_host(server), user, "; ".join(notes)


def postfix_values(text: str) -> dict[str, str]:
    """Parameters of a main.cf: logical lines, comments, continuation lines, $name (postconf(5))."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[:1].isspace() and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    values: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            values[name.strip()] = value.strip()
    return {name: _expanded(value, values) for name, value in values.items()}


def _expanded(value: str, values: dict[str, str]) -> str:
    for _ in range(5):  # a parameter may name another; one that names itself is left
        value = re.sub(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))", lambda m: values.get(m[1] or m[2] or m[3], ""), value)
    return value


def _postfix_host(relayhost: str) -> str:
    """`[host]:port`, `host:port`, `[host]`."""
    if match := re.match(r"\[([^\]]+)\]", relayhost):
        return match[1]
    return relayhost.partition(":")[0]


def _postfix_user(maps: str, server: str) -> str:
    """The user in a table's source text; the password behind it is not taken along."""
    for table in re.split(r"[,\s]+", maps):
        kind, colon, path = table.partition(":")
        if not colon or kind not in ("hash", "lmdb", "btree", "texthash", "cdb", "dbm"):
            continue
        for line in (read_text(path) or "").splitlines():
            words = line.split(None, 1)
            if len(words) == 2 and not line.startswith("#") and _postfix_host(words[0]) == _postfix_host(server):
                return words[1].partition(":")[0]
    return ""


def msmtp(text: str) -> list[Relay]:
    """An msmtprc: `account NAME` begins one, `defaults` what is true of all that follow."""
    defaults: dict[str, str] = {}
    accounts: list[dict[str, str]] = []
    section = defaults
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        key, value = words[0], words[1].strip().strip('"') if len(words) > 1 else ""
        if key == "defaults":
            section = defaults
        elif key == "account":
            section = {**defaults}
            accounts.append(section)
        else:
            section[key] = value
    found: list[Relay] = []
    for account in accounts or [defaults]:
        if server := account.get("host", ""):
            oauth = account.get("auth", "").lower() in ("xoauth2", "oauthbearer")
            found.append((server, account.get("user", ""), "oauth" if oauth else ""))
    return found


def ssmtp(text: str) -> list[Relay]:
    """An ssmtp.conf: KEY=value, keys in any case."""
    values = {
        key.strip().lower(): value.strip()
        for key, equals, value in (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
        if equals
    }
    server = values.get("mailhub", "").partition(":")[0]
    return [(server, values.get("authuser", ""), "")] if server else []


def nullmailer(text: str) -> list[Relay]:
    """A remotes file: HOST [PROTOCOL [options]] a line, quoted as a shell does."""
    found = []
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words:
            user = next((word.partition("=")[2] for word in words if word.startswith("--user=")), "")
            found.append((words[0], user, ""))
    return found


def dma(text: str) -> list[Relay]:
    """A dma.conf: KEY value, `#` comments."""
    values = {words[0]: words[1] for line in text.splitlines() if len(words := line.partition("#")[0].split(None, 1)) == 2}
    server = values.get("SMARTHOST", "").strip()
    user = next(
        (line.partition("|")[0] for line in (read_text("/etc/dma/auth.conf") or "").splitlines() if f"|{server}:" in line), ""
    )
    return [(server, user, "")] if server else []


def exim(text: str) -> list[Relay]:
    """update-exim4.conf.conf: shell assignments; dc_smarthost is `host::port`, several with `;`."""
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if name == "dc_smarthost" and equals:
            return [(one.partition("::")[0].strip(), "", "") for one in value.strip("'\"").split(";") if one.strip()]
    return []


SYSTEMS: tuple[tuple[str, str, tuple[str, ...], Callable[[str], list[Relay]]], ...] = (
    ("postfix", "/usr/lib/postfix/sbin/master", ("/etc/postfix/main.cf",), postfix),
    ("msmtp", "/usr/bin/msmtp", ("/etc/msmtprc", "/root/.msmtprc", "/root/.config/msmtp/config"), msmtp),
    ("ssmtp", "/usr/sbin/ssmtp", ("/etc/ssmtp/ssmtp.conf",), ssmtp),
    ("nullmailer", "/usr/sbin/nullmailer-send", ("/etc/nullmailer/remotes",), nullmailer),
    ("dma", "/usr/sbin/dma", ("/etc/dma/dma.conf",), dma),
    ("exim4-config", "/usr/sbin/exim4", ("/etc/exim4/update-exim4.conf.conf",), exim),
)
"""Debian's package, a program of it, its files, and who reads them."""


def read_text(path: str) -> str | None:
    """A file of the host; None where there is none, or it cannot be read."""
    try:
        with open(paths.below_root(path), "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return None
