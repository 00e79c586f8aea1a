"""Once a day: the credential's end, and what failed; each said once."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pytest

from proxmox_graph_mail.admin.duties import Duties
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import Spool
from tests.programs import Host, Sandbox, eventually, subjects

TODAY = date(2026, 6, 30)


@contextmanager
def on(host: Host, day: date) -> Iterator[Duties]:
    """The duties of a day, in this process."""
    before = dict(os.environ)
    os.environ.update(host.env)
    try:
        yield Duties(Spool(str(host.spool)), host.state, lambda: day)
    finally:
        os.environ.clear()
        os.environ.update(before)


def queued(host: Host) -> list[str]:
    """The subjects that wait, and the queue empty."""
    found = []
    for queue_id in host.queue():
        message = host.message(queue_id).decode()
        found.append(message.partition("Subject: ")[2].partition("\n")[0])
        os.unlink(host.spool / "queue" / queue_id)
    return found


def test_the_end_is_said_at_each_stage_once_and_over_restarts(online: Host, sandbox: Sandbox) -> None:
    """60, 30, 14, 7 days before and then every day; a new end begins anew."""
    ends = TODAY + timedelta(61)
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES=ends.isoformat()))
    said = []
    for day in range(62):
        for _ in range(2):  # twice a day: a restart
            with on(online, TODAY + timedelta(day)) as duties:
                duties()
            if mails := queued(online):
                assert len(mails) == 1
                said.append(61 - day)
                assert f"the client secret expires {'today' if day == 61 else ''}" in mails[0]
    assert said == [60, 30, 14, 7, 6, 5, 4, 3, 2, 1, 0]
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES=(TODAY + timedelta(70)).isoformat()))
    with on(online, TODAY + timedelta(61)) as duties:
        duties()
    assert len(queued(online)) == 1


def test_the_mail_says_what_to_renew_and_how(online: Host, sandbox: Sandbox) -> None:
    """To the administrator."""
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES=(TODAY + timedelta(5)).isoformat()))
    with on(online, TODAY) as duties:
        duties()
    (queue_id,) = online.queue()
    assert online.envelope(queue_id)["recipients"] == ["admin@example.com"]
    text = online.message(queue_id).decode()
    assert "expires in 5 days" in text
    assert "proxmox-graph-mail rotate" in text
    assert f"client ID {sandbox.about['client']}, tenant {sandbox.about['tenant']}" in text


def test_in_a_cluster_the_first_node_alone_speaks(online: Host, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the credential is the cluster's."""

    here = os.uname().nodename.lower().partition(".")[0]
    monkeypatch.setattr("proxmox_graph_mail.paths.CLUSTER_SETTINGS", str(online.config))
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES=(TODAY + timedelta(5)).isoformat()))
    for nodes, mails in (([here, "zzz"], 1), (["aaa", here], 0), ([], 1)):
        (online.facts / "host.json").write_text(json.dumps({"nodes": nodes}))
        (online.state / "duties.json").unlink(missing_ok=True)
        with on(online, TODAY) as duties:
            duties()
        assert len(queued(online)) == mails


def failed(host: Host, state: str, hours: float) -> str:
    """A message of that age in that state."""
    queue_id = f"{int((time.time() - hours * 3600) * 1e6):013X}ABCDE"
    folder = host.spool / ("failed" if state == "failed" else "queue")
    line = {"version": 1, "arrived": time.time() - hours * 3600, "uid": 0, "sender": "root", "recipients": ["ops@example.com"],
            "full_name": "", "notify": ""}  # fmt: skip
    (folder / queue_id).write_text(json.dumps(line) + "\nSubject: secret words\n\nsecret body\n")
    journal.append(str(folder), queue_id, Event(time.time(), journal.ATTEMPT, state, f"because it {state}", attempts=2))
    return queue_id


def test_what_failed_is_reported_once_a_day(online: Host) -> None:
    """With subject (which backup?), ID, reason and what to do; not the mail's body; nothing while all goes well, or while nothing would go."""
    with on(online, TODAY) as duties:
        duties()
    assert queued(online) == []
    one, other = failed(online, "failed", 2), failed(online, "deferred", 30)
    failed(online, "failed", 0.1)
    for _ in range(2):
        with on(online, TODAY) as duties:
            duties()
    (report,) = [queue_id for queue_id in online.queue() if queue_id != other]
    text = online.message(report).decode()
    assert "2 messages not sent" in text
    assert f"{one}  failed" in text
    assert "because it failed" in text
    assert "secret words\n" in text
    assert "secret body" not in text
    os.unlink(online.spool / "queue" / report)
    failed(online, "held", 2)
    record = Record(online.state)
    for state, mails in (("held", 2), ("sent", 3)):
        record.add(time=time.time(), id="x", state=state)
        with on(online, TODAY + timedelta(1)) as duties:
            duties()
        assert len(online.queue()) == mails


