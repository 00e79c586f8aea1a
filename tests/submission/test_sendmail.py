"""The real sendmail as a subprocess: what it takes, what it refuses, and that it never hangs or cuts."""

import json
import os
import pty
import resource
import subprocess
import time
from pathlib import Path

import pytest

from tests.programs import PATIENCE, TREE, Host, eventually

PROXMOX = ("-B", "8BITMIME", "-f", "root", "--", "admin@example.com")


def test_an_accepted_mail_is_a_file_with_the_bytes_as_read(host: Host) -> None:
    """Exit 0, one file, one line of envelope, then exactly what was on standard input."""
    message = b"From x Tue Jun 30 04:15:02 2026\nSubject: a\r\n\r\n\0\xff.\r\n.\n\nno newline at the end"
    done = host.sendmail("-odq", *PROXMOX, stdin=message)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (queue_id,) = host.queue()
    assert host.message(queue_id) == message
    envelope = host.envelope(queue_id)
    assert envelope["sender"] == "root"
    assert envelope["recipients"] == ["admin@example.com"]
    assert envelope["uid"] == os.getuid()
    assert abs(envelope["arrived"] - time.time()) < 60
    file = host.spool / "queue" / queue_id
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_mtime == 0  # due at once, whatever this host's clock says


def test_every_acceptance_is_one_line_in_syslog(host: Host) -> None:
    """`ID: from=<…>, uid=…, size=…, nrcpt=…`."""
    host.sendmail("-odq", "-f", "ops@example.com", "a@example.com,b@example.com", stdin=b"x" * 100)
    (line,) = host.syslog.read()
    (queue_id,) = host.queue()
    assert line.startswith("sendmail[")
    assert line.endswith(f"]: {queue_id}: from=<ops@example.com>, uid={os.getuid()}, size=100, nrcpt=2")


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_the_umask_of_the_caller_changes_nothing(host: Host, umask: int) -> None:
    """0640 always."""
    assert host.sendmail("-odq", "root", umask=umask).returncode == 0
    (queue_id,) = host.queue()
    assert (host.spool / "queue" / queue_id).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("argv", "stdin", "status", "says"),
    [
        (["-odq"], b"Subject: x\n\n", 64, "no recipients"),
        (["-odq", "-t"], b"Subject: x\n\nTo: body@example.com\n", 64, "no recipients in To, Cc, Bcc"),
        (["-odq", "-Z"], b"x", 64, "-Z: unknown option"),
        (["-bd"], b"", 64, "no SMTP daemon"),
        (["-odq", "a@x\nBcc: b@y"], b"x", 65, "control character 0x0a"),
        (["-odq", "-f", "a\x1bb", "root"], b"x", 65, "control character 0x1b"),
        (["-odq", "@"], b"x", 65, "none of the recipients is a valid address"),
    ],
)
def test_refusals_queue_nothing_and_say_why_once(host: Host, argv: list[str], stdin: bytes, status: int, says: str) -> None:
    """One sentence on standard error and the same in syslog; nothing in the spool."""
    done = host.sendmail(*argv, stdin=stdin)
    assert done.returncode == status
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert os.listdir(host.spool / "queue") == []
    (line,) = host.syslog.read()
    assert "refused: " in line
    assert says in line
    assert f"status {status}" in line


def test_a_good_recipient_among_bad_ones_is_enough(host: Host) -> None:
    """The delivery judges the bad ones; the good ones must not wait for a typo."""
    assert host.sendmail("-odq", "good@example.com, @").returncode == 0
    assert host.envelope(host.queue()[0])["recipients"] == ["good@example.com", "@"]


def test_t_adds_the_header_s_recipients_to_those_of_argv(host: Host) -> None:
    """Each once, in order."""
    stdin = b"To: b@example.com, A <a@example.com>\nBcc: c@example.com\n\nx\n"
    assert host.sendmail("-odq", "-t", "a@example.com", stdin=stdin).returncode == 0
    (queue_id,) = host.queue()
    assert host.envelope(queue_id)["recipients"] == ["a@example.com", "b@example.com", "c@example.com"]
    assert host.message(queue_id) == stdin


