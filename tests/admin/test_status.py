"""`status`, `log` and `test`: what was sent, what waits, and one mail watched on its way."""

import json
import re
import time
from typing import Any

import pytest

from proxmox_graph_mail.admin import state as state_module
from proxmox_graph_mail.admin.status import metrics, nagios_line
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.spool import journal, suspended
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.suspended import Suspended
from tests.programs import Host, Sandbox, subjects


def some_mail(host: Host, sandbox: Sandbox) -> None:
    """Two sent (one after an uncertain answer), one failed, one deferred."""
    sandbox.faults({"on": "sendMail", "do": "cut_before"})
    host.sendmail("-odq", "ops@example.com", stdin=b"Subject: first\n\nx\n")
    host.admin("run", "--once")
    host.make_due()
    host.sendmail("-odq", "ops@example.com", stdin=b"Subject: second\n\nx\n")
    host.admin("run", "--once")
    host.sendmail("-odq", "bad@exa_mple.com", stdin=b"Subject: third\n\nx\n")
    host.admin("run", "--once")
    sandbox.faults({"on": "sendMail", "status": 500, "code": "x"})
    host.sendmail("-odq", "ops@example.com", stdin=b"Subject: fourth\n\nx\n")
    host.admin("run", "--once")


def state(host: Host) -> dict[str, Any]:
    done = host.admin("status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_status_counts(online: Host, sandbox: Sandbox) -> None:
    """The queue by state, today, the last success, uncertain answers; no secret; a person's view and Prometheus'."""
    some_mail(online, sandbox)
    found = state(online)
    assert found["queue"] | {"oldest": 0} == {"queued": 0, "deferred": 1, "held": 0, "failed": 1, "oldest": 0}
    assert (found["today"]["sent"], found["today"]["failed"], found["uncertain"]) == (2, 1, 2)
    assert found["last_success"]
    assert found["credential"] == {"kind": "secret", "ends": None, "days": None}
    assert re.fullmatch(r"[0-9a-f]{12}", found["settings"]["fingerprint"])
    assert sandbox.about["secret"] not in json.dumps(found)
    text = online.admin("status").stdout
    assert "queue:        1 deferred, 1 failed" in text
    assert "uncertain:    2 on record" in text
    prometheus = online.admin("status", "--prometheus").stdout
    assert 'proxmox_graph_mail_queue_messages{state="deferred"} 1\n' in prometheus
    for line in prometheus.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .*|\w+(\{\w+=\"\w+\"\})? [0-9.e+-]+", line), line


def test_settings_that_cannot_be_read_do_not_stop_status(online: Host) -> None:
    """They are part of it."""
    online.config.write_text("GRAPH_SENDER=x\n")
    assert "GRAPH_SENDER: not a mail address" in state(online)["settings"]["error"]
    assert online.admin("status", "--nagios").returncode == 2


FINE: dict[str, Any] = {
    "queue": {"queued": 0, "deferred": 0, "held": 0, "failed": 0, "oldest": 0}, "reasons": [], "alarm": None, "last_success": None,
    "mailbox": {"recipients": 3, "limit": 10_000, "by_user": {"root": 3}, "near": ""},
    "today": {"sent": 3, "failed": 0, "throttled": 0, "uncertain": 0}, "uncertain": 0,
    "service": {"state": "inactive", "text": "", "restarts": 0},
    "settings": {"error": None, "fault": None}, "spool": [], "units": [], "watch": {"alarm": None, "last_look": None, "alive": None},
    "credential": {"kind": "secret", "ends": "2027-01-01", "days": 300},
}  # fmt: skip

HELD = {"state": "held", "reason": "no mailbox", "messages": 1}
FAILED = {"state": "failed", "reason": "no such recipient", "messages": 3}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({}, 0, "OK - no problems | queued=0"), ({"queue": FINE["queue"] | {"failed": 2}}, 1, "2 failed"),
        ({"queue": FINE["queue"] | {"held": 1}, "reasons": [HELD]}, 2, "1 held (no mailbox)"),
        ({"queue": FINE["queue"] | {"held": 1, "failed": 3}, "reasons": [FAILED, HELD]},
         2, "CRITICAL - 1 held (no mailbox); 3 failed (no such recipient) |"),
        ({"queue": FINE["queue"] | {"held": 1}, "reasons": [HELD | {"reason": "a|b\nc"}]}, 2, "held (a/b c) | queued="),
        ({"spool": ["the spool is read-only; remount it"]}, 2, "CRITICAL - the spool is read-only"),
        ({"units": ["x.service keeps restarting (4 times): no right"]}, 2, "keeps restarting (4 times): no right"),
        ({"watch": {"alarm": "mail is due", "last_look": None, "alive": None}}, 2, "the watch says: mail is due"),
        ({"settings": {"error": None, "fault": "cannot read /x.pem"}}, 2, "CRITICAL - cannot read /x.pem"),
        ({"queue": FINE["queue"] | {"deferred": 1, "oldest": 7300}}, 1, "mail has waited for 2 hours 1 minute"),
        ({"credential": FINE["credential"] | {"days": 20}}, 1, "the credential expires in 20 days"),
        ({"credential": FINE["credential"] | {"days": 3}}, 2, "the credential expires in 3 days"), ({"credential": None}, 0, "OK"),
        ({"mailbox": FINE["mailbox"] | {"recipients": 8100, "near": "8100 of the mailbox's 10000"}}, 1, "8100 of the mailbox's 10000"),
        ({"mailbox": FINE["mailbox"] | {"recipients": 10_000, "near": "10000 of the"}}, 2, "10000 of the"),
        ({"alarm": "the secret has expired"}, 2, "no mail is leaving this host: the secret has expired"),
    ],
)  # fmt: skip
def test_nagios(change: dict[str, Any], status: int, words: str) -> None:
    """One line, and the exit status of the worst."""
    level, line = nagios_line(FINE | change)
    assert level == status
    assert words in line
    assert "\n" not in line
    assert "alarm" in metrics(FINE | change)


