"""The Graph message's rules that the corpus does not show."""

import dataclasses

import pytest

from proxmox_graph_mail.graph.message import HEADER_LIMIT, SUBJECT_LIMIT, display_name, graph_message, message_id
from proxmox_graph_mail.log import duration
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.message.recipients import Recipients
from tests.message.test_corpus import AT, HANDED_IN

ONE = Recipients(to=(Mailbox("", "a@example.com"),))


def late(seconds: float) -> str:
    at = dataclasses.replace(AT, now=HANDED_IN + seconds)
    content: str = graph_message(Mail(text="x"), ONE, at)["body"]["content"]
    return content


def test_a_late_mail_says_so_at_its_top() -> None:
    """From 15 minutes on: when it was submitted, and how much later it was sent."""
    assert "Late:" not in late(899)
    assert "Delayed: submitted on pve1 at 2026-06-30 " in late(901)
    assert "sent 15 minutes later." in late(901)
    assert "sent 3 days 2 hours later." in late(3 * 86400 + 2 * 3600 + 120)


def test_a_late_mail_of_html_says_so_inside_its_body() -> None:
    """The note stands behind <body>."""
    at = dataclasses.replace(AT, now=HANDED_IN + 7200)
    content = graph_message(Mail(html="<html><body>x</body></html>"), ONE, at)["body"]["content"]
    assert content.startswith("<html><body><p")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 minutes"), (60, "1 minute"), (3660, "1 hour 1 minute"), (86400, "1 day"), (90061, "1 day 1 hour")],
)
def test_durations(seconds: float, text: str) -> None:
    """The two largest units."""
    assert duration(seconds) == text


def test_the_message_id_is_the_same_on_every_attempt() -> None:
    """The original's, or one of queue ID and host; never one that Graph would refuse."""
    assert message_id(Mail(message_id="<a@b>"), AT) == "<a@b>"
    made = message_id(Mail(), AT)
    assert made == "<0655F19D01A53F00AB@pve1.example.com>"
    assert made == message_id(Mail(), dataclasses.replace(AT, now=AT.now + 1000))
    assert message_id(Mail(message_id="<ü@b>"), AT) == made
    assert message_id(Mail(message_id="<a b@c>"), AT) == made


def test_a_long_subject_is_cut_and_said_in_full_in_the_body() -> None:
    """255 characters."""
    message = graph_message(Mail(subject="s" * 1000, text="x"), ONE, AT)
    assert len(message["subject"]) == SUBJECT_LIMIT
    assert "s" * 1000 in message["body"]["content"]


def test_at_most_five_headers_our_own_first() -> None:
    """The mail's X- headers fill what is left, but for those that mean nothing to a reader."""
    headers = (*((f"X-Own-{n}", "v") for n in range(9)), ("X-Cron-Env", "<SECRET=1>"), ("Received", "x"))
    names = [header["name"] for header in graph_message(Mail(headers=headers), ONE, AT)["internetMessageHeaders"]]
    assert names == ["X-Auto-Response-Suppress", "X-Original-Date", "X-Queue-ID", "X-Own-0", "X-Own-1"]
    assert len(names) == HEADER_LIMIT


def test_a_cloud_without_headers_gets_none() -> None:
    """China's message resource has no internetMessageHeaders."""
    assert "internetMessageHeaders" not in graph_message(Mail(), ONE, AT, headers=False)


def test_inline_images_need_a_body_that_can_show_them() -> None:
    """Without HTML, or with a Content-ID used twice, they are plain attachments."""
    image = Attachment("a.png", "image/png", b"x", inline=True, content_id="1")
    with_html = graph_message(Mail(html="<img src=cid:1>", attachments=(image, image)), ONE, AT)["attachments"]
    assert [file.get("isInline", False) for file in with_html] == [True, False]
    without = graph_message(Mail(text="x", attachments=(image,)), ONE, AT)["attachments"]
    assert "isInline" not in without[0]


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        (None, "root@pve1"),
        (Mailbox("Cron Daemon", "root"), "root@pve1 (Cron Daemon)"),
        (Mailbox("root", "root@pve1.example.com"), "root@pve1"),
        (Mailbox("Ops", "ops@example.org"), "Ops via pve1"),
        (Mailbox("", "ops@example.org"), "ops@example.org via pve1"),
        (Mailbox("a\nb", "root"), "root@pve1 (a b)"),
    ],
)
def test_the_display_name_tells_host_and_origin(sender: Mailbox | None, name: str) -> None:
    """So that a mailbox full of alarms shows at a glance where each comes from."""
    assert display_name(sender, AT) == name


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        (None, "alice@pve1"), (Mailbox("Cron Daemon", "root"), "root@pve1 (Cron Daemon) by alice"),
        (Mailbox("Ops", "ops@example.org"), "Ops via pve1 by alice"), (Mailbox("Alice", "alice@pve1"), "alice@pve1"),
        (Mailbox("", "bob"), "bob@pve1 by alice"),
    ],
)  # fmt: skip
def test_who_submitted_it_under_another_name_is_named(sender: Mailbox | None, name: str) -> None:
    """Any user can write `From: root (Cron Daemon)`; the reader sees whose mail it is, and so does a rule by its header."""
    alice = dataclasses.replace(AT, user="alice")
    assert display_name(sender, alice) == name
    headers = {one["name"]: one["value"] for one in graph_message(Mail(sender=sender), ONE, alice)["internetMessageHeaders"]}
    assert headers["X-Submitted-By"] == "alice@pve1"
    forged = graph_message(Mail(headers=(("X-Submitted-By", "root@pve1"),)), ONE, AT)["internetMessageHeaders"]
    assert "X-Submitted-By" not in {one["name"] for one in forged}


def test_f_s_full_name_is_used_where_there_is_no_from() -> None:
    """sendmail -F CronDaemon."""
    assert display_name(None, dataclasses.replace(AT, full_name="CronDaemon")) == "root@pve1 (CronDaemon)"


def test_whose_mail_it_is_is_not_cut_off_or_pushed_out_of_sight() -> None:
    """A long name, and letters that look like blanks: `by ct101` stays at the end, and in sight."""
    guest = dataclasses.replace(AT, user="ct101")
    for name in ("Cron Daemon)" + "\u2800" * 250, "x" * 300, "Cron Daemon)" + "\u3164" * 400):
        shown = display_name(Mailbox(name, "root@pve1"), guest)
        assert shown.endswith(" by ct101")
        assert len(shown) <= 256
        assert not set(shown) & {"\u2800", "\u3164"}
        assert display_name(Mailbox(name, "a@elsewhere.example"), guest).endswith(" via pve1 by ct101")