def test_t_finds_a_header_that_comes_slowly(host: Host) -> None:
    """The header section may arrive byte by byte."""
    process = subprocess.Popen(host.command("sendmail", "-odq", "-t"), env=host.env, stdin=subprocess.PIPE)
    assert process.stdin is not None
    for byte in b"Subject: x\nTo: slow@example.com\n\nbody":
        process.stdin.write(bytes([byte]))
        process.stdin.flush()
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert host.envelope(host.queue()[0])["recipients"] == ["slow@example.com"]


@pytest.mark.parametrize("argv", [[], ["-Z"], ["-bd"], ["-odq", "root"], ["-odq", "a\nb"]], ids=str)
def test_standard_input_is_read_to_its_end_even_on_an_error(host: Host, argv: list[str]) -> None:
    """A caller that writes a megabyte never gets EPIPE: Proxmox takes it for a failed notification, a task dies of it."""
    process = subprocess.Popen(host.command("sendmail", *argv), env=host.env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    for _ in range(64):
        process.stdin.write(b"y" * 65536)
    process.stdin.close()  # would raise BrokenPipeError
    assert process.wait(PATIENCE) in (0, 64, 65)


@pytest.mark.parametrize(("argv", "cut"), [([], True), (["-i"], False), (["-oi"], False)])
def test_a_single_dot_ends_the_message_on_a_terminal_only(host: Host, argv: list[str], cut: bool) -> None:
    """Typed at a terminal, without -i."""
    master, slave = pty.openpty()
    process = subprocess.Popen(host.command("sendmail", "-odq", *argv, "root"), env=host.env, stdin=slave, stderr=slave)
    os.close(slave)
    os.write(master, b"Subject: typed\n\nhello\n")
    os.write(master, b".\n")
    if not cut:
        os.write(master, b"more\n\x04")
    assert process.wait(PATIENCE) == 0
    os.close(master)
    assert host.message(host.queue()[0]).endswith(b"hello\n" if cut else b"hello\n.\nmore\n")


def test_closed_standard_streams_do_no_harm(host: Host) -> None:
    """No stdin, stdout, stderr: the spool file must not become one of them."""
    command = host.command("sendmail", "-odq", "root")
    script = f"exec {' '.join(command)} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", script], env=host.env, check=False).returncode == 0
    assert host.message(host.queue()[0]) == b""
    bad = f"exec {' '.join(host.command('sendmail'))} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", bad], env=host.env, check=False).returncode == 64


def test_an_absent_spool_is_75_in_one_line(host: Host) -> None:
    """…and a line in syslog that names it."""
    done = host.sendmail("-odq", "root", env={"PROXMOX_GRAPH_MAIL_SPOOL": str(host.folder / "nowhere")})
    assert done.returncode == 75
    assert done.stderr.count(b"\n") == 1
    assert b"nowhere/queue" in done.stderr
    assert "status 75" in host.syslog.read()[0]


