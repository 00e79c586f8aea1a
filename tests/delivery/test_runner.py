"""The real queue runner against the stand-in: no fault loses a mail."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from typing import Any

import pytest

from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake
from tests.programs import Host, Sandbox, eventually, subjects


def submit(host: Host, *names: str) -> list[str]:
    for name in names:
        assert host.sendmail("-odq", "root", stdin=f"Subject: {name}\n\nbody\n".encode()).returncode == 0
    return list(names)


def drained(host: Host) -> bool:
    return host.queue() == []


def test_a_pass_sends_what_is_due(online: Host, sandbox: Sandbox) -> None:
    """`run --once`: exit 0, the queue is empty, each arrived once, each has its line."""
    names = submit(online, "one", "two", "three", "four", "five")
    done = online.admin("run", "--once")
    assert (done.returncode, online.queue()) == (0, [])
    assert sorted(subjects(sandbox.accepted())) == sorted(names)
    lines = [line for line in online.syslog.read() if line.startswith("runner[")]
    assert len([line for line in lines if "to=<admin@example.com>, status=sent, delay=" in line and "request-id=" in line]) == 5
    assert os.listdir(online.spool / "queue") == []


def test_where_nobody_reads_root_s_mail_the_log_says_so(online: Host, sandbox: Sandbox) -> None:
    """It goes to the sending mailbox, and the warning says what to set."""
    settings = sandbox.settings()
    settings.pop("MAIL_TO")
    online.settle(settings)
    online.sendmail("-odq", "root")
    assert online.admin("run", "--once").returncode == 0
    assert any("warning: no administrator is named" in line and "set MAIL_TO" in line for line in online.syslog.read())


def test_a_runner_sends_what_comes_while_it_waits(online: Host, sandbox: Sandbox) -> None:
    """The FIFO wakes it; the mail is there in a moment."""
    with online.runner():
        for name in ("first", "second"):
            assert online.sendmail("root", stdin=f"Subject: {name}\n\n".encode()).returncode == 0
            eventually(lambda name=name: name in subjects(sandbox.accepted()), f"{name} arrives")  # type: ignore[misc]
    assert drained(online)
    assert sandbox.counts()["token"] == 1


def test_a_runner_leaves_when_idle(online: Host) -> None:
    """…with 0, and without its FIFO's reader."""
    with online.runner("--idle", "0.2") as process:
        assert process.wait(30) == 0
    assert not online.listens()


def test_a_second_runner_does_not_run_beside_the_first(online: Host, sandbox: Sandbox) -> None:
    """One lock; a second pass wakes the first instead."""
    with online.runner():
        submit(online, "mine")
        assert online.admin("run", "--once").returncode == 0
        eventually(lambda: subjects(sandbox.accepted()) == ["mine"], "the first runner was woken")


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"do": "cut_before"}, "deferred"), ({"do": "cut_after"}, "deferred"),
        ({"do": "status_after", "status": 504, "code": "UnknownError"}, "deferred"),
        ({"do": "status", "status": 500, "code": "x"}, "deferred"), ({"do": "garbage", "status": 200}, "deferred"),
        ({"do": "status", "status": 403, "code": "ErrorAccessDenied"}, "held"), ({"do": "redirect"}, "held"),
        ({"do": "status", "status": 400, "code": "ErrorInvalidRecipients"}, "failed"),
        ({"do": "status", "status": 400, "code": "UnableToDeserializePostBody"}, "deferred"),
        ({"do": "status", "status": 429, "code": "ApplicationThrottled", "retry_after": "600"}, "deferred"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_keeps_the_mail_and_says_why(online: Host, sandbox: Sandbox, fault: dict[str, Any], state: str) -> None:
    """…in the listing and in syslog, and the next chance sends it, with the same Message-ID."""
    submit(online, "kept")
    sandbox.faults({"on": "sendMail", **fault})
    assert online.admin("run", "--once").returncode == (69 if state == "failed" else 75)
    (row,) = online.rows()
    assert (row["state"], row["attempts"]) == (state, 1)
    assert row["reason"]
    assert any(f"status={state}" in line and row["reason"] in line for line in online.syslog.read())
    assert online.admin("queue", "retry", "ALL").returncode == 0
    assert eventually(lambda: drained(online), "the second attempt")
    assert online.failed() == []
    mails = sandbox.accepted()
    assert len({mail["message"]["internetMessageId"] for mail in mails}) == 1
    assert len(mails) == (2 if fault["do"] in ("cut_after", "status_after") else 1)


def test_a_wrong_secret_asks_once_and_names_the_remedy(online: Host, sandbox: Sandbox) -> None:
    """Twenty mails, one token request, no sendMail; all held with the sentence."""
    submit(online, *(str(n) for n in range(20)))
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET="wrong"))
    assert online.admin("run", "--once").returncode == 75
    assert (sandbox.counts()["token"], sandbox.counts()["sendmail"]) == (1, 0)
    rows = online.rows()
    assert {row["state"] for row in rows} == {"held"}
    assert all("set GRAPH_CLIENT_SECRET to the secret's Value" in row["reason"] for row in rows)


