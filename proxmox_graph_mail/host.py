"""The names of this host, by which an address is local."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """`name` is the node's short name, `fqdn` its full one; `names` are all domains, lower case, that mean this host;
    `cluster` is its cluster's name."""

    name: str
    fqdn: str
    names: frozenset[str]
    cluster: str = ""

    def is_local(self, domain: str) -> bool:
        """Does mail for this domain stay with this host's users? A name without a dot never reaches Exchange Online."""
        domain = domain.lower().rstrip(".")
        return domain in self.names or "." not in domain.strip("[]") or domain.endswith(".localdomain")


def this_host(hosts: Path = Path("/etc/hosts"), mailname: Path = Path("/etc/mailname"), node: str | None = None) -> Host:
    """This host, by uname(2), /etc/hosts and /etc/mailname; never by DNS, which may hang when alerts matter.

    Proxmox writes its full name into /etc/hosts at installation, and removes /etc/mailname.
    """
    node = (node or os.uname().nodename).lower()
    short = node.partition(".")[0]
    fqdn = node if "." in node else ""
    for line in _lines(hosts):
        words = line.partition("#")[0].lower().split()[1:]
        if not fqdn and (node in words or any(word.startswith(f"{short}.") for word in words)):
            fqdn = next((word for word in words if word.startswith(f"{short}.")), "")
    mail_name = next((line.strip().lower() for line in _lines(mailname) if line.strip()), "")
    # /etc/mailname is often the organisation's domain: mail for it is not this host's.
    ours = mail_name if mail_name == short or mail_name.startswith(f"{short}.") else ""
    names = frozenset(name for name in (node, short, fqdn, ours, "localhost", "localhost.localdomain") if name)
    return Host(name=short, fqdn=fqdn or mail_name or node, names=names)


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
