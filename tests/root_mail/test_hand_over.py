"""Root's mail on its way through Proxmox's notification system: once, whatever is missing, hangs or goes round."""

import json
import os
import re
import time

import pytest

from tests.programs import Sandbox, eventually, subjects
from tests.proxmox.host import ProxmoxHost

MAIL = b"Subject: from cron\nTo: root\n\nbody\n"


def tried(pve: ProxmoxHost, status: int = 75) -> None:
    assert pve.host.admin("run", "--once").returncode == status


def recipients(sandbox: Sandbox) -> list[str]:
    return [
        person["emailAddress"]["address"]
        for mail in sandbox.accepted()
        for key in ("toRecipients", "ccRecipients", "bccRecipients")
        for person in mail["message"].get(key, [])
    ]


def test_root_s_mail_goes_through_the_notification_system(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """From the queue; in local(8)'s form; it comes back from there for root@pam's address, and is not handed over again."""
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    (queue_id,) = pve.host.queue()
    tried(pve)
    assert pve.asked() == [queue_id]
    assert pve.host.rows()[0]["reason"] == "being handed to Proxmox's notification system"
    assert sandbox.accepted() == []
    pve.hand_over()
    assert pve.asked() == []
    assert len(pve.host.queue()) == 2  # Proxmox's, and ours, which is done
    tried(pve, 0)
    assert pve.host.queue() == []
    (mail,) = sandbox.accepted()
    assert mail["message"]["subject"] == "from cron"
    assert recipients(sandbox) == ["admin@example.com"]
    log = "\n".join(pve.host.syslog.read())
    assert f"{queue_id}: to=<root>, relay=proxmox-mail-forward, status=sent" in log
    assert re.search(rf"runner\[\d+\]: {queue_id}: to=<root>, relay=proxmox-mail-forward, status=sent", log)
    assert "handed to Proxmox's notification system" in log


def test_what_proxmox_gets_is_what_local_would_pipe(pve: ProxmoxHost) -> None:
    """mbox line, Return-Path, X-Original-To, Delivered-To, then the message to the byte."""
    pve.forward_program.write_text(f"#!/bin/sh\ncat > {pve.root}/got\nenv > {pve.root}/env\n")
    pve.host.sendmail("-odq", "-f", "cron@pve1", "root", stdin=b"From x  Thu Jan  1 00:00:00 1970\nSubject: a\n\n\xff.\n")
    tried(pve)
    pve.hand_over()
    lines = (pve.root / "got").read_bytes().split(b"\n")
    assert lines[0].startswith(b"From cron@pve1  ")
    assert time.strptime(lines[0].decode().split("  ", 1)[1])
    assert lines[1] == b"Return-Path: <cron@pve1>"
    assert lines[2] == b"X-Original-To: root"
    assert lines[3].startswith(b"Delivered-To: root@")
    assert lines[4:] == [b"Subject: a", b"", b"\xff.", b""]
    environment = (pve.root / "env").read_text()
    assert "\nLOCAL=root\n" in f"\n{environment}"
    assert "SECRET" not in environment


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "proxmox-mail-forward ended with status 3"),
        ("#!/bin/sh\nkill -9 $$\n", "proxmox-mail-forward was ended by signal 9"),
        ("#!/nowhere\n", "proxmox-mail-forward cannot be run: No such file or directory"),
    ],
)
def test_what_fails_there_goes_to_the_administrator(pve: ProxmoxHost, sandbox: Sandbox, program: str, reason: str) -> None:
    """At once, and once; the log says why."""
    pve.forward_program.write_text(program)
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    tried(pve)
    pve.hand_over()
    tried(pve, 0)
    assert recipients(sandbox) == ["admin@example.com"]
    assert any(reason in line and "is sent to the administrator directly" in line for line in pve.host.syslog.read())


