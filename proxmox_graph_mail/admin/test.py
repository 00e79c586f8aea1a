"""`test [ADDRESS]`: one mail by the way that every mail takes, watched until its outcome."""

import os
import time
from typing import Annotated

import typer

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin.connection import address_book
from proxmox_graph_mail.admin.follow import Leg, follow
from proxmox_graph_mail.errors import UsageError
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.message.recipients import is_address
from proxmox_graph_mail.settings import load_visible
from proxmox_graph_mail.spool.envelope import TEST, Envelope
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake_or_pass
from proxmox_graph_mail.submission.intake import store
from proxmox_graph_mail.submission.mailq import require_access

TEXT = """\
This is a test mail from proxmox-graph-mail on {host}.

It was submitted on {date}, and queued and sent like any other mail: the queue runner gave it to Microsoft Graph, which
sent it from {sender}.
"""


def send_one(address: Annotated[str, typer.Argument(metavar="[ADDRESS]", show_default=False)] = "") -> None:
    """Send a test mail to the administrator, or to ADDRESS, and wait until Graph has it, showing how long each step took.

    Example: proxmox-graph-mail test me@example.com
    """
    settings = load_visible()
    recipients = (address,) if address else address_book(settings).administrators()[0]
    for one in recipients:
        if not is_address(one):
            raise UsageError(f"{printable(one)} is not a mail address")
    raise typer.Exit(send_test(recipients, settings.graph_sender))


def send_test(recipients: tuple[str, ...], sender: str) -> int:
    """Send it and follow it; the status of sysexits.h."""
    spool = Spool()
    require_access(spool, change=True)
    host = this_host().name
    now = time.time()
    date = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    text = TEXT.format(host=host, date=date, sender=sender)
    leg = Leg()
    envelope = Envelope(sender="root", recipients=recipients, uid=os.getuid(), arrived=now, notify="never", protocol=TEST)
    message = f"Subject: Test mail from {host}\nTo: {', '.join(recipients)}\n\n{text}"
    queue_id = store(spool, envelope, [message.encode()], quota=False)
    leg.passed(f"{queue_id} is in the queue, and safe")
    wake_or_pass(spool, paths.run())
    return follow(since=now, leg=leg, matching=lambda row: row["id"] == queue_id)
