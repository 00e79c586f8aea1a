"""`deliver`: one message from standard input to Graph, now, without a queue: for an MTA that has its own.

Postfix's pipe(8) runs it as a transport, where Postfix must stay (Proxmox Mail Gateway) or is wanted. The exit status tells it
what to do (sysexits.h: 0 sent, 75 try again, 69 give it back to the sender), and one line of output, which begins with an
enhanced status code (RFC 3463), why.
"""

import hashlib
import os
import sys
import time
from typing import Annotated

import typer

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.admin.connection import relay_for_another_queue
from proxmox_graph_mail.delivery.attempt import send
from proxmox_graph_mail.delivery.form import PARSE_LIMIT
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE, MailError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.settings import load
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.journal import NEW
from proxmox_graph_mail.spool.wake import become_owner


def deliver(
    recipients: Annotated[list[str], typer.Argument(metavar="RECIPIENT...")],
    sender: Annotated[str, typer.Option("--from", "-f", metavar="ADDRESS", help="Envelope sender.")] = "",
) -> None:
    """Send the message on standard input now, without the queue, and say by the exit status what came of it.

    For Postfix's pipe(8): argv=proxmox-graph-mail deliver -f ${sender} -- ${recipient}

    Example: proxmox-graph-mail deliver -f root@pmg.example.com -- admin@example.com < mail.eml
    """
    log.setup("deliver")
    data = sys.stdin.buffer.read(PARSE_LIMIT + 1)
    while sys.stdin.buffer.read(1 << 20):
        pass
    try:
        outcome = _outcome(data, sender, recipients)
    except MailError as error:
        outcome = Outcome(Status.HELD, str(error), "Settings")
    except Exception as error:  # noqa: BLE001 - whatever breaks us, the MTA must try again, not give the mail back
        outcome = Outcome(Status.TRANSIENT, f"this program failed ({type(error).__name__}); please report this", "Unforeseen")
    status, code = _told(outcome)
    if status != EX_OK:
        print(printable(f"{code} {outcome.reason}"))
    raise typer.Exit(status)


def _outcome(data: bytes, sender: str, recipients: list[str]) -> Outcome:
    if len(data) > PARSE_LIMIT:
        return Outcome(Status.FAILED, f"larger than {PARSE_LIMIT >> 20} MB, the most that a mailbox may send", "TooLarge")
    become_owner(paths.state())  # run by root by hand: no token of root's, which the MTA's user could not use
    envelope = Envelope(sender=sender, recipients=tuple(recipients), uid=os.getuid(), arrived=time.time())
    relay, close = relay_for_another_queue(load())
    # The same at every attempt, for a message that brings no Message-ID.
    queue_id = hashlib.sha256(data).hexdigest()[:18].upper()
    try:
        delivery = send(queue_id, envelope, data, len(data), relay, NEW, time.time())
    finally:
        close()
    outcome = delivery.outcome
    request_id = f"; request-id={outcome.request_id}" if outcome.request_id else ""
    people = ",".join(f"<{address}>" for address in delivery.to[:20])
    log.line(f"{queue_id}: to={people}, status={outcome.status}, ({outcome.reason}{request_id})", log.INFO)
    return outcome


def _told(outcome: Outcome) -> tuple[int, str]:
    """Exit status and enhanced status code."""
    if outcome.status is Status.SENT:
        return EX_OK, "2.0.0"
    if outcome.status is Status.FAILED:
        addresses = ("InvalidRecipient", "NoRecipient", "ErrorInvalidRecipients")
        return EX_UNAVAILABLE, "5.1.3" if outcome.code in addresses else "5.6.0"
    # Held is the tenant's fault, not the message's: Postfix keeps it, and tries again.
    return EX_TEMPFAIL, "4.3.5" if outcome.status is Status.HELD else "4.4.0"