def test_settings_that_cannot_be_read_are_no_duty(online: Host) -> None:
    """The runner says so."""
    online.config.write_text("GRAPH_SENDER=x\n")
    with on(online, TODAY) as duties:
        duties()
    assert online.queue() == []


def test_the_runner_does_them(online: Host, sandbox: Sandbox) -> None:
    """When it starts; the mail goes, and in the last fortnight each mail has a line about it."""
    ends = date.today() + timedelta(10)
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES=ends.isoformat()))
    with online.runner():
        online.sendmail("root", stdin=b"Subject: another\n\nx\n")
        eventually(lambda: len(sandbox.accepted()) == 2, "both arrive")
    for mail in sandbox.accepted():
        assert f"The client secret expires in 10 days, on {ends}. Without renewal, " in mail["message"]["body"]["content"]
    assert any("expires in" in subject for subject in subjects(sandbox.accepted()))


def test_the_alarm_is_given_and_cleared(online: Host, sandbox: Sandbox) -> None:
    """A secret that is wrong for a quarter of an hour: ALARM_COMMAND, the login message, status; then the all-clear."""
    told = online.folder / "told"
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET="wrong~secret", ALARM_COMMAND=f"'cat >> {told}'"))
    online.sendmail("-odq", "root")
    assert online.admin("run", "--once").returncode == 75
    path = online.state / "alarm.json"
    since = json.loads(path.read_text())
    path.write_text(json.dumps(since | {"since": since["since"] - 1000}))
    online.make_due()
    assert online.admin("run", "--once").returncode == 75
    assert "no mail has left this host for 16 minutes" in told.read_text()
    assert "the client secret is wrong" in (online.state / "motd").read_text()
    assert "the client secret is wrong" in json.loads(online.admin("status", "--json").stdout)["alarm"]
    assert online.admin("status", "--nagios").returncode == 2
    assert any("ALARM: no mail has left" in line for line in online.syslog.read())
    online.settle(sandbox.settings(ALARM_COMMAND=f"'cat >> {told}'"))
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert told.read_text().splitlines()[1].startswith("all clear: mail is leaving this host again")
    assert not (online.state / "motd").exists()


def test_a_user_s_limit_and_what_was_removed_are_reported_once(online: Host) -> None:
    """Who was refused for the number of recipients, and which failed mail is gone; nothing of it the next day."""
    now = int(time.time())
    (online.spool / "users").mkdir()
    (online.spool / "users" / "65534").write_text(f"0 0 {now} {now // 3600}:500 refused:{now}\n")
    (online.spool / "users" / "4242").write_text(f"0 0 {now} {now // 3600}:500\n")
    with on(online, TODAY) as duties:
        duties(["0123456789ABC00000", "0123456789ABC00001"])
        duties(["0123456789ABC00002"])
    (queue_id,) = online.queue()
    text = online.message(queue_id).decode()
    assert "Mail of nobody (uid 65534) was refused: more than 500 recipients in 24 hours (USER_DAILY_RECIPIENTS)." in text
    assert "4242" not in text
    assert "users' failed mail, 2 messages: 0123456789ABC00000 0123456789ABC00001." in text
    os.unlink(online.spool / "queue" / queue_id)
    (online.spool / "users" / "65534").unlink()
    with on(online, TODAY + timedelta(1)) as duties:
        duties()
    (queue_id,) = online.queue()
    assert "1 message: 0123456789ABC00002." in online.message(queue_id).decode()
    os.unlink(online.spool / "queue" / queue_id)
    with on(online, TODAY + timedelta(2)) as duties:
        duties()
    assert online.queue() == []


def test_the_day_s_recipients_are_reported_from_80_percent_on(online: Host) -> None:
    """Who used them; below that nothing."""
    ledger, now = Ledger(str(online.spool)), time.time()
    ledger.limit = 10
    ledger.add(0, 7, now)
    ledger.write(now)
    with on(online, TODAY) as duties:
        duties()
    assert online.queue() == []
    ledger.add(65534, 1, now)
    ledger.write(now)
    with on(online, TODAY) as duties:
        duties()
    (queue_id,) = online.queue()
    text = online.message(queue_id).decode()
    assert "the mailbox's daily limit is near" in text.partition("\n")[0]
    assert "8 of the mailbox's 10 recipients in 24 hours are used: root 7, nobody 1." in text
