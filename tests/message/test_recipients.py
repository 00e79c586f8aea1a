"""Who gets a mail: the envelope, through aliases and MAIL_TO; the headers only arrange it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.host import Host, this_host
from proxmox_graph_mail.message.aliases import Aliases, read_aliases
from proxmox_graph_mail.message.mail import Mail, Mailbox
from proxmox_graph_mail.message.recipients import AddressBook, Recipients, is_address, recipients

HOST = Host(name="pve1", fqdn="pve1.example.com", names=frozenset({"pve1", "pve1.example.com", "localhost"}))
SENDER = "pve@example.com"


def book_of(text: str = "", mail_to: tuple[str, ...] = (), tmp: Path | None = None) -> AddressBook:
    if tmp is None:
        return AddressBook(HOST, Aliases(), mail_to, SENDER)
    (tmp / "aliases").write_text(text)
    return AddressBook(HOST, read_aliases(tmp / "aliases"), mail_to, SENDER)


def to(*addresses: str) -> Mail:
    return Mail(to=tuple(Mailbox("", address) for address in addresses))


def shown(found: Recipients) -> tuple[list[str], list[str], list[str]]:
    return tuple([m.address for m in kind] for kind in (found.to, found.cc, found.bcc))  # type: ignore[return-value]


ALIASES = """\
# a comment
postmaster: root
"www-data":	web@example.com, root
team: a@example.com,
	b@example.com
loop1: loop2
loop2: loop1
self: self, x@example.com
pipe: "|/usr/bin/prog a, b", keep@example.com
file: /var/mail/file
null: /dev/null
local: \\local
broken line
deep: team, www-data
"""


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("root", ["admin@example.com"]),
        ("ROOT@localhost", ["admin@example.com"]),
        ("root@pve1.example.com", ["admin@example.com"]),
        ("root@PVE1", ["admin@example.com"]),
        ("root@pve2", ["admin@example.com"]),  # a neighbour without a domain: Exchange could not deliver it
        ("postmaster", ["admin@example.com"]),
        ("www-data", ["web@example.com", "admin@example.com"]),
        ("www-data+tag", ["web@example.com", "admin@example.com"]),
        ("team@localhost", ["a@example.com", "b@example.com"]),
        ("deep", ["a@example.com", "b@example.com", "web@example.com", "admin@example.com"]),
        ("loop1", ["admin@example.com"]),
        ("self", ["x@example.com"]),
        ("pipe", ["keep@example.com"]),
        ("file", ["admin@example.com"]),
        ("null", ["admin@example.com"]),
        ("local", ["admin@example.com"]),
        ("unknown", ["admin@example.com"]),
        ("someone@example.org", ["someone@example.org"]),
    ],
)
def test_local_names_lead_somewhere(tmp_path: Path, recipient: str, expected: list[str]) -> None:
    """Lists, recursion, loops; pipes and files are passed over; what stays local goes to MAIL_TO."""
    assert list(book_of(ALIASES, ("admin@example.com",), tmp_path).resolve(recipient)[0]) == expected


def test_root_is_mail_to_s_and_without_it_the_alias_s(tmp_path: Path) -> None:
    """MAIL_TO is the product's own word; /etc/aliases the default."""
    text = "root: me\nme: me@example.com, other@example.com\n"
    assert book_of(text, ("admin@example.com",), tmp_path).resolve("root")[0] == ("admin@example.com",)
    assert book_of(text, (), tmp_path).resolve("root")[0] == ("me@example.com", "other@example.com")
    assert book_of(text, (), tmp_path).resolve("daemon")[0] == ("me@example.com", "other@example.com")


def test_where_nobody_is_named_the_sending_mailbox_gets_it_with_a_warning() -> None:
    """Never nowhere."""
    found, warnings = book_of().resolve("root")
    assert found == (SENDER,)
    assert "MAIL_TO" in warnings[0]


def test_include_files_are_read_and_hold_no_commands(tmp_path: Path) -> None:
    """:include: gives addresses; a pipe in it is not taken; an absent file is a warning."""
    (tmp_path / "list").write_text("# people\na@example.com, b@example.com\n|/bin/sh\n/etc/passwd\nB Name <c@example.com>\n")
    text = f'all: :include:{tmp_path}/list\ngone: :include:{tmp_path}/nothing\nquoted: ":include:{tmp_path}/list"\n'
    book = book_of(text, ("admin@example.com",), tmp_path)
    assert book.resolve("all")[0] == ("a@example.com", "b@example.com", "c@example.com")
    assert book.resolve("quoted")[0] == ("a@example.com", "b@example.com", "c@example.com")
    found, warnings = book.resolve("gone")
    assert found == ("admin@example.com",)
    assert "No such file" in warnings[0]


def test_pipes_are_reported_and_never_run(tmp_path: Path) -> None:
    """The warning names the alias."""
    _, warnings = book_of(f'x: "|touch {tmp_path}/ran"\n', ("admin@example.com",), tmp_path).resolve("x")
    assert "not supported" in warnings[0]
    assert not (tmp_path / "ran").exists()


def test_the_organisation_s_own_domain_is_never_local() -> None:
    """/etc/mailname, or a host's name, may be the domain of everybody's mail."""
    host = Host(name="example", fqdn="example.com", names=frozenset({"example", "example.com"}))
    book = AddressBook(host, Aliases({"boss": ("x@example.org",)}), ("admin@example.net",), SENDER)
    assert book.resolve("boss@example.com")[0] == ("boss@example.com",)
    assert book.resolve("boss@example.net")[0] == ("boss@example.net",)
    assert book.resolve("boss")[0] == ("x@example.org",)


