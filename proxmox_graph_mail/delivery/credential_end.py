"""A credential's end: when to say it, and in which words. Pure functions."""

from datetime import date

FIRST = 60  # days before the end from which it is said
FOOTER = 14  # days before the end from which every mail has a line about it
NAMES = {"secret": "client secret", "certificate": "client certificate"}


def stage(left: int) -> int | None:
    """The reminder's stage with so many days left: 60, 30, 14, then each day of the last week and after; None before."""
    if left > FIRST:
        return None
    if left > 14:
        return 60 if left > 30 else 30
    return 14 if left > 7 else left


def words(kind: str, ends: date, today: date) -> str:
    """`the client secret expires in 29 days, on 2026-12-24`."""
    left = (ends - today).days
    return f"the {NAMES.get(kind, 'credential')} {when(left)}, on {ends}"


def when(left: int) -> str:
    """`expires tomorrow`, `expired 3 days ago`."""
    near = {0: "expires today", 1: "expires tomorrow", -1: "expired yesterday"}
    return near.get(left) or (f"expires in {left} days" if left > 0 else f"expired {-left} days ago")


def footer(kind: str, ends: date | None, today: date, host: str) -> str:
    """The line under every mail of the last days; empty before."""
    if ends is None or (ends - today).days > FOOTER:
        return ""
    said = words(kind, ends, today)
    return f"{said[0].upper()}{said[1:]}. Without renewal, {host} cannot send mail from then on: proxmox-graph-mail rotate"


REMEDIES = {
    "secret": """\
Make a new client secret in the Entra admin centre (App registrations, the app, Certificates & secrets, New client
secret), and give its Value to the host:

    proxmox-graph-mail rotate

It asks for the new secret, tries it, and only then replaces the old one.
""",
    "certificate": """\
The host renews its certificate by itself 30 days before it expires, if GRAPH_OBJECT_ID is set. This mail means that it could
not. Try it by hand, and read what it says:

    proxmox-graph-mail rotate
""",
}