def test_what_cannot_reach_anybody_is_not_handed_over(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """proxmox-mail-forward ends with 0 whatever happens: without pmxcfs, and where root@pam has no address, it goes directly."""
    nodes = pve.root / "etc/pve/nodes"
    nodes.rename(pve.root / "aside")
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    tried(pve)
    pve.hand_over()
    tried(pve, 0)
    assert recipients(sandbox) == ["admin@example.com"]
    (pve.root / "aside").rename(nodes)
    (pve.root / "etc/pve/user.cfg").write_text("user:root@pam:1:0::::::\n")
    pve.host.settle(sandbox.settings(MAIL_TO="ops@example.com"))
    pve.refresh()
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    tried(pve, 0)
    assert recipients(sandbox) == ["admin@example.com", "ops@example.com"]


def test_other_targets_have_root_s_mail_while_graph_refuses_everything(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Suspended by another's refusal, or by settings that are broken: it is handed over all the same, and is done with then."""
    (pve.root / "etc/pve/notifications.cfg").write_text(
        "gotify: phone\n\tserver https://x\n\nmatcher: default-matcher\n\ttarget phone\n"
    )
    sandbox.control(roles=[])
    with pve.host.runner():
        pve.host.sendmail("ops@example.com", stdin=b"Subject: refused\n\nx\n")
        eventually(lambda: [row["state"] for row in pve.host.rows()] == ["held"], "it is held")
        pve.host.sendmail("root", stdin=MAIL)
        eventually(pve.asked, "it is handed over")
        pve.hand_over()
        eventually(lambda: len(pve.host.queue()) == 1, "root's mail is done with")
        pve.host.config.write_text("GRAPH_SENDER=nonsense\n")
        pve.host.sendmail("root", stdin=MAIL)
        eventually(pve.asked, "it is handed over, though the settings are broken")
        pve.hand_over()
        eventually(lambda: len(pve.host.queue()) == 1, "it is done with")
    assert (pve.root / "var/log/gotify").read_bytes().count(b"from cron") == 2


def test_a_hand_over_that_cannot_be_written_down_is_none(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """A full disk: it would be made again and again; the mail goes directly."""
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    (queue_id,) = pve.host.queue()
    (pve.host.spool / "queue" / f"{queue_id}.log").mkdir()
    tried(pve, 0)
    assert (pve.asked(), recipients(sandbox)) == ([], ["admin@example.com"])


def test_a_unit_that_never_comes_costs_three_minutes_and_no_mail(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """The second name is taken back before the mail is sent; before that an admin's flush does not make it come twice."""
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    (queue_id,) = pve.host.queue()
    tried(pve)
    assert pve.host.admin("queue", "flush").returncode == 75
    assert (pve.asked(), sandbox.accepted()) == ([queue_id], [])
    log = pve.host.spool / "queue" / f"{queue_id}.log"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(event | {"time": event["time"] - 200}) + "\n" for event in events))
    pve.host.make_due()
    tried(pve, 0)
    assert pve.asked() == []
    assert recipients(sandbox) == ["admin@example.com"]


def test_a_mail_for_root_and_for_others_reaches_each_once(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Root's part first, for a target may work where Graph does not; a failure at Graph hands nothing over again."""
    sandbox.faults({"on": "sendMail", "status": 500, "code": "x"})
    pve.host.sendmail("-odq", "root", "ops@example.com", stdin=MAIL)
    tried(pve)
    assert sandbox.accepted() == []
    pve.hand_over()
    for _ in range(3):
        pve.host.make_due()
        pve.host.admin("run", "--once")
        pve.hand_over()
    assert sorted(recipients(sandbox)) == ["admin@example.com", "ops@example.com"]
    assert pve.host.queue() == []


@pytest.mark.parametrize(
    ("argv", "mail"),
    [
        (["-N", "never", "--", "root"], MAIL), (["root"], b"Delivered-To: root@FQDN\n" + MAIL),
    ],
    ids=["-N never", "Delivered-To"],
)  # fmt: skip
def test_what_comes_back_is_not_handed_over_again(pve: ProxmoxHost, sandbox: Sandbox, argv: list[str], mail: bytes) -> None:
    """It goes to the administrator, once."""
    from proxmox_graph_mail.host import this_host

    pve.host.sendmail("-odq", *argv, stdin=mail.replace(b"FQDN", this_host().fqdn.encode()))
    tried(pve, 0)
    assert pve.asked() == []
    assert recipients(sandbox) == ["admin@example.com"]


def test_a_target_that_mails_local_root_ends(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """mailto root: Proxmox's sendmail call names root again."""
    (pve.root / "etc/pve/notifications.cfg").write_text("sendmail: mail-to-root\n\tmailto root\n")
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    for _ in range(4):
        pve.host.make_due()
        pve.host.admin("run", "--once")
        pve.hand_over()
    assert pve.host.queue() == []
    assert recipients(sandbox) == ["admin@example.com"]


@pytest.mark.parametrize(
    ("setting", "forward", "aliases", "handed"),
    [
        ("auto", "|/usr/libexec/proxmox-mail-forward\n", "", True), ("auto", "", "", False), ("always", "", "", True),
        ("never", "|/usr/libexec/proxmox-mail-forward\n", "", False),
        ("auto", "|/usr/libexec/proxmox-mail-forward\n", "root: other@example.com\n", False),
        ("auto", "|/usr/bin/proxmox-mail-forward\n", "www: root\n", True),
    ],
)  # fmt: skip
def test_who_decides(pve: ProxmoxHost, sandbox: Sandbox, setting: str, forward: str, aliases: str, handed: bool) -> None:
    """MAIL_FORWARD; by default .forward, where /etc/aliases leaves root's mail with root."""
    with pve.host.config.open("a") as file:
        file.write(f"MAIL_FORWARD={setting}\n")
    (pve.root / "root/.forward").write_text(forward)
    pve.host.aliases.write_text(aliases)
    pve.refresh()
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    pve.host.admin("run", "--once")
    assert len(pve.asked()) == handed
    assert ("notification system" in pve.host.admin("route", "root").stdout) is handed
    if not handed:
        eventually(sandbox.accepted, "it went directly")
        assert recipients(sandbox) == ["admin@example.com"]  # root@pam's address comes before /etc/aliases


def test_addresses_in_a_forward_file_get_their_copy(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """As with Postfix: the pipe and the addresses."""
    (pve.root / "root/.forward").write_text("me@example.com\n|/usr/libexec/proxmox-mail-forward\n")
    pve.refresh()
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    tried(pve)
    pve.hand_over()
    tried(pve, 0)
    assert sorted(recipients(sandbox)) == ["admin@example.com", "me@example.com"]


def test_what_an_admin_removed_is_not_handed_over(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Nor a file that somebody put into hand-over/ himself."""
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    tried(pve)
    (queue_id,) = pve.asked()
    os.link(pve.host.spool / "queue" / queue_id, pve.host.folder / "aside")
    assert pve.host.admin("queue", "remove", queue_id, "--yes").returncode == 0
    assert pve.asked() == []
    os.rename(pve.host.folder / "aside", pve.host.spool / "hand-over" / queue_id)
    (pve.host.spool / "hand-over" / "nonsense").write_text("x")
    os.symlink("/etc/passwd", pve.host.spool / "hand-over" / "0655F19D01A53F00AC")
    pve.host.sendmail("-odq", "root", stdin=MAIL)
    (other,) = pve.host.queue()
    os.link(pve.host.spool / "queue" / other, pve.host.spool / "hand-over" / other)
    os.mkfifo(pve.host.spool / "queue" / f"{other}.log")  # where root would write
    pve.hand_over()
    assert (pve.asked(), sandbox.accepted()) == ([], [])
    assert len(pve.host.queue()) == 2  # the other one, and Proxmox's


def test_the_sender_s_name_tells_the_cluster(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """`root@pve1 (prod)`."""
    (pve.root / "etc/pve/corosync.conf").write_text("totem {\n  cluster_name: prod\n}\n")
    pve.refresh()
    pve.host.sendmail("-odq", "ops@example.com", stdin=MAIL)
    tried(pve, 0)
    assert subjects(sandbox.accepted()) == ["from cron"]
    assert sandbox.accepted()[0]["message"]["from"]["emailAddress"]["name"].endswith(" (prod)")
