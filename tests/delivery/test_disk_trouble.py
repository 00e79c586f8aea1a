"""When the disk refuses a change of state: the runner remembers what it could not write."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxmox_graph_mail.delivery.attempt import Route
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.runner import SPOOL_TROUBLE_PAUSE, Runner
from proxmox_graph_mail.delivery.tenancy import Tenancy
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.spool import Spool
from tests.message.test_corpus import DIRECTORY
from tests.programs import Host


class ReadOnlySpool(Spool):
    """A spool on a disk that was remounted read-only while the runner ran."""

    read_only = True

    def remove(self, queue_id: str, *, failed: bool = False) -> None:
        if self.read_only:
            raise SpoolError("cannot use the spool: Read-only file system")
        super().remove(queue_id, failed=failed)

    def defer(self, queue_id: str, when: float) -> None:
        if self.read_only:
            raise SpoolError("cannot use the spool: Read-only file system")
        super().defer(queue_id, when)


class Mailer:
    def __init__(self, status: Status) -> None:
        self.status = status
        self.sent = 0

    def send_mail(self, mailbox: str, body: bytes) -> Outcome:
        self.sent += 1
        return Outcome(self.status, "reason")


@pytest.fixture
def events() -> Iterator[Events]:
    made = Events(threading.Event())
    yield made
    made.close()


@pytest.mark.parametrize("status", [Status.SENT, Status.UNCERTAIN, Status.HELD])
def test_a_message_whose_state_cannot_be_written_is_not_tried_again_at_once(
    host: Host, events: Events, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sent mail is not sent again; a deferred one waits; both go on once the disk can be written."""
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", host.env["PROXMOX_GRAPH_MAIL_SYSLOG"])
    assert host.sendmail("-odq", "root").returncode == 0
    spool, mailer, now = ReadOnlySpool(str(host.spool)), Mailer(status), 2e9

    def load() -> tuple[Route, float, object]:
        return Route(mailer, "pve@example.com", DIRECTORY), 1e9, lambda: None

    runner = Runner(spool, Tenancy(load, lambda: 1), events, threading.Event(), clock=lambda: now)  # type: ignore[arg-type]
    for _ in range(3):
        assert runner.run(once=True) == 1
    assert mailer.sent == 1
    now += SPOOL_TROUBLE_PAUSE + 1
    spool.read_only = False
    mailer.status = Status.SENT
    assert runner.run(once=True) == 0
    assert mailer.sent == (1 if status is Status.SENT else 2)
    assert any("Read-only file system" in line for line in host.syslog.read())
    assert list(Path(spool.queue).iterdir()) == []
