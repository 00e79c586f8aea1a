"""Which of Proxmox's smtp targets lead to Microsoft 365, and so end with basic authentication.

Hosts: Exchange Online, "How to set up a multifunction device or application to send email" (client submission, connectors), and
"Office 365 URLs" of the national clouds.
"""

from collections.abc import Iterable

SUBMISSION = (
    "smtp.office365.com", "outlook.office365.com", "smtp-mail.outlook.com", "smtp.office365.us", "smtp.partner.outlook.cn",
    "smtp-legacy.office365.com", "outlook.com", "office365.com", "office365.us", "outlook.cn",
)  # fmt: skip
"""Where clients sign in; and the domains of these, for names that are new."""
CONNECTOR = ("mail.protection.outlook.com", "mail.protection.office365.us", "mail.protection.partner.outlook.cn", "mx.microsoft")
"""Where a tenant's own mail comes in: connectors, and Direct Send without any."""


def leads_to_microsoft(server: str) -> bool:
    """Is this a host of Microsoft 365's for SMTP?"""
    return submits(server) or connects(server)


def submits(server: str) -> bool:
    """Does it want a sign-in, by SMTP AUTH?"""
    return _below(server, SUBMISSION) and not connects(server)


def connects(server: str) -> bool:
    """Is it a tenant's own mail exchanger?"""
    return _below(server, CONNECTOR)


def smtp_targets(lines: Iterable[str]) -> list[str]:
    """The names of the enabled smtp targets in a notifications.cfg that sign in to Microsoft's SMTP."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in lines:
        if line[:1] not in (" ", "\t", ""):
            kind, _, name = line.strip().partition(":")
            section = {}
            if kind == "smtp":
                found[name.strip()] = section
        elif len(words := line.split(None, 1)) == 2:
            section[words[0]] = words[1].strip()
    return [
        name for name, one in found.items()
        if submits(one.get("server", "")) and one.get("disable", "false") not in ("true", "1")
    ]  # fmt: skip


def _below(server: str, names: tuple[str, ...]) -> bool:
    host = server.strip().strip("[]").rstrip(".").lower()
    return any(host == name or host.endswith(f".{name}") for name in names)