def test_a_spool_that_this_user_may_not_write_and_no_socket_is_75(host: Host) -> None:
    """The sentence names both ways."""
    done = host.other_user_sendmail("-odq", "root")
    assert done.returncode == 75
    assert b"cannot write the spool" in done.stderr
    assert b"submit.socket" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_full_disk_is_75_and_leaves_nothing(host: Host) -> None:
    """A file that cannot grow (RLIMIT_FSIZE stands in for ENOSPC): nothing is left, the caller is told, stdin is read."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = host.sendmail("-odq", "root", stdin=b"z" * 1_000_000, preexec_fn=no_room)
    assert done.returncode == 75
    assert b"the disk is full" in done.stderr
    assert os.listdir(host.spool / "queue") == []


def test_a_giant_is_refused_and_read_to_its_end(host: Host) -> None:
    """69: no mailbox could send it, trying again is of no use."""
    env = {"PROXMOX_GRAPH_MAIL_MESSAGE_LIMIT": "100000"}
    done = host.sendmail("-odq", "root", stdin=b"z" * 1_000_000, env=env)
    assert done.returncode == 69
    assert os.listdir(host.spool / "queue") == []


def test_no_option_opens_a_file(host: Host) -> None:
    """-X, -C, -O, -D and -oA name files; none is written or read."""
    target = host.folder / "target"
    argv = ["-X", str(target), "-C", str(target), "-O", f"QueueDirectory={target}", "-D", str(target), f"-oA{target}"]
    assert host.sendmail("-odq", *argv, "root").returncode == 0
    assert not target.exists()


def test_syslog_that_hangs_costs_a_second_at_most(host: Host) -> None:
    """A journal whose socket is full must not hang the HA manager."""
    import socket

    full = host.folder / "full"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hung, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        hung.bind(str(full))
        writer.setblocking(False)
        try:
            while True:
                writer.sendto(b"x" * 1000, str(full))
        except BlockingIOError:
            pass  # it is full now
        start = time.monotonic()
        done = host.sendmail("-odq", "root", env={"PROXMOX_GRAPH_MAIL_SYSLOG": str(full)})
        assert done.returncode == 0
        assert time.monotonic() - start < 5
    assert len(host.queue()) == 1


def test_bad_bytes_in_argv_are_kept_not_fatal(host: Host) -> None:
    """argv is bytes; a name in Latin-1 must not stop the mail."""
    done = host.sendmail("-odq", "-F", os.fsdecode(b"J\xfcrgen"), "root")
    assert done.returncode == 0
    assert json.dumps(host.envelope(host.queue()[0])["full_name"]) == '"J\\udcfcrgen"'


def test_v_prints_the_queue_id(host: Host) -> None:
    """-v."""
    done = host.sendmail("-odq", "-v", "root")
    assert done.stdout.decode() == f"queued as {host.queue()[0]}\n"


@pytest.mark.parametrize("sender", ["", "<>"])
def test_the_null_sender(host: Host, sender: str) -> None:
    """-f '' and -f '<>' are the null sender; no -f is the login name."""
    assert host.sendmail("-odq", "-f", sender, "root").returncode == 0
    assert host.envelope(host.queue()[0])["sender"] == ""


def test_newaliases_succeeds_and_leaves_standard_input_alone(host: Host) -> None:
    """Maintainer scripts call it with debconf's stream as standard input."""
    read, write = os.pipe()
    process = subprocess.Popen(host.command("newaliases"), env=host.env, stdin=read)
    assert process.wait(PATIENCE) == 0  # although the pipe is open and empty
    os.close(read)
    os.close(write)


def test_wake_up_writes_the_queue_id_into_the_fifo(host: Host) -> None:
    """-odb wakes who listens; -odq does not."""
    fifo = host.run_directory / "wake"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        host.sendmail("-odq", "root")
        with pytest.raises(BlockingIOError):
            os.read(reader, 10)
        host.sendmail("root")
        assert os.read(reader, 100).decode() == f"{host.queue()[-1]}\n"
    finally:
        os.close(reader)


def test_a_regular_file_in_the_fifo_s_place_is_left_alone(host: Host) -> None:
    """Nothing is written to what is no FIFO."""
    (host.run_directory / "wake").write_text("precious")
    assert host.sendmail("root").returncode == 0
    assert (host.run_directory / "wake").read_text() == "precious"


def test_without_a_runner_odb_starts_one_detached_pass(online: Host) -> None:
    """No systemd, no runner: the mail goes all the same, and sendmail does not wait for it."""
    assert online.sendmail("root").returncode == 0
    eventually(lambda: not online.queue(), "the detached pass has sent the mail")


