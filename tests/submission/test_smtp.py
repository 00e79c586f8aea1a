"""The SMTP dialogue: of sendmail -bs, and of the receiver on localhost."""

import json
import os
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from proxmox_graph_mail.submission.peer import NOBODY_KNOWN, uid_by_tcp
from proxmox_graph_mail.submission.receiver import PER_USER
from tests.programs import DEBIAN_PYTHON, NOBODY, Host, eventually


def say(host: Host, text: str | bytes) -> list[str]:
    """The replies to a whole dialogue sent at once (PIPELINING)."""
    data = text if isinstance(text, bytes) else text.encode()
    done = host.sendmail("-bs", stdin=data)
    assert b"Traceback" not in done.stderr
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_message_is_taken(host: Host, end: str) -> None:
    """CRLF and bare LF; dots unstuffed; 250 with the queue ID."""
    lines = ["EHLO me", "MAIL FROM:<a@example.com> SIZE=10 BODY=8BITMIME", "RCPT TO:<b@example.com>", "RCPT TO:<root>", "DATA",
             "Subject: x", "", "..dot", ".x", "end", ".", "QUIT", ""]  # fmt: skip
    replies = say(host, end.join(lines))
    (queue_id,) = host.queue()
    assert replies[-2] == f"250 2.0.0 Ok: queued as {queue_id}"
    assert replies[-1].startswith("221 ")
    assert host.message(queue_id) == end.join(["Subject: x", "", ".dot", "x", "end", ""]).encode()
    envelope = host.envelope(queue_id)
    assert (envelope["sender"], envelope["recipients"]) == ("a@example.com", ["b@example.com", "root"])


def test_a_real_client_library_is_served(host: Host) -> None:
    """Python's smtplib over a socket pair, as an inetd would connect it; two mails in one session."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(host.command("sendmail", "-bs"), stdin=theirs.fileno(), stdout=theirs.fileno(), env=host.env)
    client = smtplib.SMTP(local_hostname="test")
    client.sock = ours
    client.getreply()
    client.sendmail("a@example.com", ["b@example.com"], "Subject: one\n\n.hidden dot\n")
    client.sendmail("", ["c@example.com", "d@example.com"], b"Subject: two\n\n\xff\n")
    client.quit()
    assert process.wait(10) == 0
    first, second = host.queue()
    assert host.message(first) == b"Subject: one\r\n\r\n.hidden dot\r\n"
    assert host.envelope(second)["recipients"] == ["c@example.com", "d@example.com"]
    assert host.envelope(second)["sender"] == ""


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["DATA"], "503"), (["RCPT TO:<a@b>"], "503"), (["MAIL FROM:<a@b>", "MAIL FROM:<a@b>"], "503"), (["MAIL a@b"], "501"),
        (["MAIL FROM:<a@b>", "RCPT TO:<>"], "501"), (["MAIL FROM:<a@b>", "DATA"], "503"), (["FOO"], "502"), (["NOOP"], "250"),
        (["VRFY root"], "252"), (["MAIL FROM:<a@b>", "RCPT TO:<not an address>"], "501"), (["MAIL FROM:<a@b> SIZE=999999999999"], "552"), (["MAIL FROM:<a@b"], "501"), (["RSET"], "250"),
        (["x" * 10_000], "500"), (["HELP"], "214"), (["MAIL FROM:a@b"], "250"), ([""], "502"),
    ],
    ids=str,
)  # fmt: skip
def test_replies(host: Host, lines: list[str], reply: str) -> None:
    """Each wrong step has its code, and the dialogue goes on."""
    replies = say(host, "\r\n".join(["EHLO me", *lines, "QUIT", ""]))
    assert replies[-2].startswith(reply), replies
    assert replies[-1].startswith("221")


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_client_that_leaves_early_leaves_nothing(host: Host, cut: int) -> None:
    """Without the final dot nothing is queued."""
    text = b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\nbody without an end\r\n"
    say(host, text[:cut])
    assert host.queue() == []
    assert not list((host.spool / "queue").iterdir())


def test_a_spool_that_fails_is_a_temporary_reply(host: Host) -> None:
    """451, so that the client keeps its mail."""
    (host.spool / "queue").rmdir()
    replies = say(host, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
    assert replies[-2].startswith("451 4.3.0 Error: there is no spool at ")


def test_bytes_that_forge_the_envelope_are_refused(host: Host) -> None:
    """A bare CR or a NUL in an address."""
    replies = say(host, b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x\0y@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
    assert any(reply.startswith("500 5.5.2 Error: a bare CR or LF, or a control character") for reply in replies)
    assert host.queue() == []


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r\n.\r\r\n"])
def test_only_crlf_dot_crlf_ends_a_message(host: Host, end: bytes) -> None:
    """Else whoever wrote a part of it smuggles a second mail in, with an envelope of his own."""
    second = b"MAIL FROM:<forged@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: second\r\n\r\n"
    body = b"Subject: first\r\n\r\ntext" + end + second + b"\r\n.\r\n"
    replies = say(host, b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + body + b"QUIT\r\n")
    assert [reply for reply in replies if "queued as" in reply] == [f"250 2.0.0 Ok: queued as {host.queue()[0]}"]
    (queue_id,) = host.queue()
    assert host.envelope(queue_id)["recipients"] == ["b@example.com"]
    assert b"victim@example.com" in host.message(queue_id)


def over_socket(host: Host, data: bytes) -> bytes:
    """The replies to a whole dialogue over a socket, as the socket unit connects it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        subprocess.run(host.command("sendmail", "-bs"), stdin=theirs.fileno(), stdout=theirs.fileno(), env=host.env, check=False)
        theirs.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: ours.recv(4096), b""))


