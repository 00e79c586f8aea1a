"""proxmox-graph-mail-hand-over: root's mail, piped into proxmox-mail-forward.

    hand-over/ID     a second name of queue/ID, made by the queue runner where mail for local root is to go that way

systemd starts this as root whenever hand-over/ holds something, for proxmox-mail-forward reads /etc/pve and must be able to
reach what a target needs; the queue runner can do neither. It gets the message in the form in which Postfix's local(8) pipes
it (mbox line, Return-Path, X-Original-To, Delivered-To); what came of it is an event in the message's journal, and the message is
due again: the queue runner settles it. If the program is missing, fails, or takes longer than LIMIT, the runner sends the
mail to the administrator directly; so it does if nothing comes of it within PATIENCE (decision.py).

The spool is the service user's: root works in it by directory descriptors and follows no link.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import DataError, MailError
from proxmox_graph_mail.files import open_plain
from proxmox_graph_mail.host import Host, this_host
from proxmox_graph_mail.proxmox.facts import FORWARD_PROGRAMS, in_child, known, pve_is_up
from proxmox_graph_mail.proxmox.facts import LIMIT as UP_LIMIT
from proxmox_graph_mail.rfc822.header import HEADER_LIMIT, start_of_message
from proxmox_graph_mail.root_mail.decision import DONE, PATIENCE, delivered_to
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool, is_id
from proxmox_graph_mail.spool.wake import wake

LIMIT = 60.0  # seconds that proxmox-mail-forward may take; a target's own time limit is 10
SIZE_LIMIT = 300 << 20  # bytes of a message; sendmail takes less
UNREMOVABLE_PAUSE = 10.0
"""Seconds to wait where a finished hand-over cannot be removed (a read-only disk), lest systemd start us in a circle."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def main() -> None:
    """The program. It takes no arguments."""
    log.setup("hand-over")
    spool = Spool()
    try:
        asked, queue = os.open(spool.hand_over, _DIRECTORY), os.open(spool.queue, _DIRECTORY)
        stay: set[str] = set()
        while names := sorted(set(os.listdir(asked)) - stay):
            for name in names:
                if is_id(name):
                    try:
                        _hand_over(name, asked, queue)
                    except Exception as error:  # noqa: BLE001 - one message that breaks us must not stop the others
                        reason = f"not handed over ({type(error).__name__}: {error})"
                        log.line(f"{name}: {reason}; it is sent to the administrator directly", log.ERR)
                        with contextlib.suppress(OSError, MailError):  # else the queue runner waits for its patience
                            _record(name, queue, reason, failed=True)
                try:
                    os.unlink(name, dir_fd=asked)
                except FileNotFoundError:
                    pass  # an admin removed it, or the queue runner took it back
                except OSError as error:
                    log.line(f"{spool.hand_over}/{name} cannot be removed: {error.strerror}", log.ERR)
                    stay.add(name)
                wake(paths.run(), name)
        if stay:
            time.sleep(UNREMOVABLE_PAUSE)
    except OSError as error:
        log.line(f"cannot process {spool.hand_over}: {error.strerror}", log.ERR)
        time.sleep(UNREMOVABLE_PAUSE)
        sys.exit(75)


def _hand_over(queue_id: str, asked: int, queue: int) -> None:
    """Pipe one message into proxmox-mail-forward, and write down what came of it. Raises OSError."""
    try:
        descriptor = open_plain(queue_id, dir_fd=asked)
    except OSError:
        return  # gone meanwhile, or a link: none of ours
    try:
        with open(descriptor, "rb") as message:
            status = os.fstat(message.fileno())
            ours = os.stat(queue_id, dir_fd=queue, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != (ours.st_dev, ours.st_ino):
                return  # not what waits in the queue: none of ours
            if time.time() - status.st_ctime > PATIENCE - LIMIT:
                return  # it has waited so long that the queue runner may send it any moment
            envelope = decode(message.readline(LINE_LIMIT))
            begun = time.monotonic()
            fault = _pipe(message.read(HEADER_LIMIT), message.fileno(), envelope)
    except (FileNotFoundError, DataError):
        return  # sent, removed or damaged meanwhile
    seconds = time.monotonic() - begun
    reason = f"proxmox-mail-forward {fault}" if fault else DONE
    detail = f" ({reason}; it is sent to the administrator directly)" if fault else ""
    outcome = f"relay=proxmox-mail-forward, status={'failed' if fault else 'sent'}, delay={seconds:.2f}{detail}"
    log.line(f"{queue_id}: to=<root>, {outcome}", log.WARNING if fault else log.NOTICE)
    _record(queue_id, queue, reason, failed=bool(fault))


def as_piped(beginning: bytes, envelope: Envelope, host: Host, now: float) -> bytes:
    """A message's beginning, as local(8) pipes it: `From sender  Thu Jan  1 00:00:00 1970` (mbox), then its trace fields."""
    sender = envelope.sender
    trace = f"From {sender or 'MAILER-DAEMON'}  {time.asctime(time.localtime(now))}\nReturn-Path: <{sender}>\n"
    trace += f"X-Original-To: root\nDelivered-To: {delivered_to(host.fqdn)}\n"
    return trace.encode("utf-8", "surrogateescape") + beginning[start_of_message(beginning) :]


def _pipe(beginning: bytes, rest: int, envelope: Envelope) -> str:
    """Run proxmox-mail-forward on the message; what went wrong, or nothing."""
    facts = known()
    program = facts.forward_program
    if program not in [paths.below_root(path) for path in FORWARD_PROGRAMS]:  # whatever the file says that names it
        return "is not there any more"
    # Without the cluster's file system it knows neither targets nor addresses, and ends with 0 all the same.
    if "pve" in facts.products and not in_child(pve_is_up, UP_LIMIT):
        return "cannot read its targets: /etc/pve is not mounted, or does not answer"
    host = this_host()
    with tempfile.TemporaryFile(dir="/var/tmp") as copy:
        copy.write(as_piped(beginning, envelope, host, envelope.arrived))
        while (chunk := os.read(rest, 1 << 20)) and copy.tell() < SIZE_LIMIT:
            copy.write(chunk)
        copy.seek(0)
        environment = {
            "HOME": "/root", "LOGNAME": "root", "USER": "root", "SHELL": "/bin/sh", "LANG": "C.UTF-8",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SENDER": envelope.sender, "RECIPIENT": f"root@{host.fqdn}", "ORIGINAL_RECIPIENT": "root", "LOCAL": "root",
            "DOMAIN": host.fqdn,
        } | {key: value for key, value in os.environ.items() if key.startswith("PROXMOX_GRAPH_MAIL_")}  # fmt: skip
        try:
            process = subprocess.Popen(  # noqa: S603 - one of two fixed paths (facts.FORWARD_PROGRAMS)
                [program], stdin=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd="/"
            )
        except OSError as error:
            return f"cannot be run: {error.strerror}"
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()  # if it hangs in the kernel it is systemd's to end, with our unit
            return f"did not end within {LIMIT:.0f} s"
    if status:
        return f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
    return ""


def _record(queue_id: str, queue: int, reason: str, *, failed: bool) -> None:
    """Write the event into the message's journal, and let the message be due."""
    past = journal.read(queue, queue_id)
    how = journal.FAILED if failed else journal.DONE
    event = Event(round(time.time(), 3), journal.HAND_OVER, "deferred", reason, attempts=past.attempts, hand_over=how)
    journal.append(queue, queue_id, event, durable=True)
    os.utime(queue_id, (0, 0), dir_fd=queue, follow_symlinks=False)
