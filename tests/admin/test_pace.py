"""What an admin sees of the mailbox's pace: lanes and places, the day's recipients, and what a digest would say."""

import json
import time

from proxmox_graph_mail.spool.ledger import Ledger
from tests.programs import Host, Sandbox, eventually, subjects


def test_the_list_shows_lane_and_place_and_why_it_waits(online: Host, sandbox: Sandbox) -> None:
    """Alarms first, whoever came first; what waits for the pace is queued, and says so."""
    online.settle(sandbox.settings(MAILBOX_RATE="2"))
    with online.runner():
        for subject in (b"one", b"two", b"three"):
            assert online.sendmail("root", stdin=b"Subject: %s\n\nx\n" % subject).returncode == 0
        eventually(sandbox.accepted, "the first one arrives")
        rows = online.rows()
    assert {(row["state"], row["lane"], row["attempts"]) for row in rows} == {("queued", 3, 0)}
    assert sorted(row["place"] for row in rows) == list(range(1, len(rows) + 1))
    online.sendmail("-odq", "root", stdin=b"Importance: high\nSubject: alarm\n\nx\n")
    first = next(row for row in online.rows() if row["place"] == 1)
    assert first["lane"] == 1
    shown = online.sendmail(name="mailq", stdin=b"").stdout.decode()
    assert "(queued: the mailbox takes 2 a minute; lane 3, place 2" in shown


def test_preview_tells_the_lane_and_why(online: Host) -> None:
    """By the mark, or by how it was handed in."""
    assert "lane:       1, alarm: X-Priority: 1" in online.admin("preview", "-", stdin=b"X-Priority: 1\nSubject: x\n\nx\n").stdout
    assert "lane:       3, root's mail" in online.admin("preview", "-", stdin=b"Subject: x\n\nx\n").stdout
    online.sendmail("-odq", "-B", "8BITMIME", "-f", "root", "--", "root", stdin=b"Subject: x\n\nx")
    assert "lane:       2, Proxmox's notification: handed in as" in online.admin("preview", online.queue()[0]).stdout


def test_near_the_daily_limit_everybody_says_who_used_it(online: Host, sandbox: Sandbox) -> None:
    """From 80 % on: status, Nagios, Prometheus, check; and the time when it goes on."""
    online.settle(sandbox.settings(MAILBOX_DAILY_RECIPIENTS="10"))
    for number in range(8):
        online.sendmail("-odq", "root", stdin=b"Subject: %d\n\nx\n" % number)
    assert online.admin("run", "--once").returncode == 0
    told = "8 of the mailbox's 10 recipients in 24 hours are used: root 8"
    assert told in " ".join(online.admin("status").stdout.split())
    nagios = online.admin("status", "--nagios")
    assert (nagios.returncode, told in nagios.stdout) == (1, True)
    assert "proxmox_graph_mail_recipients_24h 8" in online.admin("status", "--prometheus").stdout
    assert "mailbox's 10 recipients" in " ".join(online.admin("check").stdout.split())
    for number in range(4):
        online.sendmail("-odq", "root", stdin=b"Subject: more %d\n\nx\n" % number)
    online.sendmail("-odq", "root", stdin=b"Subject: FENCE\nPriority: urgent\n\nx\n")
    assert online.admin("run", "--once").returncode == 75
    assert len(sandbox.accepted()) == 10
    assert "FENCE" in subjects(sandbox.accepted())
    assert len(online.queue()) == 3
    assert "mail waits until " in online.admin("status", "--json").stdout
    assert online.admin("status", "--nagios").returncode == 2
    assert "10 recipients in 24 hours are used" in online.rows()[0]["reason"]
    assert online.admin("queue", "flush", "--at-once").returncode == 0
    assert online.queue() == []


def test_a_ledger_that_is_torn_costs_what_cannot_be_read(online: Host) -> None:
    """Never an exception, never a mail."""
    now = time.time()
    (online.spool / "ledger").write_bytes(
        b"\xff\xfe 1\n%d 0 5\nwaits x\npace 1 2\nalike\nlimit\n%d 0\n" % (now // 3600, now // 3600)
    )
    assert Ledger(str(online.spool)).total(now) == 5
    online.sendmail("-odq", "root")
    assert online.admin("run", "--once").returncode == 0


def test_preview_of_a_digest_is_what_goes(online: Host, sandbox: Sandbox) -> None:
    """Made of its members."""
    online.settle(sandbox.settings(DIGEST="1,60,15"))
    sandbox.faults({"on": "sendMail", "status": 503, "times": 100})
    for number in range(3):
        online.sendmail("-odq", "root", stdin=b"Subject: job %d\n\nline %d\n" % (number, number))
    assert online.admin("run", "--once").returncode == 75
    digest = online.queue()[-1]
    message = json.loads(online.admin("preview", digest, "--json").stdout)
    assert message["subject"] == "[2 more] job 2"
    assert "2 more mails like those before" in message["body"]["content"]
