"""Many at once, and killed at every step: each mail arrives, and arrives once where nothing was uncertain."""

import subprocess
import sys

from tests.programs import PATIENCE, PYTHON, TREE, Host, Sandbox, eventually, subjects

KILLER = str(TREE / "tests" / "killer.py")


def storm(host: Host, count: int, delivery: str) -> list[str]:
    """So many sendmail processes at the same time."""
    names = [f"storm {n}" for n in range(count)]
    running = []
    for name in names:
        process = subprocess.Popen(host.command("sendmail", delivery, "root"), env=host.env, stdin=subprocess.PIPE)
        running.append((process, f"Subject: {name}\n\n{name}\n".encode()))
    for process, message in running:
        process.communicate(message, timeout=PATIENCE)
    assert {process.returncode for process, _ in running} == {0}
    return names


def test_two_hundred_at_once_then_a_drain(online: Host, sandbox: Sandbox) -> None:
    """200 distinct mails, each once, at most four requests in flight, one token request."""
    names = storm(online, 200, "-odq")
    assert len(online.queue()) == 200
    assert online.admin("queue", "flush").returncode == 0
    assert online.queue() == []
    assert sorted(subjects(sandbox.accepted())) == sorted(names)
    counts = sandbox.counts()
    assert counts["most_in_flight"] <= 4
    assert (counts["token"], counts["sendmail"]) == (1, 200)


def test_two_hundred_at_once_without_a_runner_start_passes_that_lose_none(online: Host, sandbox: Sandbox) -> None:
    """No systemd, no runner: detached passes take over from each other until everything is sent."""
    names = storm(online, 200, "-odb")
    eventually(lambda: online.queue() == [], "the passes have sent everything", 60)
    assert sorted(subjects(sandbox.accepted())) == sorted(names)
    assert sandbox.counts()["most_in_flight"] <= 4


def test_two_hundred_at_once_through_every_kind_of_trouble(online: Host, sandbox: Sandbox) -> None:
    """Down, throttling, cutting before and after, refusing the credential and the permission: none is lost."""
    names = storm(online, 200, "-odq")
    cut = {"on": "sendMail", "do": "cut_before", "after": 5, "times": 3}
    twice = [
        {"on": "sendMail", "do": "cut_after", "after": 3, "times": 2},
        {"on": "sendMail", "do": "status_after", "status": 504, "code": "UnknownError", "after": 2, "times": 2},
    ]
    troubles = [
        ({}, [{"on": "token", "status": 503, "code": "temporarily_unavailable", "retry_after": "40", "times": 5}]),
        ({"secret": "changed in the portal"}, []),
        ({"secret": sandbox.about["secret"], "roles": []}, []),
        ({"roles": ["Mail.Send"]}, [cut, *twice]),
        ({}, [{"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "1", "after": 9, "times": 2}]),
        ({}, [{"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "90", "after": 9, "times": 9}]),
        ({}, [{"on": "sendMail", "do": "garbage", "status": 502, "after": 4, "times": 4}]),
    ]
    for change, faults in troubles:
        if change:
            sandbox.control(**change)
        sandbox.faults(*faults)
        (online.state / "tokens.json").unlink(missing_ok=True)  # what was refused is believed for minutes; here time is short
        assert online.admin("queue", "flush").returncode in (0, 75)
        assert online.failed() == []
    sandbox.faults()
    (online.state / "tokens.json").unlink(missing_ok=True)
    assert online.admin("queue", "flush").returncode == 0
    arrived = subjects(sandbox.accepted())
    assert sorted(set(arrived)) == sorted(names)
    assert len(arrived) <= 200 + 4  # twice only after an answer that was uncertain
    ids = {mail["message"]["internetMessageId"] for mail in sandbox.accepted()}
    assert len(ids) == 200


def test_the_runner_killed_at_every_step_loses_nothing(online: Host, sandbox: Sandbox) -> None:
    """SIGKILL before each of its changes to spool and token cache; whatever it left, the next one sends."""
    for fatal in range(1, 120):
        sandbox.control(forget=True)
        assert online.sendmail("-odq", "root", stdin=b"Subject: survivor\n\nx").returncode == 0
        command = [sys.executable, "-I", KILLER, str(fatal), str(TREE / "proxmox_graph_mail" / "admin" / "__main__.py")]
        killed = subprocess.run([*command, "run", "--once"], env=online.env, capture_output=True, check=False, timeout=PATIENCE)
        assert b"Traceback" not in killed.stderr, killed.stderr.decode()
        sent, queued = len(sandbox.accepted()), len(online.queue())
        assert (sent, queued) in ((0, 1), (1, 1), (1, 0)), fatal
        if killed.returncode != -9:
            break
        online.make_due()
        assert online.admin("run", "--once").returncode == 0
        assert online.queue() == []
        assert 1 <= len(sandbox.accepted()) <= 2
        assert len({mail["message"]["internetMessageId"] for mail in sandbox.accepted()}) == 1
    assert killed.returncode == 0
    assert fatal > 8


def test_sendmail_starts_as_python_is() -> None:
    """The tests run the packaged launcher as its first line says."""
    first = (TREE / "packaging" / "launcher").read_text().splitlines()[0]
    assert first == "#!/usr/bin/python3 -IS"
    assert PYTHON
