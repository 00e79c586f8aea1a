"""sendmail and the receiver killed at every step: nothing, or one whole mail; never a part of one."""

import os
import subprocess
from pathlib import Path

from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.upkeep import LEFTOVER_AGE, sweep
from tests.programs import PATIENCE, PYTHON, TREE, Host
from tests.submission.test_reception import request

KILLER = str(TREE / "tests" / "killer.py")
MESSAGE = b"Subject: whole\n\n" + b"line\n" * 30_000  # several writes


def run(host: Host, fatal: int) -> "subprocess.CompletedProcess[bytes]":
    command = [PYTHON, "-IS", KILLER, str(fatal), str(host.programs / "sendmail"), "-odq", "root"]
    source = host.folder / "message"
    source.write_bytes(MESSAGE)  # a file, not a pipe: the same reads, and so the same steps, every time
    with source.open("rb") as stdin:
        return subprocess.run(command, stdin=stdin, env=host.env, capture_output=True, timeout=PATIENCE, check=False)


def steps(host: Host) -> list[str]:
    done = run(host, 0)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode().split("calls=")[1].strip().split(",")


def test_the_mail_is_on_the_disk_before_its_name_and_its_name_before_the_exit(host: Host) -> None:
    """write, fsync, rename, fsync of the directory: what survives a loss of power, no test without a disk can show."""
    calls = steps(host)
    renamed = calls.index("rename")
    last_write = max(at for at, call in enumerate(calls[:renamed]) if call == "write")
    assert "fsync" in calls[last_write:renamed]
    assert "fsync" in calls[renamed:]
    assert calls.count("rename") == 1


def test_sendmail_killed_at_every_step_leaves_nothing_or_one_whole_mail(host: Host) -> None:
    """At most a dot file is left, which no pass ever looks at and the next runner removes."""
    total = len(steps(host))
    assert total > 8
    whole = 0
    for fatal in range(1, total + 1):
        for name in os.listdir(host.spool / "queue"):
            (host.spool / "queue" / name).unlink()
        done = run(host, fatal)
        assert done.returncode == -9, (fatal, done)
        ids = host.queue()
        assert len(ids) <= 1
        if ids:
            whole += 1
            assert host.message(ids[0]) == MESSAGE, fatal
            assert [name for name in os.listdir(host.spool / "queue") if name not in ids] == []
    # The mail is there from the rename on, and the caller learns of it only after two more steps.
    assert 2 <= whole < total - 5


def test_what_a_killed_writer_left_is_swept_once_it_is_old_and_not_before(host: Host) -> None:
    """A slow writer holds a lock on its file and keeps it, however long it takes."""
    spool = Spool(str(host.spool))
    dead, alive = spool.accept(b"{}\n"), spool.accept(b"{}\n")
    os.close(dead._fd)
    for incoming in (dead, alive):
        os.utime(host.spool / "queue" / f".{incoming.id}", (1000, 1000))
    assert sweep(spool, 1000 + LEFTOVER_AGE - 1) == []
    assert sweep(spool, 1000 + LEFTOVER_AGE + 1) == [f".{dead.id}"]
    alive.write(b"still here")
    assert alive.commit() in host.queue()


def test_the_receiver_killed_at_every_step_leaves_nothing_or_one_whole_mail(host: Host) -> None:
    """…and the client, who got no answer, is told 75."""
    import socket

    receiver = str(host.programs / "proxmox-graph-mail-receive")
    answers = []
    for fatal in range(1, 40):
        for name in os.listdir(host.spool / "queue"):
            (host.spool / "queue" / name).unlink()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(request(size=len(MESSAGE[:50_000])) + MESSAGE[:50_000])
            command = [PYTHON, "-IS", KILLER, str(fatal), receiver]
            done = subprocess.run(command, stdin=theirs.fileno(), stdout=theirs.fileno(), env=host.env, check=False)
            theirs.close()
            answer = ours.makefile("rb").read().removeprefix(b"ready\n")
        ids = host.queue()
        if ids:
            assert host.message(ids[0]) == MESSAGE[:50_000]
        assert not answer.startswith(b"queued") or ids
        answers.append(answer)
        if done.returncode != -9:
            break
    assert answers[0] == b""
    assert answers[-1].startswith(b"queued ")


def test_the_killer_kills(tmp_path: Path) -> None:
    """The tool of these tests does what it says."""
    program = tmp_path / "p.py"
    program.write_text("import os\nos.close(os.open('/dev/null', os.O_RDONLY))\nos._exit(3)\n")
    kill = [PYTHON, "-IS", KILLER]
    assert subprocess.run([*kill, "2", str(program)], check=False).returncode == -9
    assert subprocess.run([*kill, "3", str(program)], check=False).returncode == 3