def test_mending_the_settings_drains_the_queue_by_itself(online: Host, sandbox: Sandbox) -> None:
    """The admin corrects the file; nobody restarts anything."""
    names = submit(online, *(f"m{n}" for n in range(12)))
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET="wrong"))
    with online.runner():
        eventually(lambda: {row["state"] for row in online.rows()} == {"held"}, "all are held")
        online.settle(sandbox.settings())
        eventually(lambda: drained(online), "the queue drains")
    assert sorted(subjects(sandbox.accepted())) == sorted(names)


@pytest.mark.parametrize("text", ["GRAPH_SENDERR=x\n", "", "\udcff", "GRAPH_SENDER=a@b.c\nGRAPH_CLOUD=moon\n"])
def test_broken_settings_hold_the_mail_and_say_what_is_wrong(online: Host, sandbox: Sandbox, text: str) -> None:
    """…and the runner stays, and sends when they are mended."""
    names = submit(online, "a", "b")
    online.config.write_text(text, "utf-8", "surrogateescape")
    with online.runner():
        eventually(lambda: {row["state"] for row in online.rows()} == {"held"}, "all are held")
        assert all(str(online.config) in row["reason"] for row in online.rows())
        online.settle(sandbox.settings())
        eventually(lambda: drained(online), "the queue drains")
    assert sorted(subjects(sandbox.accepted())) == names


def test_a_missing_permission_is_probed_by_one_mail(online: Host, sandbox: Sandbox) -> None:
    """Those in flight meet the refusal, the rest of the queue is put off unasked; the next round asks once."""
    submit(online, *(str(n) for n in range(12)))
    sandbox.control(roles=[])
    online.admin("run", "--once")
    asked = sandbox.counts()["sendmail"]
    assert 1 <= asked <= 8
    assert len([row for row in online.rows() if row["state"] == "held"]) == 12
    sandbox.control(roles=["Mail.Send"])
    submit(online, "new")
    assert online.admin("run", "--once").returncode == 0  # the new mail's success releases the held ones
    assert drained(online)
    assert len(sandbox.accepted()) == 13


def test_a_filter_that_blocks_one_mail_does_not_stop_the_others(online: Host, sandbox: Sandbox) -> None:
    """403 with a page of the proxy's: that mail is held, and the sentence says who refuses it; root's alarm goes."""
    submit(online, "blocked")
    sandbox.faults({"on": "sendMail", "do": "garbage", "status": 403})
    assert online.admin("run", "--once").returncode == 75
    submit(online, "FENCING ALARM")
    assert online.admin("run", "--once").returncode == 75
    assert subjects(sandbox.accepted()) == ["FENCING ALARM"]
    (row,) = online.rows()
    assert row["state"] == "held"
    assert "something between this host and Graph refuses the mail's content" in row["reason"]


def test_graph_down_and_back(online: Host, sandbox: Sandbox) -> None:
    """Nobody listens: deferred, one attempt for all; back again: everything drains."""
    names = submit(online, *(f"d{n}" for n in range(8)))
    online.settle(sandbox.settings(GRAPH_ENDPOINT="https://localhost:1", GRAPH_AUTHORITY="https://localhost:1"))
    assert online.admin("run", "--once").returncode == 75
    rows = online.rows()
    assert {row["state"] for row in rows} == {"deferred"}
    assert all("cannot connect to localhost" in row["reason"] for row in rows)
    online.settle(sandbox.settings())
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert sorted(subjects(sandbox.accepted())) == sorted(names)


