"""The submit socket: mail of those who may not write the spool, and clients that are malicious, slow or gone."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxmox_graph_mail.submission.receiver import PER_USER
from tests.programs import AS_SYSTEMD, NOBODY, PATIENCE, PYTHON, TREE, Host, eventually

OTHER = NOBODY if os.geteuid() == 0 else os.getuid()


def request(**fields: object) -> bytes:
    """A request line; what is not given is valid."""
    valid: dict[str, object] = {"sender": "s", "recipients": ["root"], "full_name": "", "notify": "", "wait": 0, "size": 5}
    return json.dumps(valid | fields).encode() + b"\n"


def talk(path: Path, data: bytes) -> str:
    """Send, and read the answer to its end."""
    with connected(path) as client:
        client.sendall(data)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
        return answer.decode()


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """A connection with a receiver that is ready."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        assert client.recv(len(b"ready\n")) == b"ready\n"
        yield client


def without_leftovers(host: Host) -> bool:
    return os.listdir(host.spool / "queue") == []


def test_another_user_s_mail_goes_over_the_socket(host: Host) -> None:
    """Exit 0, in the spool, with the uid the kernel knows; the line in syslog is the receiver's."""
    with host.submit_socket():
        done = host.other_user_sendmail("-odq", "-f", "www", "root", stdin=b"Subject: x\n\n" + b"y" * 300_000)
    assert (done.returncode, done.stderr) == (0, b"")
    (queue_id,) = host.queue()
    assert host.envelope(queue_id)["uid"] == OTHER
    assert host.envelope(queue_id)["sender"] == "www"
    assert len(host.message(queue_id)) == 300_012
    (line,) = host.syslog.read()
    assert line.startswith("receive[")
    assert f"{queue_id}: from=<www>, uid={OTHER}, size=300012, nrcpt=1" in line


def test_another_user_s_t_and_refusals(host: Host) -> None:
    """-t works over the socket too; what the receiver refuses keeps its status."""
    with host.submit_socket(PROXMOX_GRAPH_MAIL_MESSAGE_LIMIT="1000"):
        assert host.other_user_sendmail("-t", stdin=b"To: a@example.com\n\nx").returncode == 0
        done = host.other_user_sendmail("root", stdin=b"z" * 2000)
    assert done.returncode == 65
    assert b"size" in done.stderr
    assert host.envelope(host.queue()[0])["recipients"] == ["a@example.com"]


def test_another_user_s_odi_waits_too(online: Host) -> None:
    """The receiver waits for the outcome in the caller's place."""
    with online.submit_socket():
        done = online.other_user_sendmail("-odi", "root")
    assert (done.returncode, done.stderr) == (0, b"")
    assert online.queue() == []


def test_the_uid_is_the_kernel_s_word(host: Host) -> None:
    """What the request says of itself does not matter."""
    with host.submit_socket() as path:
        assert talk(path, request(uid=4711, arrived=1) + b"hello").startswith("queued ")
    envelope = host.envelope(host.queue()[0])
    assert envelope["uid"] == os.getuid()
    assert envelope["arrived"] > 1e9


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"GET / HTTP/1.0\r\n\r\n", b"[]\n", b"null\n", b"{}\n", b'{"sender":' + b"[" * 100_000 + b"\n",
        request(sender="a\nb") + b"hello", request(recipients=["a\r\nBcc: b"]) + b"hello", request(full_name="\0") + b"hello",
        request(recipients=[]) + b"hello", request(recipients="root") + b"hello", request(recipients=[None]) + b"hello", request(recipients=["a"] * 5001) + b"hello",
        request(recipients={"root": 1}) + b"hello", request(sender=7) + b"hello", request(sender="x" * 3000) + b"hello",
        request(size=-1), request(size="5") + b"hello", request(size=True) + b"h", request(size=10**12), request(wait=1e9),
        request(wait=float("nan")) + b"hello", request(size=3) + b"too many", b"x" * 3_000_000,
    ],
    ids=range(24),
)  # fmt: skip
def test_what_is_not_the_protocol_is_refused_and_leaves_nothing(host: Host, data: bytes) -> None:
    """A permanent status, a reason in one line, nothing in the spool."""
    with host.submit_socket() as path:
        try:
            answer = talk(path, data)
        except (BrokenPipeError, ConnectionResetError):
            answer = "refused 65 (while we were still writing)\n"
    assert answer.startswith("refused 65 "), answer
    assert answer.count("\n") == 1
    assert without_leftovers(host)
    assert all("refused: " in line for line in host.syslog.read())


@pytest.mark.parametrize(
    "sent", [b"", b'{"sender"', request(), request() + b"hel"], ids=["nothing", "half a line", "line", "part"]
)
def test_a_client_that_vanishes_leaves_nothing(host: Host, sent: bytes) -> None:
    """The connection closes before the message is complete."""
    with host.submit_socket() as path, connected(path) as client:
        client.sendall(sent)
    assert without_leftovers(host)


