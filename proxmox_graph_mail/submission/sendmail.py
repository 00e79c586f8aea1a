"""sendmail, mailq and newaliases: options → envelope → safe → exit 0.

Called by Proxmox, cron, smartd and every other program of the host. It reads standard input to its end whatever
happens (Proxmox takes EPIPE for a failed notification, and a task worker dies of it), never touches network, DNS
or settings, and ends with a status of sysexits.h: 0 when the mail is safe, 64 for a wrong command line, 75 when
the mail could not be made safe and the caller should try again. What goes wrong is one line on standard error and
one in syslog.
"""

import sys
import time

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, DataError, MailError, UsageError
from proxmox_graph_mail.host import login_name
from proxmox_graph_mail.rfc822.addresses import addresses, is_recipient
from proxmox_graph_mail.rfc822.header import header_complete, header_recipients
from proxmox_graph_mail.spool.envelope import Envelope, without_controls
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake_or_pass
from proxmox_graph_mail.submission import options
from proxmox_graph_mail.submission.intake import Taken, take
from proxmox_graph_mail.submission.streams import complain, drain, occupy, read, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

INTERACTIVE_WAIT = 60.0  # seconds -odi waits for the outcome; then the mail is queued like any other and the status is 75


def main() -> "NoReturn":
    """The program: read sys.argv and standard input, exit."""
    occupy()
    name = os.path.basename(sys.argv[0]) if sys.argv else "sendmail"
    name = name if name in ("mailq", "newaliases") else "sendmail"
    log.setup(name)
    takes_message = name == "sendmail"
    try:
        asked = options.parse(name, sys.argv[1:])
        takes_message = asked.mode == options.DELIVER  # else standard input is not ours (a maintainer script's debconf)
        status = run(asked)
    except MailError as error:
        status = refuse(name, str(error), error.status)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with us, the caller keeps its mail and is told so
        status = refuse(name, f"unexpected {type(error).__name__}; the message was not accepted, please report this", EX_TEMPFAIL)
    if takes_message:
        drain()
    os._exit(status)  # nothing is buffered, and the interpreter's own farewell costs a millisecond


def run(asked: options.Invocation) -> int:
    """Do what the command line asks for; return the exit status."""
    spool, run_directory = Spool(), paths.run()
    if asked.mode == options.DELIVER:
        return deliver(asked, spool, run_directory)
    if asked.mode == options.SMTP:
        from proxmox_graph_mail.submission.smtp import dialogue

        return dialogue(spool, run_directory, os.getuid())
    if asked.mode == options.LIST:
        from proxmox_graph_mail.submission.mailq import show

        return show(spool, as_json=asked.json)
    if asked.mode == options.RUN_QUEUE:
        from proxmox_graph_mail.submission.mailq import require_access

        require_access(spool, change=True)
        for entry in spool.scan():
            spool.defer(entry.id, 0)
        spool.urge()
        wake_or_pass(spool, run_directory)
    elif asked.mode == options.VERIFY:
        from proxmox_graph_mail.spool.wake import companion

        if not asked.operands:
            raise UsageError("-bv needs at least one address")
        command = companion("route", "--", *recipients_of(asked.operands))
        os.execv(command[0], command)
    elif asked.mode == options.HELP:
        say(HELP)
    elif asked.mode == options.VERSION:
        from proxmox_graph_mail import __version__

        say(f"proxmox-graph-mail {__version__}\n")
    return EX_OK  # NEWALIASES: /etc/aliases is read at each delivery, there is nothing to rebuild


