"""The names of this host and of its users, by files alone: DNS and name services may hang when alarms matter.

`sendmail` imports this, so it loads nothing heavy.
"""

from proxmox_graph_mail import light_os as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Host:
    """`name` is the node's short name, `fqdn` its full one; `names` are all domains, lower case, that mean this host;
    `cluster` is its cluster's name. Immutable by habit."""

    __slots__ = ("cluster", "fqdn", "name", "names")

    def __init__(self, *, name: str, fqdn: str, names: frozenset[str], cluster: str = "") -> None:
        self.name = name
        self.fqdn = fqdn
        self.names = names
        self.cluster = cluster

    def is_local(self, domain: str) -> bool:
        """Does mail for this domain stay with this host's users? A name without a dot never reaches Exchange Online."""
        domain = domain.lower().rstrip(".")
        return domain in self.names or "." not in domain.strip("[]") or domain.endswith(".localdomain")


def this_host(
    hosts: str = "/etc/hosts", mailname: str = "/etc/mailname", node: str | None = None, cluster: str = ""
) -> Host:  # fmt: skip
    """This host, by uname(2), /etc/hosts and /etc/mailname.

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
    names = frozenset([name for name in (node, short, fqdn, ours, "localhost", "localhost.localdomain") if name])
    return Host(name=short, fqdn=fqdn or mail_name or node, names=names, cluster=cluster)


GUESTS = 1 << 32
"""From here on numbers stand for guests instead of users: machines whose mail comes by SMTP. Added is the IPv4 address as a
number, or, from twice that on, the two halves of an IPv6 network's 64 bits, laid over each other."""


def guest_name(uid: int, hosts: str = "/etc/hosts") -> str:
    """A guest's name in /etc/hosts, else its address (of an IPv6 network only a number is known)."""
    if uid >= 2 * GUESTS:
        return f"guest{uid}"
    address = ".".join([str(uid - GUESTS >> shift & 255) for shift in (24, 16, 8, 0)])
    for line in _lines(hosts):
        words = line.partition("#")[0].split()
        if words[:1] == [address] and len(words) > 1:
            return words[1]
    return address


def login_name(uid: int) -> str:
    """The login name of a uid by /etc/passwd alone: the name service may ask the network."""
    if uid >= GUESTS:
        return guest_name(uid)
    try:
        with open("/etc/passwd", "rb") as passwd:
            for line in passwd:
                entry = line.split(b":")
                if len(entry) > 2 and entry[2] == b"%d" % uid:
                    return entry[0].decode("ascii", "replace")
    except OSError:
        pass  # then the number has to do
    return f"uid{uid}"


def _lines(path: str) -> "Iterable[str]":
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return ()
