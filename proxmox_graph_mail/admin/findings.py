"""What `check` looks at: each a function that gives findings; none changes anything, none raises for what it finds."""

import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from proxmox_graph_mail import paths
from proxmox_graph_mail import settings as settings_module
from proxmox_graph_mail.admin import rights
from proxmox_graph_mail.admin.connection import Connection, address_book, credential_fault, credential_of, ends
from proxmox_graph_mail.admin.finding import FAIL, OK, WARN, Finding
from proxmox_graph_mail.admin.screen import local
from proxmox_graph_mail.admin.state import STATES, mailbox
from proxmox_graph_mail.admin.state import queue as counted
from proxmox_graph_mail.delivery import credential_end
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import ConnectionFailedError, MailError, SettingsError
from proxmox_graph_mail.graph import probe
from proxmox_graph_mail.proxmox import facts, system
from proxmox_graph_mail.settings import Settings
from proxmox_graph_mail.spool import condition
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.submission import mailq
from proxmox_graph_mail.watch import alarm as watch_alarm
from proxmox_graph_mail.watch import units

SKEW_WARN, SKEW_FAIL = 60.0, 300.0
"""Seconds this clock may be off; Entra allows an assertion five minutes."""
OLD = 3600.0  # seconds in the queue from which check warns
WATCH_LATE = 300.0  # seconds after which a watch that looks every minute is late
EXPIRY_WARN = 60  # days before a credential's end from which check warns


def settings_found() -> tuple[Settings | None, list[Finding]]:
    """The settings, and which file each value comes from."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        if settings_module.credential_is_hidden():
            text = "the credential lies in systemd's store, which the queue runner alone sees: what needs it is not checked"
            return None, [Finding("settings", WARN, text, "proxmox-graph-mail test tries a mail")]
        text, _, remedy = str(error).partition("; ")
        return None, [Finding("settings", FAIL, text, remedy or "correct it, or run proxmox-graph-mail setup")]
    by_place: dict[str, list[str]] = {}
    for key, value in settings_module.source().values.items():
        by_place.setdefault(value.file or value.place, []).append(key.upper())
    text = "; ".join(f"{', '.join(sorted(keys))} from {place}" for place, keys in by_place.items())
    return settings, [Finding("settings", OK, text)]


def file_modes(settings: Settings) -> Iterator[Finding]:
    """Are the credential's files sound, and who may read them?"""
    bad = False
    if fault := credential_fault(settings):
        bad = True
        text, _, remedy = fault.partition("; ")
        yield Finding("files", FAIL, text, remedy)
    for path in (*settings_module.files(), settings.graph_client_certificate):
        try:
            status = os.stat(path) if path else None
        except OSError:
            continue  # there is none; or it was said above
        if status is not None and not status.st_mode & 0o007 and not _service_may_read(status):
            bad = True
            yield Finding(
                "files", FAIL, f"the service user may not read {path}", f"chgrp proxmox-graph-mail {path}; chmod 0640 {path}"
            )
    if not bad:
        yield Finding("files", OK, "the credential is readable by root and the service user alone")


def _service_may_read(status: os.stat_result) -> bool:
    try:
        user = pwd.getpwnam("proxmox-graph-mail")
    except KeyError:
        return True  # a checkout or a virtual environment: it runs as whoever runs it
    return (status.st_uid == user.pw_uid and bool(status.st_mode & 0o400)) or (
        status.st_gid == user.pw_gid and bool(status.st_mode & 0o040)
    )


def administrator(settings: Settings) -> Iterator[Finding]:
    """Who gets root's mail, and why."""
    book = address_book(settings)
    people, source, warnings = book.administration()
    handed_over = "; root's mail is handed to Proxmox's notification system" if book.hands_over_root else ""
    text = f"{', '.join(people)} (from {source}){handed_over}"
    yield Finding("admin", WARN if warnings else OK, text, "set MAIL_TO" if warnings else "")


