"""sendmail's command line: the whole grammar of its common implementations."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.errors import UsageError
from proxmox_graph_mail.submission import options
from tests.programs import Host

REAL_CALLERS = [
    # (argv, sender, operands, -t, -i)
    ("-B 8BITMIME -f root -- admin@example.com ops@example.com", "root", ["admin@example.com", "ops@example.com"], False, False),
    ("-N never -f root@pve1 -- admin@example.com", "root@pve1", ["admin@example.com"], False, False),
    ("-FCronDaemon -i -B8BITMIME -oem root", None, ["root"], False, True),
    ("-FCronDaemon -i -odi -oem -oi -t -f root", "root", [], True, True),
    ("-i -B 8BITMIME root", None, ["root"], False, True),
    ("-FAnacron -odi root", None, ["root"], False, False),
    ("-i -t", None, [], True, True),
    ("-oi -t", None, [], True, True),
    ("-ti", None, [], True, True),
    ("-it", None, [], True, True),
    ("-t -i -fwww@example.com", "www@example.com", [], True, True),
    ("-oem -oi -f me@example.com -- a@example.com", "me@example.com", ["a@example.com"], False, True),
    ("-oi -f user@host -t", "user@host", [], True, True),
    ("-i -F Name -f a@b.c -- x@example.com", "a@b.c", ["x@example.com"], False, True),
    ("-oi -oem -t -fADDR", "ADDR", [], True, True),
    ("-f FROM -i -- x@example.com", "FROM", ["x@example.com"], False, True),
    ("-i -t -v", None, [], True, True),
    ("-r from@example.com -t", "from@example.com", [], True, False),
    ("-oitrue root", None, ["root"], False, True),
    ("-G -i -f s@x -- root", "s@x", ["root"], False, True),
    ("-V envid -R hdrs -N success,failure root", None, ["root"], False, False),
    ("-Vid -Rfull root", None, ["root"], False, False),
    ("-X /tmp/log -C /tmp/cf -O Timeout=1 -p smtp -L tag -h 3 root", None, ["root"], False, False),
    ("-X/tmp/log -C/tmp/cf -OTimeout=1 -psmtp -Ltag -h3 -d0-4.8 -Ac -Am root", None, ["root"], False, False),
    ("-em -ep -eq -U -m -n -x -E -G -bm root", None, ["root"], False, False),
    ("-oMrlocal -o7 -oA/etc/aliases -om root", None, ["root"], False, False),
]


@pytest.mark.parametrize(("argv", "sender", "operands", "extract", "dot"), REAL_CALLERS, ids=[c[0] for c in REAL_CALLERS])
def test_what_real_callers_pass_is_understood(
    argv: str, sender: str | None, operands: list[str], extract: bool, dot: bool
) -> None:
    """Proxmox, cron, mail(1), PHP, git and the others mean the same here as with any common MTA."""
    asked = options.parse("sendmail", argv.split())
    assert asked.mode == options.DELIVER
    assert (asked.sender, asked.operands, asked.extract, asked.dot_is_data) == (sender, operands, extract, dot)


@pytest.mark.parametrize(
    ("name", "argv", "mode"),
    [
        ("sendmail", "-bp", options.LIST), ("mailq", "", options.LIST), ("mailq", "-v --json", options.LIST),
        ("sendmail", "-bi", options.NEWALIASES), ("newaliases", "", options.NEWALIASES), ("sendmail", "-I", options.NEWALIASES),
        ("sendmail", "-bs", options.SMTP), ("sendmail", "-bs -odb -oem", options.SMTP), ("sendmail", "-bv root", options.VERIFY),
        ("sendmail", "-q", options.RUN_QUEUE), ("sendmail", "-qf", options.RUN_QUEUE), ("sendmail", "-q30m", options.RUN_QUEUE),
        ("sendmail", "-qRexample", options.RUN_QUEUE), ("sendmail", "-bh", options.NOTHING),
        ("sendmail", "--help", options.HELP), ("sendmail", "--version", options.VERSION),
    ],
)  # fmt: skip
def test_modes_and_names(name: str, argv: str, mode: str) -> None:
    """-b, -q, -I and the names mailq and newaliases choose what is done."""
    assert options.parse(name, argv.split()).mode == mode


@pytest.mark.parametrize(
    ("argv", "delivery"),
    [("-odb", "b"), ("-odi", "i"), ("-odq", "q"), ("-odd", "q"), ("-odf", "b"), ("-o di", "i"), ("", "b")],
)
def test_delivery_modes(argv: str, delivery: str) -> None:
    """-odX says whether to wait."""
    assert options.parse("sendmail", [*argv.split(), "root"]).delivery == delivery


@pytest.mark.parametrize(
    "argv", ["-Z root", "-s subject root", "--foo", "--from=x", "-bd", "-bD", "-bt", "-bZ", "-f", "root -t", "-q root", "-bl"]
)
def test_what_no_mta_knows_is_a_usage_error_in_one_sentence(argv: str) -> None:
    """An unknown option, an option behind a recipient, a daemon that is not there."""
    with pytest.raises(UsageError) as caught:
        options.parse("sendmail", argv.split())
    assert caught.value.status == 64
    assert "\n" not in str(caught.value)


def test_a_recipient_that_begins_with_a_dash_needs_two_dashes() -> None:
    """Behind -- everything is a recipient."""
    assert options.parse("sendmail", ["-i", "--", "-x@example.com", "-t"]).operands == ["-x@example.com", "-t"]


@given(st.lists(st.text(max_size=12) | st.text(string.ascii_letters + "-", max_size=5).map("-".__add__), max_size=6))
def test_any_argv_is_understood_or_refused(argv: list[str]) -> None:
    """No argv raises anything but UsageError, and operands are always a tail of argv."""
    try:
        asked = options.parse("sendmail", argv)
    except UsageError:
        return
    assert argv[len(argv) - len(asked.operands) :] == asked.operands


def test_any_argv_ends_with_a_status_of_sysexits(host: Host) -> None:
    """The real program, with argv of every kind, ends with 0 or a status of sysexits.h, and never with a traceback."""
    words = ["-t", "-i", "-bp", "-bi", "-bv", "-q", "-Z", "--", "root", "a@b.c, d@e.f", "\udcff", "-f", "", "-F\x1b[1m", "x\ny"]
    for first in words:
        for second in ("", "root", "-odq"):
            done = host.sendmail(*(word for word in (first, second) if word))
            assert done.returncode == 0 or 64 <= done.returncode <= 78, (first, second, done)
            assert b"Traceback" not in done.stderr
            assert done.stderr.count(b"\n") <= 1, done.stderr