@pytest.mark.parametrize(
    "command", [b"MAIL FROM:<a@b>\n", b"MAIL FROM:<a\r@b>\r\n", b"MAIL FROM:<a\xc2\x85@b>\r\n", b"MAIL FROM:<a\xc2\x9b@b>\r\n"]
)  # fmt: skip
def test_over_a_socket_commands_are_plain_lines(host: Host, command: bytes) -> None:
    """CRLF ends them; a bare CR or LF, C0 and C1 are errors."""
    replies = over_socket(host, b"EHLO me\r\n" + command + b"QUIT\r\n")
    assert b"500 5.5.2 Error: a bare CR or LF, or a control character" in replies


def test_a_browser_is_not_spoken_to(host: Host) -> None:
    """A page that makes it post a dialogue to localhost gets nowhere."""
    replies = say(host, b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO me\r\nMAIL FROM:<a@b>\r\n")
    assert len(replies) == 2
    assert replies[1].startswith("221")


def test_ten_errors_end_the_dialogue(host: Host) -> None:
    """Who speaks no SMTP need not be answered for ever."""
    replies = say(host, "FOO\r\n" * 30)
    assert len(replies) == 12
    assert replies[-1].startswith("421")


CONNECTS = """
import json, socket, sys
connections = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
print(json.dumps([connection.recv(100).decode("ascii", "replace")[:3] for connection in connections]), flush=True)
sys.stdin.read()
"""
"""Connects so often, tells what it is greeted with, and stays."""


@contextmanager
def connected(address: str, port: int, count: int, uid: int) -> Iterator[list[str]]:
    """So many connections of one user; the codes of the greetings."""
    options = {"user": uid, "group": 1, "extra_groups": ()} if os.geteuid() == 0 else {}
    command = [DEBIAN_PYTHON, "-IS", "-c", CONNECTS, address, str(port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as client:  # type: ignore[call-overload]
        try:
            assert client.stdout is not None
            yield json.loads(client.stdout.readline())
        finally:
            client.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_user_s_connections_leave_room_for_others(host: Host, address: str) -> None:
    """The kernel says whose socket the other end is: over the limit 421, and the next user, and root, are greeted."""
    with host.smtp_socket(address) as port, ExitStack() as stack:
        greeted = stack.enter_context(connected(address, port, PER_USER + 4, NOBODY))
        assert sorted(greeted) == ["220"] * PER_USER + ["421"] * 4
        assert stack.enter_context(connected(address, port, 1, 1)) == ["220"]
        assert stack.enter_context(connected(address, port, 1, 0)) == ["220"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_who_submits_by_smtp_is_known(host: Host) -> None:
    """The envelope names the user whose socket it was, and the way it came; his limits are those of sendmail."""
    (host.spool / "daily-recipients").write_text("1\n")
    code = (
        "import smtplib, sys\n"
        "with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as smtp:\n"
        "    smtp.sendmail('a@example.com', ['b@example.com'], 'Subject: x\\n\\nx')\n"
        "    try: smtp.sendmail('a@example.com', ['b@example.com'], 'Subject: x\\n\\nx')\n"
        "    except smtplib.SMTPDataError as error: print(error)\n"
    )
    with host.smtp_socket() as port:
        command = [DEBIAN_PYTHON, "-I", "-c", code, str(port)]
        done = subprocess.run(command, user=NOBODY, group=1, extra_groups=(), capture_output=True, check=True)
    (queue_id,) = host.queue()
    envelope = host.envelope(queue_id)
    assert (envelope["uid"], envelope["protocol"]) == (NOBODY, "smtp")
    assert b"451" in done.stdout
    assert b"may send to 1 recipients in 24 hours" in done.stdout


def test_a_connection_that_was_closed_is_nobody_s() -> None:
    """The kernel lists it with uid 0: whoever hangs up at once is not taken for root."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    connection, _ = listener.accept()
    with listener, connection:
        assert uid_by_tcp(connection) == os.geteuid()
        client.close()
        assert eventually(lambda: uid_by_tcp(connection) == NOBODY_KNOWN, "the kernel sees it closed")


def test_a_client_that_has_said_all_is_still_itself() -> None:
    """Its half is closed, and its socket not; at a socket for IPv4 and IPv6 both, too."""
    for listener in (
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True),
    ):
        with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
            connection, _ = listener.accept()
            with connection:
                client.shutdown(socket.SHUT_WR)
                assert eventually(lambda connection=connection: connection.recv(1, socket.MSG_PEEK) == b"", "the half is closed")  # type: ignore[misc]
                assert uid_by_tcp(connection) == os.geteuid()


def test_a_client_that_hangs_up_at_once_harms_nobody(host: Host) -> None:
    """A hundred of them; the next one is greeted."""
    with host.smtp_socket() as port:
        for _ in range(100):
            socket.create_connection(("127.0.0.1", port)).close()
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            assert smtp.noop()[0] == 250
