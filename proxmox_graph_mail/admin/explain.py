"""`explain CODE`: what a code of Graph or Entra means for the mail, and what to do."""

import difflib
from typing import Annotated

import typer

from proxmox_graph_mail.errors import DataError, UsageError
from proxmox_graph_mail.graph.codes import ENTRA, GRAPH
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.log import printable

_WORDS = {
    Status.SENT: "The mail is sent.",
    Status.TRANSIENT: "The mail was not sent. It is retried automatically.",
    Status.UNCERTAIN: "The mail may have been sent; it is sent again in a few minutes, with the same Message-ID.",
    Status.HELD: "The mail is kept and retried slowly until this is fixed; a change of the settings retries it at once.",
    Status.FAILED: "Graph refuses this one message; it is kept in failed/ until you retry or remove it.",
}


def explain(
    code: Annotated[str, typer.Argument(metavar="CODE", show_default=False)] = "",
    list_: Annotated[bool, typer.Option("--list", help="List every code that is known.")] = False,
) -> None:
    """Say what a code of Graph or Entra means, what becomes of the mail, and what to do.

    Example: proxmox-graph-mail explain AADSTS7000215
    """
    known = [*GRAPH, *(f"AADSTS{number}" for number in ENTRA)]
    if list_:
        print("\n".join(known))
        return
    if not code:
        raise UsageError("explain needs a CODE; explain --list lists them")
    digits = code.upper().removeprefix("AADSTS").strip(": ")
    row = ENTRA.get(int(digits)) if digits.isdecimal() and len(digits) < 9 else None
    graph = {name.lower(): row for name, row in GRAPH.items()}
    row = row or graph.get(code.lower())
    if row is None:
        near = (
            [] if digits.isdecimal() else difflib.get_close_matches(code, known, 1)
        )  # numbers that look alike mean different things
        hint = f"did you mean {near[0]}?" if near else "https://login.microsoftonline.com/error looks AADSTS codes up"
        raise DataError(f"{printable(code)[:80]}: not a code that this program knows; {hint}")
    print(f"{row.meaning[0].upper()}{row.meaning[1:]}.")
    if row.remedy:
        print(f"What to do: {row.remedy}.")
    print(_WORDS[row.status])