def test_nagios_is_critical_where_there_is_no_spool(host: Host) -> None:
    """Nothing can be taken or sent."""
    done = host.admin("status", "--nagios", PROXMOX_GRAPH_MAIL_SPOOL="/nowhere")
    assert (done.returncode, done.stdout) == (
        2, "CRITICAL - there is no spool at /nowhere; is $PROXMOX_GRAPH_MAIL_SPOOL right?\n"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["missing", "garbage", "a key alone", "open to all"])
def test_a_credential_s_file_that_is_no_good_is_critical_at_once(online: Host, sandbox: Sandbox, kind: str) -> None:
    """Before any mail has met it, and each time: it is looked at anew when the file is another."""
    path = online.folder / "app.pem"
    made = certificate.make("pve1")
    content = {"garbage": b"garbage\n", "a key alone": made.pem.partition(b"-----BEGIN CERT")[0], "open to all": made.pem}
    path.write_bytes(made.pem)
    path.chmod(0o640)
    settings = sandbox.settings(GRAPH_CLIENT_CERTIFICATE=str(path))
    settings.pop("GRAPH_CLIENT_SECRET")
    online.settle(settings)
    online.config.chmod(0o640)
    assert online.admin("status", "--nagios").returncode == 0
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(content[kind])
        path.chmod(0o644 if kind == "open to all" else 0o640)
    done = online.admin("status", "--nagios")
    assert done.returncode == 2
    assert str(path) in done.stdout
    assert str(path) in online.admin("status").stdout


def test_settings_that_every_user_may_read_are_critical(online: Host) -> None:
    """0644: the secret has leaked."""
    online.config.chmod(0o644)
    done = online.admin("status", "--nagios")
    assert (done.returncode, "open to every user; chmod 0640" in done.stdout) == (2, True)


