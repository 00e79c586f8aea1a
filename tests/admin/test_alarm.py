"""`alarm`: ALARM_COMMAND, tried by an admin, and told by the watch's unit."""

import os

import pytest

from tests.programs import NOBODY, Host, Sandbox


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("cat", 0, "test: this is proxmox-graph-mail on "), ("exit 3", 69, "ended with status 3"), ("nowhere-to-be-found", 69, "not found"),
        ("echo 'curl: no such host' >&2; exit 6", 69, "curl: no such host"),
    ],
)  # fmt: skip
def test_an_admin_tries_it(online: Host, sandbox: Sandbox, command: str, status: int, words: str) -> None:
    """What it is told, what it answers, and its status."""
    online.settle(sandbox.settings(ALARM_COMMAND=f'"{command}"'))
    done = online.admin("alarm", "test")
    assert (done.returncode, words in done.stdout) == (status, True), done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_it_never_runs_as_root(online: Host, sandbox: Sandbox) -> None:
    """In earnest it runs as the service user; and that one may have written what is kept of settings that cannot be read."""
    online.config.unlink()
    online.config.mkdir()
    (online.state / "alarm-command").write_text("id -u")
    for path in (online.state, online.state / "alarm-command", online.spool):
        os.chown(path, NOBODY, NOBODY)
    done = online.admin("alarm", "test")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, str(NOBODY)), done.stdout + done.stderr


def test_without_one_it_says_so(online: Host) -> None:
    """78: a setting is missing."""
    done = online.admin("alarm", "test")
    assert (done.returncode, "ALARM_COMMAND is not set" in done.stderr) == (78, True)


@pytest.mark.parametrize(("kind", "status"), [("alarm", 1), ("over", 0)])
def test_the_watch_s_unit_tells_it_and_fails_while_the_alarm_lasts(
    online: Host, sandbox: Sandbox, kind: str, status: int
) -> None:
    """A command that fails is logged, with what it wrote."""
    told = online.folder / "told"
    online.settle(sandbox.settings(ALARM_COMMAND=f"'cat > {told}; echo no phone; exit 7'"))
    (online.folder / "watch").mkdir()
    (online.folder / "watch" / "alarm").write_text(f"{kind}\nmail is due, and nothing moves\n")
    done = online.admin("alarm", "tell", PROXMOX_GRAPH_MAIL_WATCH=str(online.folder / "watch"))
    assert done.returncode == status
    assert told.read_text() == "mail is due, and nothing moves\n"
    assert any("ALARM_COMMAND failed with status 7: no phone" in line for line in online.syslog.read())
    told.unlink()
    (online.folder / "watch" / "alarm").write_text(f"{kind}\n\n")  # the queue runner told it itself
    assert online.admin("alarm", "tell", PROXMOX_GRAPH_MAIL_WATCH=str(online.folder / "watch")).returncode == status
    assert not told.exists()
