"""Envelope recipients → who gets the mail, as To, Cc and Bcc.

The envelope alone decides who gets a mail; the headers only decide where an address is shown. A local name
(`root`, `root@pve1`) leads through /etc/aliases. Mail for local root is Proxmox's notification system's where the host is set
up so; else it is, with whatever stays local, the administrator's: MAIL_TO, else root@pam's address in Proxmox, else root's
alias. Where nothing says who that is, the sending mailbox itself gets it, with a warning: somebody reads it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.aliases import Aliases
from proxmox_graph_mail.message.mail import Mail, Mailbox
from proxmox_graph_mail.rfc822.addresses import is_recipient

LOCAL_ROOT = "root"  # local root, as a recipient that is not an address: Proxmox's notification system gets the mail

# What Exchange Online takes for an SMTP address, as strict as is certain: RFC 5321's dot-atom, with UTF-8 (RFC 6531),
# and a domain of at least two labels.
_ADDRESS = re.compile(r"[^\s@<>(),;:\\\"\[\]\x00-\x1f\x7f\ud800-\udfff]+@(?:[^\W_](?:[^\W_]|-)*\.)+[^\W_](?:[^\W_]|-)*")


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Who reads mail for local names: this host's names, its aliases, MAIL_TO, root@pam's address and where it was found, the
    addresses in /root/.forward, and at last the sending mailbox. With `hands_over_root`, local root's mail goes to Proxmox's
    notification system."""

    host: Host
    aliases: Aliases
    mail_to: tuple[str, ...]
    sender: str
    admin: str = ""
    admin_source: str = ""
    forward_addresses: tuple[str, ...] = ()
    hands_over_root: bool = False

    def resolve(self, recipient: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The addresses that get a recipient's mail, and warnings. An address elsewhere is returned as it is; LOCAL_ROOT stands
        for Proxmox's notification system."""
        local = self._local_name(recipient)
        if local is None:
            return (recipient,), ()
        reached: dict[str, None] = {}
        warnings: list[str] = []
        targets: tuple[str, ...] = (local,)
        if local.lower() != "root":
            expanded, problems = self.aliases.expand(local)
            warnings += problems
            targets = expanded or (local,)
        for target in targets:
            name = self._local_name(target)
            if name is None:
                reached[target] = None
                continue
            if name.lower() == "root" and self.hands_over_root:
                reached[LOCAL_ROOT] = None
                if self.mail_to or not self.forward_addresses:
                    continue
            if name.lower() == "root" and self.forward_addresses and not self.mail_to:
                reached.update(dict.fromkeys(self.forward_addresses))
            else:
                administrators, problems = self.administrators()
                warnings += problems
                reached.update(dict.fromkeys(administrators))
        return tuple(reached), tuple(dict.fromkeys(warnings))

    def administrators(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who reads local users' mail, with warnings."""
        people, _, warnings = self.administration()
        return people, warnings

    def administration(self) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
        """Who reads local users' mail, what says so, and warnings: MAIL_TO, else root@pam's address, else where /etc/aliases
        leads root, else the sending mailbox."""
        if self.mail_to:
            return self.mail_to, "MAIL_TO", ()
        if self.admin:
            return (self.admin,), f"root@pam in {self.admin_source}", ()
        expanded, warnings = self.aliases.expand("root")
        people = tuple(target for target in expanded if self._local_name(target) is None)
        if people:
            return people, "root in /etc/aliases", warnings
        return (
            (self.sender,),
            "the sending mailbox, because nothing else is named",
            (
                *warnings,
                f"no administrator is named, so local mail goes to {self.sender}; set MAIL_TO, root@pam's address in Proxmox, or "
                "root in /etc/aliases",
            ),
        )

    def _local_name(self, recipient: str) -> str | None:
        local, at, domain = recipient.rpartition("@")
        if not at:
            return recipient
        if domain.lower() in {
            address.rpartition("@")[2].lower() for address in (self.sender, *self.mail_to, *((self.admin,) if self.admin else ()))
        }:
            return None  # Exchange knows that domain, whatever this host is called
        return local if local and self.host.is_local(domain) else None


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who gets a mail by Graph. `invalid` are envelope recipients that are no addresses and get nothing."""

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    invalid: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.to) + len(self.cc) + len(self.bcc)

    def addresses(self) -> tuple[str, ...]:
        """Every address, in order."""
        return tuple(mailbox.address for mailbox in (*self.to, *self.cc, *self.bcc))


def recipients(envelope_recipients: Iterable[str], mail: Mail, book: AddressBook) -> Recipients:
    """Resolve the envelope and sort it by the headers.

    To and Cc keep the headers' order and display names, for those whom the envelope has; the rest is Bcc, except
    that a single recipient whom no header names is To.
    """
    wanted: dict[str, str] = {}  # lower case → as written
    warnings: list[str] = []
    invalid: list[str] = []
    for recipient in envelope_recipients:
        addresses, problems = book.resolve(recipient)
        warnings += problems
        for address in addresses:
            if address == LOCAL_ROOT and book.hands_over_root:
                continue  # root_mail/ sees to it
            if is_address(address):
                wanted.setdefault(address.lower(), address)
            else:
                invalid.append(address)
    to = _shown(mail.to, wanted, book)
    cc = _shown(mail.cc, wanted, book)
    rest = tuple(Mailbox("", address) for address in wanted.values())
    if not to and not cc and len(rest) == 1:
        to, rest = rest, ()
    return Recipients(to, cc, rest, tuple(dict.fromkeys(invalid)), tuple(dict.fromkeys(warnings)))


def is_address(text: str) -> bool:
    """Is it an address that Graph may be asked to send to? One bad one would make Graph refuse the whole mail."""
    return bool(_ADDRESS.fullmatch(text)) and text.isprintable() and is_recipient(text)


def _shown(header: tuple[Mailbox, ...], wanted: dict[str, str], book: AddressBook) -> tuple[Mailbox, ...]:
    """The wanted addresses that a header names, each taken off `wanted`."""
    shown = []
    for mailbox in header:
        if not wanted:
            break
        for address in book.resolve(mailbox.address)[0]:
            if (key := address.lower()) in wanted:
                same = mailbox.address.lower() == key
                shown.append(Mailbox(mailbox.name if same else "", wanted.pop(key)))
    return tuple(shown)