def test_log_shows_and_filters(online: Host, sandbox: Sandbox) -> None:
    """By address, outcome, date; bodies are not in the record."""
    some_mail(online, sandbox)
    rows = json.loads(online.admin("log", "--json").stdout)
    assert sorted((row["subject"], row["state"]) for row in rows) == [
        ("first", "deferred"), ("first", "sent"), ("fourth", "deferred"), ("second", "sent"), ("third", "failed"),
    ]  # fmt: skip
    assert "first" in online.admin("log").stdout

    def count(*argv: str) -> int:
        return len(json.loads(online.admin("log", "--json", *argv).stdout))

    assert count("--to", "OPS@") == 4
    assert count("--state", "sent") == 2
    assert (count("--since", "1h"), count("--since", "2099-01-01"), count("-n", "1")) == (5, 0, 1)
    assert online.admin("log", "--state", "lost").returncode == 64
    assert online.admin("log", "--since", "soon").returncode == 64
    assert (online.state / "outcomes.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_record_is_bounded(online: Host, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves; torn lines are left out."""
    from proxmox_graph_mail.delivery import record

    monkeypatch.setattr(record, "LIMIT", 2000)
    made = record.Record(online.state)
    for number in range(100):
        made.add(time=float(number), id=f"{number}", state="sent", to=["a@example.com"] * 50, subject="s" * 500)
    assert sum(path.stat().st_size for path in online.state.glob("outcomes*")) < 8000
    with (online.state / "outcomes.jsonl").open("ab") as file:
        file.write(b'{"time": 5, "id"\n[]\nnull\n{"time": "x"}\n')
    rows = made.read()
    assert rows[-1]["id"] == "99"
    assert (len(rows[-1]["to"]), rows[-1]["recipients"], len(rows[-1]["subject"])) == (20, 50, 200)


def test_what_lies_in_a_file_s_place_harms_nobody(online: Host) -> None:
    """Root reads what the service user wrote: a link is not followed, a FIFO does not hang."""
    import os

    os.mkfifo(online.state / "outcomes.jsonl")
    (online.state / "outcomes.1.jsonl").symlink_to("/dev/zero")
    os.mkfifo(online.state / "alarm.json")
    done = online.admin("status", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["alarm"] is None


def test_one_mail_is_watched_on_its_way(online: Host, sandbox: Sandbox) -> None:
    """Into the queue, to Graph; with the time of each leg."""
    with online.runner():
        done = online.admin("test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +0\.\d\d s  [0-9A-F]{18} is in the queue, and safe$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +\d\.\d\d s  [0-9A-F]{18} arrived at Graph .* for admin@example.com", done.stdout, re.MULTILINE)
    assert subjects(sandbox.accepted())[0].startswith("Test mail from ")


def test_a_test_that_does_not_arrive_says_why(online: Host, sandbox: Sandbox) -> None:
    """Held, failed; and a word that is no address."""
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET="wrong~secret"))
    with online.runner():
        done = online.admin("test", "me@example.com")
    assert done.returncode == 75
    assert "held: " in done.stdout
    assert "the client secret is wrong" in done.stdout
    assert online.admin("test", "nobody").returncode == 64


def test_what_waits_since_when(online: Host) -> None:
    """The oldest, by its ID."""
    online.sendmail("-odq", "root")
    assert 0 <= state(online)["queue"]["oldest"] < 60


def test_a_long_queue_is_counted_without_reading_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest journals tell their reasons; what is not read is deferred; what waits with the queue has its reason."""
    monkeypatch.setattr(state_module, "READ", 2)
    spool = Spool(str(host.spool))
    for number in range(4):
        assert host.sendmail("-odq", "root").returncode == 0
        journal.append(spool.queue, host.queue()[number], Event(1.0, journal.ATTEMPT, "held", "no consent", attempts=1))
    assert host.sendmail("-odq", "root").returncode == 0
    for queue_id in host.queue()[:4]:
        spool.defer(queue_id, time.time() + 60)
    counts, reasons, oldest = state_module.queue(spool, time.time())
    assert (counts["held"], counts["deferred"], counts["queued"], reasons["held", "no consent"]) == (2, 2, 1, 2)
    assert 0 <= time.time() - oldest < 60
    suspended.write(spool, Suspended("held", "the secret has expired", time=1.0, until=2.0))
    counts, reasons, _ = state_module.queue(spool, time.time())
    assert (counts["held"], counts["queued"], reasons["held", "the secret has expired"]) == (3, 0, 1)


def test_a_mail_s_history_is_told_when_it_is_sent(online: Host, sandbox: Sandbox) -> None:
    """`log ID`, and `queue show` of what is not in the queue any more: each outcome, with size, times in this host's zone, request-id."""
    online.env["TZ"] = "America/New_York"
    sandbox.faults({"on": "sendMail", "status": 503, "times": 9})
    assert online.sendmail("-odq", "ops@example.com").returncode == 0
    (queue_id,) = online.queue()
    online.admin("run", "--once")
    assert json.loads(online.admin("queue", "show", queue_id, "--json").stdout)["arrived"].endswith("Z")
    shown = online.admin("queue", "show", queue_id).stdout
    assert re.search(r"^arrived: +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d E[SD]T$", shown, re.MULTILINE), shown
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d E[SD]T  deferred  ", shown, re.MULTILINE), shown
    sandbox.faults()
    assert online.admin("queue", "flush").returncode == 0
    for argv in (("log", queue_id), ("queue", "show", queue_id)):
        text = online.admin(*argv).stdout
        assert re.search(rf"E[SD]T  {queue_id}  sent +ops@example\.com: test", text), text
        assert "request-id " in text
        assert "bytes, submitted " in text
    assert " EST, " in (said := online.admin("status").stdout) or " EDT, " in said
    assert online.admin("log", "0" * 18).returncode == 65
    assert "none on record" in online.admin("queue", "show", "0" * 18).stderr