@pytest.mark.parametrize(
    ("config", "status"),
    [("good", 0), ("wrong secret", 75)],
)
def test_odi_waits_for_the_outcome(online: Host, config: str, status: int) -> None:
    """-odi: 0 when sent, 75 when queued but not sent, with the reason."""
    if config == "wrong secret":
        text = online.config.read_text()
        online.config.write_text(text.replace("GRAPH_CLIENT_SECRET=", "GRAPH_CLIENT_SECRET=wrong"))
    done = online.sendmail("-odi", "root")
    assert done.returncode == status, done.stderr
    if status:
        assert b"the client secret is wrong" in done.stderr
    assert len(online.queue()) == (1 if status else 0)


def test_odi_says_69_when_graph_refuses_the_message(online: Host, sandbox: object) -> None:
    """…which is then in failed/."""
    sandbox.faults({"on": "sendMail", "status": 400, "code": "ErrorInvalidRecipients", "times": 1})  # type: ignore[attr-defined]
    done = online.sendmail("-odi", "root")
    assert done.returncode == 69
    assert len(online.failed()) == 1


def test_bv_shows_who_would_get_the_mail_and_sends_nothing(online: Host) -> None:
    """sendmail -bv root."""
    online.aliases.write_text("www-data: web@example.com\n")
    done = online.sendmail("-bv", "root", "www-data", "x@example.org", stdin=b"")
    assert done.stdout.decode().splitlines() == [
        "root -> admin@example.com", "www-data -> web@example.com", "x@example.org -> x@example.org",
    ]  # fmt: skip
    assert online.queue() == []


def test_a_non_blocking_standard_input_is_read_to_its_end(host: Host) -> None:
    """The other end may set O_NONBLOCK on a shared pipe; a pause is not the end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    process = subprocess.Popen(host.command("sendmail", "-odq", "root"), env=host.env, stdin=read)
    os.close(read)
    os.write(write, b"Subject: first half\n\n")
    eventually(lambda: len(os.listdir(host.spool / "queue")) == 1, "it has begun")
    waits = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: waits.read_text().rpartition(") ")[2][0] in "SZ", "it waits, or took the pause for the end")
    os.write(write, b"second half\n")
    os.close(write)
    assert process.wait(PATIENCE) == 0
    assert host.message(host.queue()[0]) == b"Subject: first half\n\nsecond half\n"


def test_more_recipients_than_an_envelope_holds_are_refused(host: Host) -> None:
    """…before anything is accepted."""
    stdin = b"To: " + b", ".join(b"recipient-number-%d@a-rather-long-domain.example.com" % n for n in range(60_000)) + b"\n\nx"
    done = host.sendmail("-odq", "-t", stdin=stdin)
    assert done.returncode == 65
    assert b"too many" in done.stderr
    assert os.listdir(host.spool / "queue") == []


def test_once_bytes_are_read_no_other_way_is_tried(host: Host) -> None:
    """A spool that turns read-only in between is 75; handing over what is left would be an empty mail."""
    from proxmox_graph_mail.errors import SpoolAccessError
    from proxmox_graph_mail.spool.envelope import Envelope
    from proxmox_graph_mail.spool.incoming import Incoming
    from proxmox_graph_mail.spool.store import Spool
    from proxmox_graph_mail.submission.intake import take

    class TurnsReadOnly(Incoming):
        def commit(self) -> str:
            self.discard()
            raise SpoolAccessError("Read-only file system")

    spool = Spool(str(host.spool))
    spool.accept = lambda line: TurnsReadOnly(spool.queue, line)  # type: ignore[method-assign]
    envelope = Envelope(sender="", recipients=("root",), uid=0, arrived=0.0)
    with host.submit_socket(), pytest.raises(SpoolAccessError):
        take(spool, str(host.run_directory), envelope, iter([b"x"]))
    assert os.listdir(host.spool / "queue") == []


def test_a_python_without_the_modules_says_so(host: Host) -> None:
    """The part behind the fast path needs them; a detached pass has only the log to say it."""
    done = subprocess.run(
        [*host.command("sendmail")[:2], str(TREE / "proxmox_graph_mail" / "admin" / "__main__.py"), "run", "--once"],
        env=host.env, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75
    assert b"has no module" in done.stderr
    assert b"Traceback" not in done.stderr