def credential(settings: Settings) -> Iterator[Finding]:
    """The credential's end."""
    end = ends(settings)
    kind = settings.graph_credential
    if end is None:
        if kind == "secret":
            yield Finding(
                "expiry", WARN, "the client secret's expiry date is not set", "set CREDENTIAL_EXPIRES to be warned in time"
            )
        else:
            yield Finding("expiry", OK, f"a {kind} credential has no expiry date")
        return
    left = (end - date.today()).days
    text = credential_end.words(kind, end, date.today())
    state = FAIL if left < 0 else WARN if left <= EXPIRY_WARN else OK
    yield Finding("expiry", state, text, "proxmox-graph-mail rotate" if state != OK else "")


def alarm_command(settings: Settings) -> Iterator[Finding]:
    """Are the programs of ALARM_COMMAND there?"""
    if not settings.alarm_command:
        return
    if missing := system.missing_programs(settings.alarm_command):
        text = f"ALARM_COMMAND calls {', '.join(missing)}, which this host does not have"
        yield Finding("alarm", FAIL, text, "install it, or change ALARM_COMMAND; then proxmox-graph-mail alarm test")
    else:
        yield Finding("alarm", OK, "ALARM_COMMAND's programs are there; proxmox-graph-mail alarm test tries it")


def names(settings: Settings) -> Iterator[Finding]:
    """DNS, and the proxy."""
    cloud = credential_of(settings).cloud
    for url in dict.fromkeys((cloud.authority, cloud.endpoint)):
        host = urlsplit(url).hostname or ""
        try:
            yield Finding("dns", OK, f"{host} resolves to {', '.join(probe.addresses(host)[:2])}")
        except (OSError, TimeoutError) as error:
            through = WARN if settings.proxy() else FAIL  # the proxy resolves it
            reason = getattr(error, "strerror", None) or "the resolver does not answer"
            yield Finding("dns", through, f"{host}: {reason}", "look at /etc/resolv.conf")
    if proxy := settings.proxy():
        host = urlsplit(proxy if "://" in proxy else f"http://{proxy}").hostname or "?"
        yield Finding("proxy", OK, f"through {host}")


def connections(settings: Settings) -> Iterator[Finding]:
    """TLS, whose certificate, and the clock."""
    skew: float | None = None
    with Connection(settings, None) as connection:
        cloud = connection.credential.cloud
        for url in dict.fromkeys((cloud.authority, cloud.endpoint)):
            host = urlsplit(url).hostname or ""
            try:
                answer = probe.greet(connection.wire, url)
            except ConnectionFailedError as error:
                untrusted = error.code == "CertificateNotTrusted"
                issuer = probe.issuer_of(host, urlsplit(url).port or 443) if untrusted else ""
                yield Finding("tls", FAIL, str(error), f"{issuer} issued the certificate" if issuer else "")
                continue
            known = any(name in answer.issuer.lower() for name in probe.MICROSOFT_CAS) or not answer.issuer
            said = f"{host}: {f'certificate issued by {answer.issuer}' if answer.issuer else 'no TLS'}"
            remedy = "" if known else "TLS is inspected between here and Microsoft, probably by a proxy"
            yield Finding("tls", OK if known else WARN, said, remedy)
            skew = answer.skew if answer.skew is not None else skew
    if skew is not None:
        state = FAIL if abs(skew) > SKEW_FAIL else WARN if abs(skew) > SKEW_WARN else OK
        text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Microsoft's" if abs(skew) >= 2 else "right"
        yield Finding("clock", state, text, "let chrony or systemd-timesyncd set it" if state != OK else "")


def queue() -> Iterator[Finding]:
    """The queue, by state, why most messages of the worst state are in it, and what is wrong with the spool."""
    spool = Spool()
    mailq.require_access(spool)
    counts, reasons, oldest = counted(spool, time.time())
    state = FAIL if counts["held"] else WARN if counts["failed"] or time.time() - oldest > OLD else OK
    why = {name: f" ({reason})" for (name, reason), _ in reasons.most_common()[::-1]}  # the commonest of each
    words = ", ".join(f"{counts[name]} {name}{why.get(name, '')}" for name in STATES if counts[name]) or "empty"
    yield Finding("queue", state, words, "proxmox-graph-mail queue list" if state != OK else "")
    for fault in condition.faults(spool).values():
        text, _, remedy = fault.partition("; ")
        yield Finding("spool", FAIL, text, remedy)
    for path in (spool.root, spool.queue, spool.failed):
        if stat.S_IMODE(os.stat(path).st_mode) & 0o007:
            yield Finding("spool", FAIL, f"{path} is open to everybody", f"chmod 2770 {path}")
    if not os.path.isdir(paths.run()):
        yield Finding("run", FAIL, f"{paths.run()} is missing: only root can submit mail", condition.RUN_REMEDY)