def test_aliases_that_lead_to_root_lead_to_mail_to(tmp_path: Path) -> None:
    """postmaster: root, root: an old address; MAIL_TO is the newer word."""
    text = "postmaster: root\nroot: old@example.org\n"
    assert book_of(text, ("admin@example.com",), tmp_path).resolve("postmaster")[0] == ("admin@example.com",)
    assert book_of(text, (), tmp_path).resolve("postmaster")[0] == ("old@example.org",)


def test_an_include_that_is_a_fifo_does_not_hang(tmp_path: Path) -> None:
    """Nor does a directory."""
    import os

    os.mkfifo(tmp_path / "fifo")
    text = f"a: :include:{tmp_path}/fifo\nb: :include:{tmp_path}\n"
    for name in "ab":
        assert book_of(text, ("admin@example.com",), tmp_path).resolve(name)[0] == ("admin@example.com",)


@pytest.mark.parametrize(
    "text",
    ["x@a-.com", "a\x80b@x.com", "a\u202eb@x.com", f"x@{'l' * 64}.com", f"{'l' * 65}@x.com", "x@1.2", "x@y", "@x.y", "a..b@x.y"],
)
def test_what_exchange_would_refuse_is_no_address(text: str) -> None:
    """One of them would make Graph refuse the mail for all."""
    assert not is_address(text)


def test_headers_arrange_what_the_envelope_names() -> None:
    """To and Cc in their order, with their names; the rest Bcc; nobody from the header alone."""
    mail = Mail(
        to=(Mailbox("Ops", "OPS@example.com"), Mailbox("", "stranger@example.org"), Mailbox("", "root")),
        cc=(Mailbox("", "cc@example.com"), Mailbox("", "ops@example.com")),
    )
    envelope = ["hidden@example.com", "cc@example.com", "ops@example.com", "root", "admin@example.com"]
    found = recipients(envelope, mail, book_of(mail_to=("admin@example.com",)))
    assert shown(found) == (["ops@example.com", "admin@example.com"], ["cc@example.com"], ["hidden@example.com"])
    assert found.to[0].name == "Ops"


def test_a_single_recipient_whom_no_header_names_is_to() -> None:
    """…two are Bcc: neither shall see the other."""
    assert shown(recipients(["x@example.com"], to("y@example.com"), book_of())) == (["x@example.com"], [], [])
    two = recipients(["x@example.com", "z@example.com"], to("y@example.com"), book_of())
    assert shown(two) == ([], [], ["x@example.com", "z@example.com"])


def test_what_is_no_address_is_told_apart() -> None:
    """Graph would refuse the whole mail for one."""
    found = recipients(["good@example.com", "bad@ex ample.com", "a@b@c.d", "x@-.de", "ü@example.com"], Mail(), book_of())
    assert [m.address for m in found.bcc] == ["good@example.com", "ü@example.com"]
    assert found.invalid == ("bad@ex ample.com", "a@b@c.d", "x@-.de")


@given(st.lists(st.text(max_size=20) | st.emails(), max_size=6), st.lists(st.emails(), max_size=4))
def test_exactly_the_envelope_gets_the_mail(envelope: list[str], header: list[str]) -> None:
    """Every address once, every one of them valid, none that the envelope did not lead to."""
    book = book_of(mail_to=("admin@example.com",))
    found = recipients(envelope, to(*header), book)
    reached = {address.lower() for recipient in envelope for address in book.resolve(recipient)[0] if is_address(address)}
    got = [address.lower() for address in found.addresses()]
    assert sorted(got) == sorted(reached)


@pytest.mark.parametrize(
    ("hosts", "mailname", "node", "fqdn", "local"),
    [
        ("127.0.0.1 localhost\n192.0.2.1 pve1.example.com pve1\n", "", "pve1", "pve1.example.com", "pve1.example.com"),
        ("", "mail.example.com\n", "pve1", "mail.example.com", "pve1"),
        ("", "pve1.example.com\n", "pve1", "pve1.example.com", "pve1.example.com"),
        ("", "", "pve1.example.com", "pve1.example.com", "pve1"),
        ("", "", "pve1", "pve1", "localhost"),
    ],
)
def test_the_host_s_names_come_from_files(tmp_path: Path, hosts: str, mailname: str, node: str, fqdn: str, local: str) -> None:
    """uname, /etc/hosts and /etc/mailname; no DNS."""
    (tmp_path / "hosts").write_text(hosts)
    if mailname:
        (tmp_path / "mailname").write_text(mailname)
    host = this_host(str(tmp_path / "hosts"), str(tmp_path / "mailname"), node)
    assert (host.name, host.fqdn) == (node.partition(".")[0], fqdn)
    assert host.is_local(local)
    assert not host.is_local("example.org")


def test_one_address_in_two_letter_cases_gets_one_copy() -> None:
    """Exchange Online does not tell them apart; nor do several header fields make it two."""
    found = recipients(["A@example.com", "a@EXAMPLE.com"], to("a@example.com", "A@Example.Com"), book_of())
    assert [address.lower() for address in found.addresses()] == ["a@example.com"]
