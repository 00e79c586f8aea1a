"""The watch sees what the queue runner cannot say, says it once, and ends it."""

import json
import os
import time
from pathlib import Path

import pytest

from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.spool import digests, suspended
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.suspended import Suspended
from proxmox_graph_mail.watch import alarm as alarm_module
from proxmox_graph_mail.watch import cluster, units, watch
from proxmox_graph_mail.watch.units import Unit
from tests.programs import Host

FINE = {name: Unit(name, "loaded", "active", "listening", "success", 0, "") for name in units.NEEDED}
RUNNER = Unit(units.RUNNER, "loaded", "inactive", "dead", "success", 0, "")


class Watched:
    """A host under the watch: `units` as systemd would have them, `told` what the unit of ALARM_COMMAND was started for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.units = dict(FINE) | {units.RUNNER: RUNNER}
        self.told: list[str] = []
        self.now = 10_000.0
        self.seconds = 60.0

    def look(self, times: int = 1, *, minutes: float = 1.0) -> None:
        for _ in range(times):
            self.now += 60 * minutes
            watch.look(self.now, time.time())

    @property
    def motd(self) -> str:
        path = self.host.folder / "watch" / "motd"
        return path.read_text() if path.exists() else ""

    def alarms(self) -> list[str]:
        return [line.partition(": ")[2] for line in self.host.syslog.read() if "ALARM: " in line or "all clear" in line]

    def record(self, when: float) -> None:
        path = self.host.state / "outcomes.jsonl"
        path.touch()
        os.utime(path, (when, when))


@pytest.fixture
def watched(host: Host, monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched(host)
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_WATCH", str(host.folder / "watch"))
    monkeypatch.setattr(units, "known", lambda **_: made.units)
    monkeypatch.setattr(units, "last_error", lambda _: "cannot write the spool: Permission denied")
    told = host.folder / "watch" / "alarm"
    monkeypatch.setattr(alarm_module, "start_unit", lambda: made.told.append(told.read_text()))
    return made


def test_a_host_that_is_well_is_left_alone(watched: Watched) -> None:
    """No word; a sign of life a day."""
    watched.look(3)
    assert (watched.alarms(), watched.motd, watched.told) == ([], "", [])
    alive = (watched.host.facts / "alive").read_text()
    assert abs(float(alive) - time.time()) < 60
    (watched.host.facts / "alive").write_text("1\n")
    watched.look()
    assert (watched.host.facts / "alive").read_text() == alive or float((watched.host.facts / "alive").read_text()) > 1e9


def test_a_runner_that_crashes_again_and_again_is_an_alarm_within_two_minutes(watched: Watched) -> None:
    """With its own last error; once; and an all-clear when it runs."""
    watched.units[units.RUNNER] = RUNNER._replace(active="activating", sub="auto-restart", restarts=4)
    watched.look()
    assert watched.alarms() == []
    watched.look(5)
    (given,) = watched.alarms()
    assert "proxmox-graph-mail.service keeps restarting (4 times): cannot write the spool: Permission denied" in given
    assert "keeps restarting" in watched.motd
    assert [text.partition("\n")[0] for text in watched.told] == ["alarm"]
    assert not (watched.host.facts / "alive").exists()
    watched.units[units.RUNNER] = RUNNER
    watched.look()
    assert len(watched.alarms()) == 1  # it may just run for a moment
    watched.look()
    assert "all clear: the problem with this host's mail is over, after 6 minutes" in watched.alarms()[1]
    assert watched.motd == ""
    assert [text.partition("\n")[0] for text in watched.told] == ["alarm", "over"]


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (
            FINE[units.NEEDED[0]]._replace(active="inactive"),
            f"is not active; systemctl stop {units.RUNNER}; systemctl enable --now",
        ),
        (FINE[units.NEEDED[1]]._replace(active="inactive"), "is not active; systemctl enable --now"),
        (FINE[units.NEEDED[1]]._replace(load="masked", active="inactive"), "is masked; systemctl unmask"),
        (RUNNER._replace(load="masked"), "is masked; systemctl unmask"),
        (RUNNER._replace(active="failed", result="watchdog"), "failed: cannot write the spool"),
    ],
    ids=["inactive", "inactive path", "masked", "masked service", "failed"],
)
def test_a_unit_that_does_not_run(watched: Watched, unit: Unit, words: str) -> None:
    """Named, with the command."""
    watched.units[unit.name] = unit
    watched.look(2)
    (given,) = watched.alarms()
    assert f"{unit.name} {words}" in given


def test_an_upgrade_s_moment_is_no_alarm(watched: Watched) -> None:
    """What is seen once only."""
    for _ in range(3):
        watched.units[units.NEEDED[0]] = FINE[units.NEEDED[0]]._replace(active="inactive")
        watched.look()
        watched.units[units.NEEDED[0]] = FINE[units.NEEDED[0]]
        watched.look()
    assert watched.alarms() == []


def test_mail_that_is_due_and_not_settled_for_a_quarter_of_an_hour(watched: Watched) -> None:
    """By the time since boot: a clock that is set does not matter."""
    assert watched.host.sendmail("-odq", "root").returncode == 0
    watched.record(1e9)
    watched.look(15)
    assert watched.alarms() == []
    watched.look(2)
    (given,) = watched.alarms()
    assert (
        "mail is waiting, but nothing has been sent or deferred for 15 minutes (cannot write the spool: Permission denied)"
        in given
    )
    watched.record(1e9 + 5)  # something was settled, whatever its clock says
    watched.look()
    watched.record(1e9 + 6)
    watched.look()
    assert "all clear" in watched.alarms()[1]


def test_a_long_queue_that_moves_is_no_alarm(watched: Watched) -> None:
    """Something is always due, and always settled."""
    assert watched.host.sendmail("-odq", "root").returncode == 0
    for number in range(40):
        watched.record(1e9 + number // 10)
        watched.look()
    assert watched.alarms() == []


def test_what_waits_for_its_time_is_no_alarm(watched: Watched) -> None:
    """Deferred for an hour; or suspended until later: the queue runner knows why, and says so itself."""
    assert watched.host.sendmail("-odq", "root").returncode == 0
    spool = Spool(str(watched.host.spool))
    spool.defer(watched.host.queue()[0], time.time() + 3600)
    watched.look(30)
    spool.defer(watched.host.queue()[0], 0)
    suspended.write(spool, Suspended("held", "no consent", time=time.time(), until=time.time() + 900))
    watched.look(30)
    assert watched.alarms() == []
    suspended.write(spool, Suspended("held", "no consent", time=time.time(), until=time.time() + 9e8))  # a wrong clock's
    watched.look(17)
    assert len(watched.alarms()) == 1


def test_what_waits_in_a_digest_or_for_the_day_s_limit_is_no_alarm(watched: Watched) -> None:
    """The queue runner knows why, and `status` says it; a digest that was removed, and a limit of long ago, are no reason."""
    assert watched.host.sendmail("-odq", "root").returncode == 0
    spool = Spool(str(watched.host.spool))
    ids = tuple(watched.host.queue())
    envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=time.time(), members=ids)
    digest = digests.make(spool, envelope, b"Subject: [1 more] x\n\n")
    spool.defer(digest, time.time() + 3600)
    watched.look(30)
    assert watched.alarms() == []
    spool.remove(digest)
    ledger = Ledger(spool.root)
    ledger.waits = {2: (time.time() + 3600, "10000 of the mailbox's 10000 recipients in 24 hours are used")}
    ledger.waited = time.time()
    ledger.write(time.time())
    watched.look(30)
    assert watched.alarms() == []
    ledger.waited = time.time() - 3600  # the runner that said so stands still
    ledger.write(time.time())
    watched.look(17)
    assert len(watched.alarms()) == 1


def test_the_runner_s_own_alarm_is_said_once(watched: Watched) -> None:
    """It told the journal, the login message and the command; the watch adds the failed unit."""
    (watched.host.state / "alarm.json").write_text(json.dumps({"since": 1.0, "raised": 2.0, "reason": "the secret has expired"}))
    watched.look(3)
    assert (watched.alarms(), watched.motd) == ([], "")
    assert [text.split("\n")[:2] for text in watched.told] == [["alarm", ""]]
    (watched.host.state / "alarm.json").unlink()
    watched.look(2)
    assert [text.split("\n")[:2] for text in watched.told] == [["alarm", ""], ["over", ""]]


def test_a_spool_that_is_gone_is_an_alarm(watched: Watched) -> None:
    """And no traceback, whatever the state file holds."""
    os.rename(watched.host.spool, watched.host.folder / "away")
    watched.look(2)
    assert "there is no spool at" in watched.alarms()[0]
    (watched.host.folder / "watch" / "state.json").write_text('{"since": 7, "given": [], "cluster": null}')
    watched.look(2)


def pve(watched: Watched, monkeypatch: pytest.MonkeyPatch, *nodes: str) -> Path:
    here = os.uname().nodename.partition(".")[0].lower()
    (watched.host.root / "etc/pve/nodes").mkdir(parents=True)
    (watched.host.root / "etc/pve/priv").mkdir()
    known = facts.Facts(products=("pve",), cluster="prod", nodes=(here, *nodes))
    (watched.host.facts / "host.json").write_text(json.dumps(known._asdict()))
    return watched.host.root / "etc/pve/priv/proxmox-graph-mail-watch"


def test_a_node_tells_the_others_seldom(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most once in 15 minutes, and on a change; some 200 bytes."""
    directory = pve(watched, monkeypatch, "pve2")
    watched.look()
    (own,) = directory.iterdir()
    first = json.loads(own.read_text())
    assert (first["reason"], first["since"]) == ("", 0)
    own.unlink()
    watched.look(13)
    assert not own.exists()
    watched.look(2)
    assert own.exists()
    own.unlink()
    watched.units[units.RUNNER] = RUNNER._replace(active="failed")
    watched.look(2)
    assert "failed" in json.loads(own.read_text())["reason"]
    assert own.stat().st_size < 300