def deliver(asked: options.Invocation, spool: Spool, run_directory: str) -> int:
    """Take the message on standard input."""
    uid = os.getuid()
    recipients = recipients_of(asked.operands)
    chunks = read(0, dot_ends=not asked.dot_is_data and os.isatty(0))
    if asked.extract:
        head, chunks = read_header(chunks)
        recipients += header_recipients(head)
    recipients = list(dict.fromkeys(recipients))
    if not recipients:
        raise UsageError(
            "no recipients in To, Cc, Bcc or on the command line" if asked.extract
            else "no recipients: name them on the command line, or use -t to take them from the header"
        )  # fmt: skip
    if not any(is_recipient(recipient) for recipient in recipients):
        raise DataError(f"none of the recipients is a valid address: {' '.join(recipients)[:200]}")
    envelope = Envelope(
        sender=login_name(uid) if asked.sender is None else sender_of(asked.sender),
        recipients=tuple(recipients),
        uid=uid,
        arrived=time.time(),
        full_name=asked.full_name,
        notify=asked.notify,
        body=asked.body,
    )
    wait = INTERACTIVE_WAIT if asked.delivery == options.INTERACTIVE else 0.0
    taken = take(spool, run_directory, envelope, chunks, wait=wait)
    if asked.verbose:
        say(f"queued as {taken.id}\n")
    if taken.receipt is None and asked.delivery != options.QUEUE_ONLY:
        wake_or_pass(spool, run_directory, taken.id)
    return _wait_for_outcome(spool, taken, wait) if wait else EX_OK


def _wait_for_outcome(spool: Spool, taken: Taken, wait: float) -> int:
    """-odi: the status of sysexits.h once the message has an outcome, or `wait` seconds are over."""
    if taken.receipt is None:
        from proxmox_graph_mail.spool.watch import wait_for

        try:
            outcome = wait_for(spool, taken.id, wait)
        except (MailError, OSError) as error:  # the mail is safe: nothing may say that it was not taken
            outcome = EX_TEMPFAIL, f"cannot wait for its outcome ({error})"
    else:
        outcome = taken.receipt.outcome or (EX_TEMPFAIL, "no outcome yet")
    status, reason = outcome
    if status != EX_OK:
        complain("sendmail", f"{taken.id} is queued, but not sent: {reason}")
    return status


def recipients_of(operands: list[str]) -> list[str]:
    """The addresses of the command line's operands, each an RFC 5322 list."""
    recipients = []
    for operand in operands:
        recipients += addresses(without_controls(f"recipient {log.printable(operand)}", operand, allowed="\t"))
    return recipients


def sender_of(argument: str) -> str:
    """The envelope sender of -f's argument: an address, `Name <address>`, or empty for the null sender."""
    return next(iter(addresses(argument)), "") if argument.isprintable() else argument


def read_header(chunks: "Iterable[bytes]") -> "tuple[bytes, Iterator[bytes]]":
    """Read on until the header section is there; return it and an iterator over the whole message."""
    rest = iter(chunks)
    head = b""
    for chunk in rest:
        head += chunk
        if header_complete(head):
            break

    def whole() -> "Iterator[bytes]":
        yield head
        yield from rest

    return head, whole()


def refuse(name: str, reason: str, status: int) -> int:
    """Say on standard error and in syslog why nothing was taken."""
    log.line(f"refused: {reason} (status {status}, uid={os.getuid()})", log.WARNING)
    complain(name, reason)
    return status


HELP = """\
usage: sendmail [options] [recipient ...]     take a message from standard input
       sendmail -bp | mailq [--json]          show the queue
       sendmail -q                            try everything in the queue now
       sendmail -bv address ...               show who would get the mail; send nothing
       sendmail -bs                           speak SMTP on standard input and output

  -t            take the recipients from To, Cc and Bcc, in addition to those named
  -i, -oi       a line with a lone dot does not end the message (it does so only on a terminal)
  -f address    envelope sender (also -r)
  -F name       full name of the sender, where the message has no From
  -odb          exit once the mail is queued; the queue runner sends it (default)
  -odq          the same, and do not wake the queue runner
  -odi          wait for the outcome; 75 means queued, but not sent yet
  -v            print the queue ID
  --            end of options; recipients follow
  --help, --version

Other options of sendmail, Postfix, exim, msmtp and nullmailer are accepted and
mean nothing here. To manage the queue: proxmox-graph-mail queue --help
"""
