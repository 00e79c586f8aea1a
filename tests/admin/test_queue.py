"""proxmox-graph-mail queue and mailq, as an admin uses them."""

import json
import os
import pty
import subprocess
import time

import pytest

from tests.programs import PATIENCE, Host, Sandbox, eventually, subjects


def submit(host: Host, *names: str) -> None:
    for name in names:
        assert host.sendmail("-odq", "-f", "ops@example.com", "root", stdin=f"Subject: {name}\n\nx\n".encode()).returncode == 0


def put_off(host: Host) -> None:
    """As after an attempt that was deferred."""
    for queue_id in host.queue():
        os.utime(host.spool / "queue" / queue_id, (time.time() + 3600,) * 2)


def test_an_empty_queue_says_so(host: Host) -> None:
    """mailq, -bp and queue list."""
    assert host.sendmail(name="mailq", stdin=b"").stdout == b"Mail queue is empty\n"
    assert host.sendmail("-bp", stdin=b"").stdout == b"Mail queue is empty\n"
    assert host.admin("queue", "list").stdout == "Mail queue is empty\n"
    assert json.loads(host.admin("queue", "list", "--json").stdout) == []


def test_the_list_reads_like_postfix_s(host: Host) -> None:
    """ID, size, arrival, sender, recipients, and a count at the end."""
    submit(host, "one", "two")
    text = host.admin("queue", "list").stdout
    assert text == host.sendmail("-bp", stdin=b"").stdout.decode()
    lines = text.splitlines()
    assert lines[0] == "-Queue ID-          --Size-- ----Arrival Time---- -Sender/Recipient-------"
    assert lines[1].split()[0] == host.queue()[0]
    assert lines[1].split()[-1] == "ops@example.com"
    assert lines[2].strip() == "root"
    assert lines[-1] == "-- 0 Kbytes in 2 Requests: 2 queued, 0 deferred, 0 held, 0 failed."


def test_a_terminal_is_not_commanded_by_a_queued_mail(host: Host) -> None:
    """Escape sequences that came through as bytes are shown as question marks."""
    incoming = host.spool / "queue" / ("A" * 18)
    line = {
        "version": 1,
        "arrived": 1.5,
        "uid": 0,
        "sender": "\u009b31m",
        "recipients": ["\u202e"],
        "full_name": "",
        "notify": "",
    }
    incoming.write_bytes(json.dumps(line).encode() + b"\nSubject: \x1b[31mred\n\nx")
    for text in (host.admin("queue", "list").stdout, host.admin("queue", "show", "A" * 18).stdout):
        assert not set(text) & {"\x1b", "\u009b", "\u202e"}


def test_show_tells_all_about_one_message(online: Host, sandbox: Sandbox) -> None:
    """Envelope, header and history."""
    submit(online, "shown")
    sandbox.faults({"on": "sendMail", "status": 403, "code": "ErrorAccessDenied"})
    online.admin("run", "--once")
    (queue_id,) = online.queue()
    text = online.admin("queue", "show", queue_id).stdout
    assert "state:        held" in text
    assert "Subject: shown" in text
    assert "the app may not send as this mailbox" in text
    assert "\nWhat to do: fix what the reason names" in text
    shown = json.loads(online.admin("queue", "show", queue_id, "--json").stdout)
    assert shown["history"][0]["state"] == "held"
    assert shown["header"] == [["subject", "shown"]]
    assert "x" not in text.splitlines()  # no body


@pytest.mark.parametrize("queue_id", ["0" * 18, "../../../etc/passwd", "x", "."])
def test_what_is_not_there_is_said(host: Host, queue_id: str) -> None:
    """65, one sentence; nothing outside the spool is touched."""
    for verb in (["show"], ["retry"], ["remove", "--yes"]):
        done = host.admin("queue", *verb, queue_id)
        assert done.returncode == 65
        assert done.stderr.count("\n") == 1