def test_junk_and_damaged_files_do_not_stop_the_others(online: Host, sandbox: Sandbox) -> None:
    """The damaged one is kept in failed/, the foreign ones are left alone and reported."""
    queue = online.spool / "queue"
    (queue / ("0" * 18)).write_bytes(b"no envelope\nSubject: x\n\n")
    (queue / ("1" * 18)).write_bytes(b"")
    (queue / ("2" * 18)).symlink_to("/etc/passwd")
    (queue / "README").write_text("x")
    (queue / ("3" * 18)).mkdir()
    (queue / ("4" * 18)).write_bytes(b'{"version": 99}\nx')
    submit(online, "good")
    os.mkfifo(queue / f"{online.queue()[-1]}.log")
    (queue / ("0" * 18 + ".log")).mkdir()
    assert online.admin("run", "--once").returncode == 69
    assert subjects(sandbox.accepted()) == ["good"]
    assert online.failed() == ["0" * 18, "1" * 18, "4" * 18]
    assert (online.spool / "failed" / ("0" * 18)).read_bytes() == b"no envelope\nSubject: x\n\n"
    assert (queue / "README").exists()
    log = "\n".join(online.syslog.read())
    assert "README is not a message; left alone" in log
    assert "damaged: envelope of version 99" in log


def test_a_heap_of_junk_is_reported_once_and_mail_goes_on(online: Host, sandbox: Sandbox) -> None:
    """Names of 255 bytes, files that nobody may read, a thousand of them: some are named, the rest is counted."""
    queue = online.spool / "queue"
    for number in range(1000):
        (queue / f"junk {number} {'x' * 200}").write_text("")
    (queue / ("y" * 255)).write_text("")
    (queue / ("A" * 18)).write_text("no envelope")
    (queue / ("A" * 18)).chmod(0)
    submit(online, "good")
    assert online.admin("run", "--once").returncode in (69, 75)  # root reads what nobody may, and finds it damaged
    assert subjects(sandbox.accepted()) == ["good"]
    said = [line for line in online.syslog.read() if "left alone" in line]
    assert len(said) == 11
    assert "991 more files in" in said[-1]


def test_recipients_that_graph_alone_knows_to_be_bad_cost_the_others_nothing(online: Host, sandbox: Sandbox) -> None:
    """Two of 1200: the 1198 have their mail once, the message is in failed/ and names the two; a retry asks for those alone."""
    people = [f"u{number}@example.com" for number in range(1200)]
    bad = [people[7], people[1100]]
    sandbox.control(refused=bad)
    online.sendmail("-odq", *people)
    assert online.admin("run", "--once").returncode == 69

    def reached() -> list[str]:
        return [
            person["emailAddress"]["address"]
            for mail in sandbox.accepted()
            for key in ("toRecipients", "ccRecipients", "bccRecipients")
            for person in mail["message"].get(key, [])
        ]

    assert sorted(reached()) == sorted(set(people) - set(bad))
    (row,) = online.rows()
    assert row["state"] == "failed"
    assert f"but not to {' '.join(bad)}" in row["reason"]
    sandbox.control(refused=bad[:1])
    assert online.admin("queue", "retry", "ALL").returncode == 0
    eventually(lambda: bad[1] in reached(), "the mended address has its mail")
    assert len(reached()) == 1199


def test_a_bad_recipient_among_good_ones_is_kept_for_the_admin(online: Host, sandbox: Sandbox) -> None:
    """The good ones have their mail; the message is in failed/ and says whom it did not reach; a retry sends none twice."""
    online.sendmail("-odq", "good@example.com", "bad@exa_mple.com")
    assert online.admin("run", "--once").returncode == 69
    (row,) = online.rows()
    assert row["state"] == "failed"
    assert "sent to good@example.com, but not to bad@exa_mple.com" in row["reason"]
    online.admin("queue", "retry", "ALL")
    eventually(lambda: len(online.failed()) == 1 and drained(online), "the retry has failed again")
    assert len(sandbox.accepted()) == 1


