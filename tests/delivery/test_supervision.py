"""What the runner tells systemd."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxmox_graph_mail.delivery.supervision import STATUS_LIMIT, Supervision
from tests.programs import PATIENCE, Host, Sandbox, eventually


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def hear_until(self, word: str) -> list[str]:
        heard = [self.hear()]
        while word not in heard[-1]:
            heard.append(self.hear())
        return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(host: Host) -> Iterator[Manager]:
    made = Manager(host.folder / "notify")
    yield made
    made.close()


def test_the_runner_says_that_it_is_ready_what_it_does_and_that_it_ends(online: Host, sandbox: Sandbox, manager: Manager) -> None:
    """READY, the queue by state with the last outcome, STOPPING."""
    sandbox.faults({"on": "sendMail", "status": 403, "code": "ErrorAccessDenied", "times": 9})
    with online.runner(NOTIFY_SOCKET=str(manager.path)) as process:
        assert "READY=1" in manager.hear_until("READY=1")
        assert online.sendmail("root").returncode == 0
        heard = manager.hear_until("1 held")
        assert heard[-1].startswith("STATUS=0 queued, 0 deferred, 1 held, 0 failed. suspended until ")
        assert " held at " in heard[-1]
        process.send_signal(signal.SIGTERM)
        assert manager.hear_until("STOPPING")[-1] == "STOPPING=1"


def test_the_watchdog_hears_it_while_it_sleeps_and_while_graph_hangs(online: Host, sandbox: Sandbox, manager: Manager) -> None:
    """At half the interval, whatever the senders wait for."""
    sandbox.faults({"on": "sendMail", "do": "hang", "times": 1})
    with online.runner(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="100000"):
        for _ in range(3):
            manager.hear_until("WATCHDOG=1")
        assert online.sendmail("root").returncode == 0
        eventually(lambda: sandbox.counts()["in_flight"] == 1, "Graph hangs")
        for _ in range(5):
            manager.hear_until("WATCHDOG=1")
        sandbox.control(end_hangs=True)


def test_what_is_broken_is_in_the_status(host: Host, manager: Manager) -> None:
    """Settings that are wrong, with key and file."""
    with host.runner(NOTIFY_SOCKET=str(manager.path)):
        assert "not set up yet" in manager.hear_until("settings: ")[-1]


def test_a_manager_that_is_gone_does_no_harm() -> None:
    """No socket, a wrong path, odd numbers: nothing happens; and no child inherits the socket."""
    environment = {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x", "PATH": "/bin"}
    made = Supervision(environment)
    assert environment == {"PATH": "/bin"}
    assert made.interval is None
    made.ready()
    made.status("text")
    Supervision({}).alive()


def test_the_status_is_one_printable_line(tmp_path: Path) -> None:
    """What a mail or an answer holds cannot forge another assignment."""
    manager = Manager(tmp_path / "n")
    made = Supervision({"NOTIFY_SOCKET": str(manager.path)})
    made.status("a\nREADY=1\x1b[2J" + "x" * 1000)
    heard = manager.hear()
    assert "\n" not in heard
    assert len(heard) == STATUS_LIMIT + len("STATUS=")
    made.status("a\nREADY=1\x1b[2J" + "x" * 1000)
    made.status("other")
    assert manager.hear() == "STATUS=other"  # the same twice is said once
    manager.close()