def test_another_node_s_mail_that_stands_still_is_reported_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour, in this node's own mail; once for one cause; again when it was well in between."""
    sent: list[str] = []
    monkeypatch.setattr(cluster, "submit", sent.append)
    directory = pve(watched, monkeypatch, "pve2", "pve3")
    directory.mkdir()

    def says(node: str, since: float, reason: str, age: float = 0.0) -> None:
        said = {"time": time.time() - age, "since": since, "reason": reason}
        (directory / node).write_text(json.dumps(said))

    says("pve3", 0, "")
    says("pve2", time.time() - 1800, "the runner failed")
    watched.look(2)
    assert sent == []
    begun = time.time() - 3700
    says("pve2", begun, "the runner failed")
    watched.look(3)
    assert len(sent) == 1
    assert sent[0].startswith("Subject: pve2 cannot send mail\n")
    assert "No mail has left pve2 for 1 hour 1 minute: the runner failed" in sent[0]
    says("pve2", 0, "")
    watched.look()
    says("pve2", begun + 5, "the runner failed")
    watched.look(2)
    assert len(sent) == 2
    says("pve2", begun + 9, "the runner failed", age=7200)  # long ago: it may be switched off, or mended
    watched.look(2)
    assert len(sent) == 2


@pytest.mark.parametrize("said", [b"[]", b"{", b'{"time": "x", "since": 0, "reason": ""}', b"\xff" * 5000, b""])
def test_what_another_node_says_wrongly_is_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Torn, of another version, or not JSON."""
    directory = pve(watched, monkeypatch, "pve2")
    directory.mkdir()
    (directory / "pve2").write_bytes(said)
    watched.look(2)
    assert watched.alarms() == []


def test_without_quorum_nothing_is_written_and_nothing_is_wrong(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """pmxcfs refuses every write then."""
    directory = pve(watched, monkeypatch, "pve2")
    directory.touch()  # in the directory's place: no write succeeds
    watched.look(3)
    assert watched.alarms() == []


def test_what_is_over_is_no_longer_shown_while_the_rest_lasts(watched: Watched) -> None:
    """Two troubles, one mended: the login message names the other alone, and nobody is told twice."""
    watched.units[units.RUNNER] = RUNNER._replace(active="failed")
    watched.units[units.NEEDED[0]] = FINE[units.NEEDED[0]]._replace(active="inactive")
    watched.look(2)
    assert "failed" in watched.motd
    assert "is not active" in watched.motd
    watched.units[units.RUNNER] = RUNNER
    watched.look(2)
    assert "failed" not in watched.motd
    assert "is not active" in watched.motd
    assert len(watched.told) == 1


def test_a_systemd_that_does_not_answer_is_no_sign_of_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our units are installed: what nobody says is not well."""
    monkeypatch.setattr("os.path.exists", lambda _: True)
    monkeypatch.setattr("os.path.isdir", lambda _: True)
    monkeypatch.setattr(units, "_output", lambda *_: "")
    assert "systemd does not answer" in units.troubles(units.known())[units.RUNNER]