def test_more_recipients_than_a_message_may_have(online: Host, sandbox: Sandbox) -> None:
    """5,000 in messages of 500, each address once, although the second message fails at first."""
    people = [f"p{n}@example.com" for n in range(5000)]
    online.sendmail("-odq", "--", *people)
    sandbox.faults({"on": "sendMail", "status": 500, "code": "x", "after": 1})
    assert online.admin("run", "--once").returncode == 75
    assert len(sandbox.accepted()) == 1
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    got = [
        person["emailAddress"]["address"] for mail in sandbox.accepted() for person in mail["message"].get("bccRecipients", [])
    ]
    assert sorted(got) == sorted(people)
    assert len(sandbox.accepted()) == 10


@pytest.mark.parametrize(
    "sender", ["jörg@exämple.com", "Jörg <jörg@example.com>", "=?utf-8?q?j=C3=B6rg?=@example.com", "\udcff\udcfe"]
)
def test_a_mime_form_that_cannot_be_made_never_keeps_a_mail(online: Host, sandbox: Sandbox, sender: str) -> None:
    """A From address that is not ASCII: it goes, in whichever form; what Exchange alone may say is left out."""
    online.settle(sandbox.settings(MAIL_FORMAT="mime"))
    head = f"From: {sender}\nSubject: odd\nX-MS-Exchange-Organization-SCL: -1\nDKIM-Signature: v=1; a=b\n\nx\n"
    assert online.sendmail("-odq", "root", stdin=head.encode("utf-8", "surrogateescape")).returncode == 0
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert "SCL" not in json.dumps(mail)


def test_a_subject_and_a_line_without_end(online: Host, sandbox: Sandbox) -> None:
    """200 kB and 100 kB: the subject is cut to what Exchange keeps, the line comes whole."""
    line = "<&>" + "x" * 100_000
    online.sendmail("-odq", "root", stdin=f"Subject: {'s' * 200_000}\nX-Long: {'y' * 200_000}\n\n{line}\n".encode())
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert mail["message"]["subject"] == "s" * 254 + "…"
    assert "x" * 100_000 in mail["message"]["body"]["content"]


def test_old_mail_is_given_up_into_failed_and_kept(online: Host, sandbox: Sandbox) -> None:
    """QUEUE_LIFETIME, after it had its chances."""
    online.settle(sandbox.settings(QUEUE_LIFETIME="1s"))
    submit(online, "old")
    (queue_id,) = online.queue()
    message = online.message(queue_id)
    file = online.spool / "queue" / queue_id
    file.write_bytes(re.sub(rb'"arrived":[0-9.]+', b'"arrived":%d' % (time.time() - 2), file.read_bytes(), count=1))
    sandbox.faults({"on": "sendMail", "status": 500, "code": "x", "times": 3})
    for _ in range(2):
        assert online.admin("run", "--once").returncode == 75
        online.make_due()
    assert online.admin("run", "--once").returncode == 69
    (row,) = online.rows()
    assert (row["state"], row["attempts"]) == ("failed", 3)
    assert "given up after" in row["reason"]
    assert (online.spool / "failed" / row["id"]).read_bytes().endswith(message)


def test_sigterm_lets_the_mail_in_flight_finish(online: Host, sandbox: Sandbox) -> None:
    """What is being sent is settled; what was not begun stays whole; the exit is in order."""
    sandbox.control(latency=1.0)
    names = submit(online, *(f"s{n}" for n in range(10)))
    with online.runner() as process:
        eventually(lambda: sandbox.counts()["in_flight"] == 4, "four are in flight")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    sandbox.control(latency=0.01)
    assert len(sandbox.accepted()) + len(online.queue()) == 10
    assert len(sandbox.accepted()) >= 4
    assert online.admin("run", "--once").returncode == 0
    assert sorted(subjects(sandbox.accepted())) == sorted(names)


def test_at_most_four_at_once(online: Host, sandbox: Sandbox) -> None:
    """Exchange allows an app four concurrent requests per mailbox."""
    sandbox.control(latency=0.1)
    submit(online, *(str(n) for n in range(16)))
    assert online.admin("run", "--once").returncode == 0
    assert sandbox.counts()["most_in_flight"] == 4
    assert len(sandbox.accepted()) == 16