def test_flush_tries_what_is_not_due_and_tells_the_result(online: Host, sandbox: Sandbox) -> None:
    """0 when nothing is left."""
    submit(online, "a", "b")
    put_off(online)
    assert online.admin("run", "--once").returncode == 75
    done = online.admin("queue", "flush")
    assert (done.returncode, done.stdout) == (0, "2 sent, 0 still queued, 0 failed\n")
    assert len(sandbox.accepted()) == 2


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ({"status": 500, "code": "x"}, 75, "0 sent, 1 still queued, 0 failed"),
        ({"status": 400, "code": "ErrorInvalidRecipients"}, 69, "0 sent, 0 still queued, 1 failed"),
    ],
)
def test_flush_s_status(online: Host, sandbox: Sandbox, fault: dict[str, object], status: int, says: str) -> None:
    """75 when something stays, 69 when something failed; with the reason."""
    submit(online, "x")
    sandbox.faults({"on": "sendMail", **fault})
    done = online.admin("queue", "flush")
    assert done.returncode == status
    assert done.stdout.startswith(says)
    assert str(fault["code"]) in done.stdout


def test_flush_while_the_runner_runs_waits_for_the_runner(online: Host, sandbox: Sandbox) -> None:
    """It wakes the runner and watches."""
    submit(online, "c", "d")
    put_off(online)
    with online.runner():
        done = online.admin("queue", "flush")
    assert (done.returncode, done.stdout) == (0, "2 sent, 0 still queued, 0 failed\n")
    assert sorted(subjects(sandbox.accepted())) == ["c", "d"]


def on_a_terminal(host: Host, *argv: str) -> tuple[int, bytes]:
    """The status, and all that was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(host.admin_command(*argv), env=host.env | {"TERM": "xterm"}, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    os.close(master)
    return process.wait(PATIENCE), shown


def test_flush_shows_a_bar_on_a_terminal(online: Host) -> None:
    """…and none elsewhere."""
    submit(online, "t")
    status, shown = on_a_terminal(online, "queue", "flush")
    assert status == 0
    assert b"sending" in shown
    assert b"1 sent, 0 still queued" in shown


def test_retry_brings_failed_mail_back(online: Host, sandbox: Sandbox) -> None:
    """…and sends it by itself."""
    submit(online, "again")
    sandbox.faults({"on": "sendMail", "status": 400, "code": "ErrorInvalidRecipients"})
    online.admin("run", "--once")
    (queue_id,) = online.failed()
    assert online.admin("queue", "retry", queue_id).returncode == 0
    eventually(lambda: subjects(sandbox.accepted()) == ["again"], "the retry arrives")
    eventually(lambda: online.queue() == online.failed() == [], "nothing is left")


def test_remove_asks_or_is_told(host: Host) -> None:
    """Without a terminal --yes is needed; failed and queued mail alike."""
    submit(host, "one", "two")
    first, second = host.queue()
    (host.spool / "queue" / second).rename(host.spool / "failed" / second)
    refused = host.admin("queue", "remove", "ALL")
    assert refused.returncode == 64
    assert "--yes" in refused.stderr
    assert host.queue() == [first]
    assert host.admin("queue", "remove", "--yes", first, second).stdout == "2 messages removed\n"
    assert [line for line in host.syslog.read() if f"{first}: removed unsent by uid={os.getuid()}" in line]
    assert host.queue() == host.failed() == []


def test_sendmail_q_runs_the_queue(online: Host, sandbox: Sandbox) -> None:
    """sendmail -q: what is deferred is tried now."""
    submit(online, "q")
    put_off(online)
    assert online.sendmail("-q", stdin=b"").returncode == 0
    eventually(lambda: subjects(sandbox.accepted()) == ["q"], "it is sent")
    eventually(lambda: online.queue() == [], "it is unlinked")


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user needs root")
def test_others_may_not_run_the_queue(host: Host) -> None:
    """77, one sentence."""
    submit(host, "secret subject")
    done = host.other_user_sendmail("-q", stdin=b"")
    assert done.returncode == 77
    assert b"only root and the service user" in done.stderr
    assert b"secret" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user needs root")
def test_others_see_their_own_mail_and_how_much_there_is_besides(host: Host) -> None:
    """By the submit socket: no right on the spool is needed, and nobody else's addresses are told."""
    submit(host, "secret subject")
    with host.submit_socket():
        empty = host.other_user_sendmail("-bp", stdin=b"")
        assert host.other_user_sendmail("-odq", "mine@example.com").returncode == 0
        listed = host.other_user_sendmail("-bp", stdin=b"")
        (row,) = json.loads(host.other_user_sendmail("-bp", "--json", stdin=b"").stdout)
    assert (empty.returncode, empty.stdout) == (0, b"Other users' mail, which only root may see: 1 queued.\n")
    assert b"mine@example.com" in listed.stdout
    assert b"Other users' mail, which only root may see: 1 queued." in listed.stdout
    assert (row["recipients"], row["state"]) == (["mine@example.com"], "queued")
    assert b"ops@" not in listed.stdout + empty.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user needs root")