def mailbox_use() -> Iterator[Finding]:
    """Whether the mailbox may send any more today."""
    if near := mailbox(Spool(), time.time())["near"]:
        yield Finding("mailbox", WARN, near, "find out who sends so much: proxmox-graph-mail log")


def last_success() -> Iterator[Finding]:
    """When Graph last took a mail."""
    times = [row["time"] for row in Record(Path(paths.state())).read() if row["state"] == "sent" and not row["relay"]]
    text = local(times[-1]) if times else "none on record"
    yield Finding("last success", OK, text)


def host() -> Iterator[Finding]:
    """Which package owns sendmail, and are the units active."""
    owner = system.sendmail_owner()
    if owner:
        mine = owner == "proxmox-graph-mail"
        text = f"/usr/sbin/sendmail belongs to {owner}"
        yield Finding("sendmail", OK if mine else WARN, text, "" if mine else "this host's mail bypasses proxmox-graph-mail")
    known = units.known(hand_over=bool(facts.known().forward_program))
    for trouble in (found := units.troubles(known)).values():
        text, _, remedy = trouble.partition("; ")
        yield Finding("units", FAIL, text, remedy)
    if known and not found:
        yield Finding("units", OK, "all active")
    if known:
        yield from _watch()


def migration() -> Iterator[Finding]:
    """Does Proxmox still send by SMTP to Microsoft?"""
    if targets := facts.known().microsoft_targets:
        text = f"Proxmox's smtp target {', '.join(targets)} leads to Microsoft, which turns basic SMTP AUTH off"
        yield Finding("migration", WARN, text, "proxmox-graph-mail migrate")


def _watch() -> Iterator[Finding]:
    """Does the watch look, and what does it say?"""
    if said := watch_alarm.given():
        yield Finding("watch", FAIL, f"ALARM: {said}")
    late = time.time() - watch_alarm.last_look()
    if not 0 <= late < WATCH_LATE:
        text = "it has not run yet" if not watch_alarm.last_look() else "it has not run for some minutes"
        yield Finding("watch", WARN, text, "journalctl -u proxmox-graph-mail-watch says why")


ONLINE: tuple[Callable[[Settings], Iterator[Finding]], ...] = (names, connections, rights.token, rights.mailbox)
OFFLINE: tuple[Callable[[Settings], Iterator[Finding]], ...] = (file_modes, administrator, credential, alarm_command)


def all_findings(*, offline: bool, not_as: str = "") -> Iterator[Finding]:
    """Everything, in the order in which one thing needs another; with `not_as` also whether the app may send as somebody else."""
    settings, findings = settings_found()
    yield from findings
    if settings is not None:
        for look in OFFLINE:
            yield from _guarded(look.__name__, look(settings))
        last = (partial(rights.not_as, address=not_as),) if not_as else ()
        for look in () if offline else (*ONLINE, *last):
            seen = []
            for finding in _guarded(getattr(look, "__name__", "not as"), look(settings)):
                seen.append(finding.state)
                yield finding
            if FAIL in seen and look is not names:  # what comes next would only wait for the same (a proxy may know the names)
                break
    for always in (queue, mailbox_use, last_success, host, migration):
        yield from _guarded(always.__name__, always())


def _guarded(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """What cannot be looked at is a finding too."""
    try:
        yield from findings
    except MailError as error:
        yield Finding(name, FAIL, str(error))
    except OSError as error:
        yield Finding(name, FAIL, f"{error.filename or ''}: {error.strerror}".lstrip(": "))
