"""`route`: who would get a mail for these addresses; what `sendmail -bv` shows. Nothing is sent."""

from typing import Annotated

import typer

from proxmox_graph_mail.admin.connection import address_book
from proxmox_graph_mail.errors import EX_DATAERR
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.message.recipients import LOCAL_ROOT, is_address
from proxmox_graph_mail.settings import load_visible


def route(addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...")]) -> None:
    """Show who would get a mail sent to these addresses, by MAIL_TO and /etc/aliases. Nothing is sent.

    Example: proxmox-graph-mail route root
    """
    book = address_book(load_visible())
    bad = False
    for address in addresses:
        resolved, warnings = book.resolve(address)
        for target in resolved:
            if target == LOCAL_ROOT and book.hands_over_root:
                print(printable(f"{address} -> Proxmox's notification system"))
                continue
            good = is_address(target)
            bad = bad or not good
            print(printable(f"{address} -> {target}{'' if good else '  (not a mail address: gets nothing)'}"))
        for warning in warnings:
            print(printable(f"{address}: {warning}"))
    raise typer.Exit(EX_DATAERR if bad else 0)
