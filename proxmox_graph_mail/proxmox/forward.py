"""proxmox-graph-mail-forward: root's mail, handed to Proxmox's notification system.

    forward/ID     a second name of queue/ID, made by the queue runner where mail for local root is to go that way

systemd starts this as root whenever forward/ holds something, for proxmox-mail-forward reads /etc/pve and must be able to
reach what a target needs; the queue runner can do neither. It gets the message in the form in which Postfix's local(8) pipes
it (mbox line, Return-Path, X-Original-To, Delivered-To); what came of it is an event in the message's log, and the message is
due again: the queue runner settles it. If the program is missing, fails, or takes longer than LIMIT, the runner sends the
mail to the administrator directly; so it does if nothing comes of it within PATIENCE (delivery/attempt.py).

The spool is the service user's: root works in it by directory descriptors and follows no link.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from proxmox_graph_mail import log
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.host import Host, this_host
from proxmox_graph_mail.proxmox.facts import LIMIT as UP_LIMIT
from proxmox_graph_mail.proxmox.facts import in_child, known, pve_is_up
from proxmox_graph_mail.spool import LOG_TAIL, Spool, is_id
from proxmox_graph_mail.submission import forwarding
from proxmox_graph_mail.submission.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.submission.header import HEADER_LIMIT, start_of_message
from proxmox_graph_mail.submission.mailq import history
from proxmox_graph_mail.submission.wake import default_run, wake

LIMIT = 60.0
"""Seconds that proxmox-mail-forward may take; a target's own time limit is 10."""
SIZE_LIMIT = 300 << 20
"""Bytes of a message; sendmail takes less."""
UNREMOVABLE_PAUSE = 10.0
"""Seconds to wait where a finished hand-over cannot be removed (a read-only disk), lest systemd start us in a circle."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def main() -> None:
    """The program. It takes no arguments."""
    log.setup("forward")
    spool = Spool()
    try:
        asked, queue = os.open(spool.forward, _DIRECTORY), os.open(spool.queue, _DIRECTORY)
        stay: set[str] = set()
        while names := sorted(set(os.listdir(asked)) - stay):
            for name in names:
                if is_id(name):
                    try:
                        hand_over(name, asked, queue)
                    except Exception as error:  # noqa: BLE001 - one message that breaks us must not stop the others
                        log.line(f"{name}: not handed over ({type(error).__name__}: {error}); it goes directly", log.ERR)
                try:
                    os.unlink(name, dir_fd=asked)
                except FileNotFoundError:
                    pass  # an admin removed it, or the queue runner took it back
                except OSError as error:
                    log.line(f"{spool.forward}/{name} cannot be removed: {error.strerror}", log.ERR)
                    stay.add(name)
                wake(default_run())
        if stay:
            time.sleep(UNREMOVABLE_PAUSE)
    except OSError as error:
        log.line(f"cannot go on in {spool.forward}: {error.strerror}", log.ERR)
        time.sleep(UNREMOVABLE_PAUSE)
        sys.exit(75)


def hand_over(queue_id: str, asked: int, queue: int) -> None:
    """Pipe one message into proxmox-mail-forward, and write down what came of it. Raises OSError."""
    try:
        descriptor = os.open(queue_id, _READ, dir_fd=asked)
    except OSError:
        return  # gone meanwhile, or a link: none of ours
    try:
        with open(descriptor, "rb") as message:
            status = os.fstat(message.fileno())
            ours = os.stat(queue_id, dir_fd=queue, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != (ours.st_dev, ours.st_ino) or (status.st_mode & 0o170000) != 0o100000:
                return  # not what waits in the queue: none of ours
            if time.time() - status.st_ctime > forwarding.PATIENCE - LIMIT:
                return  # it has waited so long that the queue runner may send it any moment
            envelope = decode(message.readline(LINE_LIMIT))
            begun = time.monotonic()
            fault = _pipe(message.read(HEADER_LIMIT), message.fileno(), envelope)
    except (FileNotFoundError, DataError):
        return  # sent, removed or damaged meanwhile
    seconds = time.monotonic() - begun
    reason = f"proxmox-mail-forward {fault}" if fault else forwarding.DONE
    detail = f" ({reason}; it goes to the administrator directly)" if fault else ""
    outcome = f"relay=proxmox-mail-forward, status={'failed' if fault else 'sent'}, delay={seconds:.2f}{detail}"
    log.line(f"{queue_id}: to=<root>, {outcome}", log.WARNING if fault else log.NOTICE)
    _record(queue_id, queue, reason, failed=bool(fault))


def as_piped(beginning: bytes, envelope: Envelope, host: Host, now: float) -> bytes:
    """A message's beginning, as local(8) pipes it: `From sender  Thu Jan  1 00:00:00 1970` (mbox), then its trace fields."""
    sender = envelope.sender
    trace = f"From {sender or 'MAILER-DAEMON'}  {time.asctime(time.localtime(now))}\nReturn-Path: <{sender}>\n"
    trace += f"X-Original-To: root\nDelivered-To: {forwarding.delivered_to(host.fqdn)}\n"
    return trace.encode("utf-8", "surrogateescape") + beginning[start_of_message(beginning) :]


def _pipe(beginning: bytes, rest: int, envelope: Envelope) -> str:
    """Run proxmox-mail-forward on the message; what went wrong, or nothing."""
    facts = known()
    program = facts.forward
    if not program:
        return "is not there any more"
    # Without the cluster's file system it knows neither targets nor addresses, and ends with 0 all the same.
    if "pve" in facts.products and not in_child(pve_is_up, UP_LIMIT):
        return "cannot know its targets: /etc/pve is not mounted, or does not answer"
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
    """Append the event to the message's log, and let the message be due."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(f"{queue_id}.log", flags, 0o640, dir_fd=queue), "r+b", buffering=0) as file:
        owner, status = os.fstat(queue), os.fstat(file.fileno())
        if (status.st_mode & 0o170000) != 0o100000 or status.st_nlink != 1:
            raise SpoolError(f"{queue_id}.log is no plain file")
        if os.geteuid() == 0 and status.st_uid == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.seek(max(0, status.st_size - LOG_TAIL))
        past = history(file.read(LOG_TAIL))
        event = {
            "time": round(time.time(), 3), "status": "deferred", "reason": reason, "code": forwarding.CODE,
            "attempts": past[-1]["attempts"] if past else 0, "tried": False, "shared": False, "uncertain": False,
            "forward": forwarding.FAILED if failed else forwarding.SENT,
        } | ({} if failed else {"sent_to": [*(past[-1]["sent_to"] if past else []), forwarding.LOCAL_ROOT]})  # fmt: skip
        file.write(json.dumps(event).encode() + b"\n")
        os.fsync(file.fileno())
    os.utime(queue_id, (0, 0), dir_fd=queue, follow_symlinks=False)