def test_late_mail_says_so(online: Host, sandbox: Sandbox) -> None:
    """Handed in an hour ago by its envelope."""
    submit(online, "late")
    (queue_id,) = online.queue()
    path = online.spool / "queue" / queue_id
    envelope = online.envelope(queue_id)
    old = path.read_bytes().replace(
        f'"arrived":{envelope["arrived"]:.6f}'.encode(), f'"arrived":{time.time() - 3600:.6f}'.encode()
    )
    path.write_bytes(old)
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert "sent 1 hour later." in sandbox.accepted()[0]["message"]["body"]["content"]


def test_no_secret_no_token_no_body_in_any_line(online: Host, sandbox: Sandbox) -> None:
    """syslog, listing and what the programs print, over good and bad attempts."""
    online.sendmail("-odq", "root", stdin=b"Subject: x\n\nTOPSECRET-BODY\n")
    sandbox.faults(
        {"on": "token", "status": 500, "code": "x"}, {"on": "sendMail", "do": "cut_before"}, {"on": "sendMail", "do": "garbage"},
        {"on": "sendMail", "status": 401, "code": "InvalidAuthenticationToken"},
    )  # fmt: skip
    printed = []
    for _ in range(4):
        done = online.admin("queue", "flush")
        shown = online.admin("queue", "list")
        printed += [done.stdout, done.stderr, shown.stdout]
    assert drained(online)
    everything = "\n".join([*online.syslog.read(), *printed])
    token = (online.state / "tokens.json").read_text()
    assert "TOPSECRET" not in everything
    assert sandbox.about["secret"] not in everything + token
    assert "eyJ" not in everything  # every JWT begins so


@pytest.mark.parametrize("how", ["flush", "retry", "sendmail -q", "SIGHUP"])
def test_an_admin_who_granted_consent_need_not_wait(online: Host, sandbox: Sandbox, how: str) -> None:
    """The queue is suspended; an admin's word lifts it, whichever way it comes."""
    submit(online, *(f"c{n}" for n in range(6)))
    sandbox.control(roles=[])
    with online.runner() as runner:
        eventually(lambda: {row["state"] for row in online.rows()} == {"held"}, "all are held")
        sandbox.control(roles=["Mail.Send"])
        if how == "flush":
            assert online.admin("queue", "flush").returncode == 0
        elif how == "retry":
            assert online.admin("queue", "retry", online.queue()[0]).returncode == 0
        elif how == "sendmail -q":
            assert online.sendmail("-q", stdin=b"").returncode == 0
        else:
            runner.send_signal(signal.SIGHUP)
        eventually(lambda: drained(online), "the queue drains")
    assert len(sandbox.accepted()) == 6


def test_sighup_tries_what_waits_for_its_own_time_too(online: Host, sandbox: Sandbox) -> None:
    """As its own text says, and `sendmail -q` does: everything now."""
    submit(online, "alone")
    (queue_id,) = online.queue()
    event = Event(time.time(), journal.ATTEMPT, "deferred", "busy", attempts=3)
    journal.append(str(online.spool / "queue"), queue_id, event)
    Spool(str(online.spool)).defer(queue_id, time.time() + 3600)
    with online.runner() as runner:
        eventually(online.listens, "the runner listens")
        submit(online, "another")
        eventually(lambda: len(sandbox.accepted()) == 1, "it works")
        runner.send_signal(signal.SIGHUP)
        eventually(lambda: drained(online), "the queue drains")


def test_a_secret_that_became_right_is_asked_again(online: Host, sandbox: Sandbox) -> None:
    """The refusal is remembered for minutes, but not against an admin's word."""
    submit(online, "x")
    sandbox.control(secret="not yet replicated")
    assert online.admin("queue", "flush").returncode == 75
    sandbox.control(secret=sandbox.about["secret"])
    assert online.admin("queue", "flush").returncode == 0