@pytest.mark.parametrize("sent", [b"", b'{"sender"', request() + b"hel"], ids=["nothing", "half a line", "part"])
def test_a_client_that_stalls_is_left_and_leaves_nothing(host: Host, sent: bytes) -> None:
    """The receiver waits so long and no longer; it closes, the client reads the end of file."""
    with host.submit_socket(PROXMOX_GRAPH_MAIL_RECEIVE_IDLE="0.2") as path, connected(path) as client:
        client.sendall(sent)
        assert client.recv(100) == b""
    assert without_leftovers(host)
    assert "said nothing" in host.syslog.read()[-1]


@pytest.mark.parametrize("sent", [b"", b'{"sender"'], ids=["nothing", "half a line"])
def test_a_connection_without_a_request_is_closed_in_seconds(host: Host, sent: bytes) -> None:
    """Else a user's idle connections would keep his own mail waiting for a minute, and many users' everybody's."""
    with host.submit_socket(PROXMOX_GRAPH_MAIL_RECEIVE_IDLE="30") as path, connected(path) as client:
        begun = time.monotonic()
        client.sendall(sent)
        assert client.recv(100) == b""
        assert time.monotonic() - begun < 10


def test_a_half_closed_client_gets_its_answer(host: Host) -> None:
    """Shutting down the writing side is no vanishing."""
    with host.submit_socket() as path, connected(path) as client:
        client.sendall(request() + b"hello")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"queued ")
    assert len(host.queue()) == 1


def test_a_receiver_that_never_answers_costs_a_minute(host: Host) -> None:
    """sendmail gives up with 75 when the socket's other end hangs."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host.run_directory / "submit"))
        listener.listen(1)
        # The constant is ours to shorten; the way it is used is the program's.
        code = (
            f"import sys; sys.path.insert(0, {str(TREE)!r}); sys.argv = ['sendmail', 'root']\n"
            "from proxmox_graph_mail.submission import submit; submit.BUSY = submit.ROOT_BUSY = 1.0\n"
            "from proxmox_graph_mail.submission.sendmail import main; main()"
        )
        env = host.env | {"PROXMOX_GRAPH_MAIL_SPOOL": "/nowhere"}
        done = subprocess.run(
            [PYTHON, "-IS", "-c", code], input=b"x", env=env, capture_output=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 75
    assert b"had no receiver for this mail within 1 s" in done.stderr


def test_a_connection_that_is_dropped_before_it_is_served_is_made_again(host: Host) -> None:
    """systemd drops what is over the socket's limits: the mail waits for a receiver, and is queued once."""
    path = host.run_directory / "submit"
    command, options = host.other_user_command("-odq", "root")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(8)
        with subprocess.Popen(command, stdin=subprocess.PIPE, **options) as client:
            assert client.stdin is not None
            client.stdin.write(b"Subject: late\n\n")
            client.stdin.close()
            for _ in range(3):
                listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                receive = host.command("proxmox-graph-mail-receive")
                subprocess.run(receive, stdin=connection.fileno(), stdout=connection.fileno(), env=host.env, check=True)
            assert client.wait(PATIENCE) == 0
    assert len(host.queue()) == 1


def test_a_socket_that_an_upgrade_restarts_is_waited_for(host: Host) -> None:
    """It was not there when sendmail began, and is a moment later."""
    command, options = host.other_user_command("-odq", "root")
    with subprocess.Popen(command, stdin=subprocess.PIPE, **options) as client:
        assert client.stdin is not None
        client.stdin.close()
        eventually(lambda: "sendmail" in Path(f"/proc/{client.pid}/cmdline").read_text(), "it runs")
        with host.submit_socket():
            assert client.wait(PATIENCE) == 0
    assert len(host.queue()) == 1


def test_a_full_disk_behind_the_socket_is_75(host: Host) -> None:
    """The receiver's refusal reaches the caller with its status."""
    with host.submit_socket() as path:
        (host.spool / "queue").rename(host.spool / "away")
        answer = talk(path, request() + b"hello")
    assert answer.startswith("refused 75 there is no spool at ")


def test_no_byte_of_a_mail_is_in_syslog(host: Host) -> None:
    """Neither on acceptance nor on refusal."""
    with host.submit_socket() as path:
        talk(path, request(size=14) + b"SECRET-IN-BODY")
        talk(path, b"SECRET-IN-BODY\n")
    assert eventually(lambda: len(host.syslog.read()) >= 2, "two lines")
    assert "SECRET" not in "".join(host.syslog.read())


def test_the_receiver_needs_nothing_of_the_package_but_the_fast_path(host: Host) -> None:
    """It starts with -IS, like sendmail."""
    done = subprocess.run(host.command("proxmox-graph-mail-receive"), stdin=subprocess.DEVNULL, env=host.env, check=False)
    assert done.returncode == 75  # /dev/null is no socket: refused in order