def test_others_without_a_receiver_are_told_so(host: Host) -> None:
    """Within seconds."""
    begun = time.monotonic()
    done = host.other_user_sendmail("-bp", stdin=b"")
    assert (done.returncode, b"is proxmox-graph-mail-submit.socket running?" in done.stderr) == (75, True)
    assert time.monotonic() - begun < 8


def test_an_absent_spool_is_said(host: Host) -> None:
    """75."""
    done = host.admin("queue", "list", PROXMOX_GRAPH_MAIL_SPOOL="/nowhere")
    assert done.returncode == 75
    assert "there is no spool at /nowhere" in done.stderr


def test_usage_errors_are_64(host: Host) -> None:
    """As sysexits.h has it, for every command."""
    for argv in (["frob"], ["queue", "frob"], ["queue", "show"], ["run", "--frob"], ["route"]):
        done = host.admin(*argv)
        assert done.returncode == 64, argv
        assert done.stderr.startswith("proxmox-graph-mail: ")


def test_the_version(host: Host) -> None:
    """One place for it."""
    from proxmox_graph_mail import __version__

    assert host.admin("--version").stdout == f"proxmox-graph-mail {__version__}\n"
    assert host.sendmail("--version", stdin=b"").stdout.decode() == f"proxmox-graph-mail {__version__}\n"


def test_flush_on_a_terminal_watches_a_runner_at_work(online: Host, sandbox: Sandbox) -> None:
    """The bar's own thread must not be hit by the signal that wakes the watcher."""
    submit(online, *(f"w{n}" for n in range(12)))
    put_off(online)
    sandbox.control(latency=0.2)
    with online.runner():
        status, shown = on_a_terminal(online, "queue", "flush")
    assert status == 0, shown
    assert b"12 sent, 0 still queued" in shown


def test_flush_takes_over_when_the_runner_dies(online: Host, sandbox: Sandbox) -> None:
    """It notices the silence, takes the lock and goes on itself."""
    submit(online, "orphan")
    put_off(online)
    sandbox.faults({"on": "sendMail", "do": "hang", "seconds": 30})
    with online.runner() as runner:
        flush = subprocess.Popen(online.admin_command("queue", "flush"), env=online.env, stdout=subprocess.PIPE)
        eventually(lambda: sandbox.counts()["in_flight"] == 1, "the runner is sending")
        runner.kill()
        runner.wait()
        sandbox.control(end_hangs=True)
        assert flush.communicate(timeout=PATIENCE)[0] == b"1 sent, 0 still queued, 0 failed\n"
    assert subjects(sandbox.accepted()) == ["orphan"]


def test_a_damaged_message_is_shown_as_far_as_it_goes(host: Host) -> None:
    """Its header still tells what it was."""
    host.sendmail("-odq", "root", stdin=b"Subject: was fine\n\nx\n")
    path = host.spool / "queue" / host.queue()[0]
    path.write_bytes(b"{torn\nSubject: was fine\n\nx\n")
    shown = host.admin("queue", "show", path.name)
    assert shown.returncode == 0
    assert "was fine" in shown.stdout