def test_a_waiting_runner_ends_at_sigterm(online: Host) -> None:
    """It waits for the lock of another one."""
    with online.runner():
        second = subprocess.Popen(online.admin_command("run"), env=online.env)
        locks = f"/proc/{second.pid}/stack"
        eventually(lambda: os.path.exists(locks) and "flock" in wchan(second.pid), "the second waits for the lock")
        second.terminate()
        assert second.wait(10) != 0


def wchan(pid: int) -> str:
    """What a process waits in, as the kernel shows it; `flock` where it cannot be seen but the process sleeps."""
    with open(f"/proc/{pid}/stat") as file:
        state = file.read().rpartition(")")[2].split()[0]
    with open(f"/proc/{pid}/syscall") as file:
        return "flock" if state == "S" and file.read().split()[0] == "73" else ""


def test_bounces_of_busy_gateways_are_not_sent_again_at_once(online: Host, sandbox: Sandbox) -> None:
    """504 with a code that is transient elsewhere, after the mail was taken: one copy until the schedule says so."""
    submit(online, "once")
    sandbox.faults({"on": "sendMail", "do": "status_after", "status": 504, "code": "ServiceUnavailable", "times": 3})
    assert online.admin("run", "--once").returncode == 75
    assert len(sandbox.accepted()) == 1


def test_a_mail_without_from_shows_the_envelope_s_sender(online: Host, sandbox: Sandbox) -> None:
    """sendmail -f somebody, no From header."""
    assert online.sendmail("-odi", "-f", "job@example.org", "root").returncode == 0
    message = sandbox.accepted()[0]["message"]
    assert message["from"]["emailAddress"]["name"].startswith("job@example.org via ")
    assert message["replyTo"][0]["emailAddress"]["address"] == "job@example.org"


def test_sigterm_ends_senders_that_wait(online: Host, sandbox: Sandbox) -> None:
    """All four are throttled, and finish in the instant the signal comes."""
    for _ in range(4):
        submit(online, "a", "b", "c", "d")
        sandbox.faults({"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "20", "times": 4})
        before = sandbox.counts()["sendmail"]
        with online.runner() as runner:
            eventually(lambda before=before: sandbox.counts()["sendmail"] > before, "it is throttled")  # type: ignore[misc]
            runner.send_signal(signal.SIGTERM)
            assert runner.wait(5) in (0, 75)


def test_flush_beside_a_slow_runner_ends(online: Host, sandbox: Sandbox) -> None:
    """Each mail is tried once for it, however long an attempt takes."""
    submit(online, "a", "b", "c")
    sandbox.control(roles=[], latency=5.5)
    with online.runner():
        done = online.admin("queue", "flush")
    assert done.returncode == 75
    assert "0 sent, 3 still queued" in done.stdout
    assert sandbox.counts()["sendmail"] <= 9


def test_mail_is_noticed_without_the_fifo(online: Host, sandbox: Sandbox) -> None:
    """Somebody removed it, with the runtime directory, under the runner."""
    with online.runner():
        (online.run_directory / "wake").unlink()
        assert online.sendmail("root", stdin=b"Subject: noticed\n\n").returncode == 0
        eventually(lambda: subjects(sandbox.accepted()) == ["noticed"], "it arrives")
        eventually(lambda: drained(online), "it is unlinked")


def test_the_fifo_that_systemd_passes_is_taken(online: Host, sandbox: Sandbox) -> None:
    """ListenFIFO=: descriptor 3 and LISTEN_PID (sd_listen_fds(3)); what is written there is read, and wakes."""
    fifo = online.folder / "wake"  # elsewhere, so that it cannot be taken for the runner's own
    os.mkfifo(fifo)
    script = f"LISTEN_PID=$$ LISTEN_FDS=1 exec {shlex.join(online.admin_command('run'))} 3<>{fifo}"
    process = subprocess.Popen(["/bin/sh", "-c", script], env=online.env)
    try:
        submit(online, "by systemd")
        eventually(lambda: subjects(sandbox.accepted()) == ["by systemd"], "it arrives")
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert wake(str(online.folder))
            eventually(lambda: waiting(reader) == 0, "the byte is read")
            assert not (online.run_directory / "wake").exists()
        finally:
            os.close(reader)
    finally:
        process.terminate()
        assert process.wait(10) == 0


def waiting(fd: int) -> int:
    """Bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
