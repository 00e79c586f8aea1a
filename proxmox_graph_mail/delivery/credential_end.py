"""A credential's end: when to say it, and in which words. Pure functions."""

from datetime import date

FIRST = 60
"""Days before the end from which it is said."""
STAGES = (60, 30, 14)
"""Days before the end at which a mail says it once; from the last week on, one a day."""
FOOTER = 14
"""Days before the end from which every mail has a line about it."""
NAMES = {"secret": "client secret", "certificate": "client certificate"}


def stage(left: int) -> int | None:
    """Which mail is due with so many days left, as a number that differs from every other's; None while there is none."""
    if left > FIRST:
        return None
    if left > 14:
        return 60 if left > 30 else 30
    return 14 if left > 7 else left


def words(kind: str, ends: date, today: date) -> str:
    """`the client secret ends on 2026-12-24, in 29 days`."""
    left = (ends - today).days
    name = NAMES.get(kind, "credential")
    if left == 0:
        return f"the {name} ends today, {ends}"
    return f"the {name} ends on {ends}, in {left} day{'s' if left > 1 else ''}" if left > 0 else f"the {name} ended on {ends}"


def footer(kind: str, ends: date | None, today: date, host: str) -> str:
    """The line under every mail of the last days; empty before."""
    if ends is None or (ends - today).days > FOOTER:
        return ""
    said = words(kind, ends, today)
    return f"{said[0].upper()}{said[1:]}; then {host} sends no more mail: proxmox-graph-mail rotate"


REMEDIES = {
    "secret": """\
Make a new client secret in the Entra admin centre (App registrations, the app, Certificates & secrets, New client
secret), and give its Value to the host:

    proxmox-graph-mail rotate

It asks for the new secret, proves it, and only then puts it in the old one's place.
""",
    "certificate": """\
The host renews its certificate by itself 30 days before the end, if GRAPH_OBJECT_ID is set. That it still says this
means that it could not; try it by hand, and read what it says:

    proxmox-graph-mail rotate
""",
}