@pytest.mark.parametrize("letter", ["\u0080", "\u0085", "\u009b", "\u009f", "\n", "\x7f"])
@pytest.mark.parametrize("field", ["sender", "recipients", "full_name", "notify"])
def test_control_characters_are_refused_in_every_field(host: Host, field: str, letter: str) -> None:
    """C1 too: U+0085 ends a line for some programs, U+009B begins an escape sequence. argv's are refused by the same code."""
    text = f"a{letter}b@example.com"
    with host.submit_socket() as path:
        answer = talk(path, request(**{field: [text] if field == "recipients" else text}) + b"hello")
    assert answer.startswith("refused 65 control character")
    assert without_leftovers(host)
    if field != "full_name":
        options = {"sender": ["-f", text, "root"], "recipients": [text], "notify": ["-N", text, "root"]}
        done = host.sendmail("-odq", *options[field])
        assert (done.returncode, b"control character" in done.stderr) == (65, True)


def served(host: Host) -> int:
    """How many processes serve a connection."""
    assert host.receiver is not None
    return len(Path(f"/proc/{host.receiver.pid}/task/{host.receiver.pid}/children").read_text().split())


def test_a_user_s_connections_are_limited_and_the_rest_is_dropped_at_once(host: Host) -> None:
    """PER_USER are served; who comes then reads the end of file, and is served when one has left."""
    with host.submit_socket() as path, contextlib.ExitStack() as held:
        first = held.enter_context(connected(path))
        for _ in range(PER_USER - 1):
            held.enter_context(connected(path))
        assert served(host) == PER_USER
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            assert client.recv(100) == b""
        first.sendall(request() + b"hello")
        assert first.recv(100).startswith(b"queued ")
        eventually(lambda: served(host) == PER_USER - 1, "it has left")
        assert talk(path, request() + b"hello").startswith("queued ")


def test_what_one_connection_breaks_stays_one_connection(host: Host) -> None:
    """Its process is killed: the others go on, and the receiver takes new ones."""
    with host.submit_socket() as path, connected(path) as one, connected(path) as other:
        assert host.receiver is not None
        children = Path(f"/proc/{host.receiver.pid}/task/{host.receiver.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert one.recv(100) == b""
        other.sendall(request() + b"hello")
        assert other.recv(100).startswith(b"queued ")
        assert talk(path, request() + b"hello").startswith("queued ")


def test_a_receiver_that_is_told_to_stop_finishes_what_it_began(host: Host) -> None:
    """An upgrade restarts it: whoever is being served is; whoever waits in the backlog is not accepted and lost."""
    with host.submit_socket() as path, connected(path) as client:
        assert host.receiver is not None
        host.receiver.terminate()
        client.sendall(request() + b"hello")
        assert client.recv(100).startswith(b"queued ")
        assert host.receiver.wait(PATIENCE) == 0
        with socket.socket(socket.AF_UNIX) as late:
            late.settimeout(0.2)
            late.connect(str(path))
            with pytest.raises(TimeoutError):
                late.recv(1)  # it waits for the next receiver
    assert len(host.queue()) == 1


def test_a_receiver_leaves_when_it_is_quiet(host: Host) -> None:
    """Not while it serves somebody; then systemd listens in its place."""
    code = (
        f"import sys, socket; sys.path.insert(0, {str(TREE)!r})\n"
        "from proxmox_graph_mail.submission.receiver import Receiver\n"
        "Receiver([socket.socket(fileno=3)]).run(quiet=0.3)"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        path = host.run_directory / "submit"
        listener.bind(str(path))
        listener.listen(8)
        command = [PYTHON, "-c", AS_SYSTEMD, str(listener.fileno()), PYTHON, "-IS", "-c", code]
        with subprocess.Popen(command, env=host.env, pass_fds=(listener.fileno(),)) as receiver:
            with connected(path) as client, pytest.raises(subprocess.TimeoutExpired):
                receiver.wait(1.0)
            client.close()
            assert receiver.wait(PATIENCE) == 0


def test_root_s_sandboxed_mail_has_a_socket_of_its_own(host: Host) -> None:
    """It is tried first, where it is there."""
    if os.geteuid() != 0:
        pytest.skip("root's alone")
    with host.submit_socket() as path:
        path.rename(f"{path}-root")
        done = host.sendmail("-odq", "root", env={"PROXMOX_GRAPH_MAIL_SPOOL": "/nowhere"})
        path.with_name("submit-root").rename(path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(host.queue()) == 1


def test_without_its_own_socket_root_s_mail_goes_by_everybody_s(host: Host) -> None:
    """One that nobody listens on any more is left behind, not waited for."""
    if os.geteuid() != 0:
        pytest.skip("root's alone")
    with host.submit_socket() as path, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{path}-root")
        done = host.sendmail("-odq", "root", env={"PROXMOX_GRAPH_MAIL_SPOOL": "/nowhere"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(host.queue()) == 1


def test_addresses_that_can_never_be_any_are_refused(host: Host) -> None:
    """Whoever speaks the protocol himself hears it at once: nothing of it would ever leave failed/."""
    with host.submit_socket() as path:
        for address in ("a@b..c", "a..b@example.com", f"{'x' * 65}@example.com", "a@-", "a@192.0.2.1", "two words@example.com"):
            answer = talk(path, request(recipients=[address]) + b"hello")
            assert answer.startswith("refused 65 none of the recipients is a valid address"), address
        assert talk(path, request(recipients=["a@b..c", "root"]) + b"hello").startswith("queued ")
