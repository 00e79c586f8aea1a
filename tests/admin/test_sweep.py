"""Nothing that an admin types or places ends in an error that nobody foresaw: every verb, with every kind of wrong file, a full
disk, a closed output, and without rights."""

import os
import subprocess
from pathlib import Path

import pytest

from proxmox_graph_mail.graph import certificate
from tests.programs import NOBODY, Host, Sandbox

PLACES = ("missing", "directory", "garbage", "key alone", "certificate alone", "empty", "no rights", "link in a circle", "FIFO")
"""What lies where a file should be."""
ID = "655F19D01A53F0A0AB"


def place(path: Path, kind: str) -> None:
    """Put something there."""
    made = certificate.make("pve1")
    if kind == "directory":
        path.mkdir()
    elif kind == "link in a circle":
        path.symlink_to(path)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind != "missing":
        content = {"garbage": b"\xff\x00garbage\n", "key alone": made.pem.partition(b"-----BEGIN CERT")[0],
                   "certificate alone": made.public, "empty": b"", "no rights": made.pem}[kind]  # fmt: skip
        path.write_bytes(content)
        path.chmod(0 if kind == "no rights" else 0o640)


def sound(done: "subprocess.CompletedProcess[str]") -> None:
    """It ended with a sentence and a status of sysexits.h (1 and 2: monitoring's, and an answer of no)."""
    said = done.stdout + done.stderr
    assert "unexpected" not in said
    assert "unforeseen" not in said
    assert "Traceback" not in said
    assert done.returncode in (0, 1, 2, 3, 64, 65, 66, 69, 73, 74, 75, 77, 78), said


@pytest.mark.parametrize("kind", PLACES)
def test_a_certificate_s_file(online: Host, sandbox: Sandbox, kind: str) -> None:
    """rotate and its timer, check, status, test, the runner, setup."""
    path = online.folder / "app.pem"
    place(path, kind)
    settings = sandbox.settings(GRAPH_CLIENT_CERTIFICATE=str(path), GRAPH_OBJECT_ID=sandbox.about["application"])
    settings.pop("GRAPH_CLIENT_SECRET")
    online.settle(settings)
    for argv in (
        ["rotate"],
        ["rotate", "--if-due"],
        ["check", "--offline"],
        ["status"],
        ["status", "--nagios"],
        ["run", "--once"],
    ):
        done = online.admin(*argv)
        sound(done)
        if argv[0] == "rotate" and kind not in ("no rights",):
            assert done.returncode != 0
            assert str(path) in done.stderr
        if argv[0] == "check" and kind != "no rights":  # root reads that
            assert "fail  files" in done.stdout
            assert str(path) in done.stdout
    assert online.admin("status", "--nagios").returncode == 2 or kind == "no rights"


@pytest.mark.parametrize("kind", PLACES)
def test_the_settings_file(online: Host, kind: str) -> None:
    """Every verb that reads it."""
    online.config.unlink()
    place(online.config, kind) if kind != "FIFO" else online.config.mkdir()
    for argv in (["check", "--offline"], ["status"], ["status", "--nagios"], ["test"], ["rotate"], ["rotate", "--if-due"],
                 ["run", "--once"], ["route", "root"], ["preview", "-"], ["alarm", "test"], ["queue", "list"]):  # fmt: skip
        sound(online.admin(*argv))


@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "FIFO"])
def test_files_that_an_admin_names(online: Host, kind: str) -> None:
    """A message to preview, a secret, settings to take over, a place to save to, in a directory that is not there too."""
    path = online.folder / "named"
    place(path, kind)
    assert online.sendmail("-odq", "root").returncode == 0
    (queue_id,) = online.queue()
    for argv in (
        ["preview", str(path)], ["rotate", "--secret-file", str(path)], ["setup", "--from", str(path)],
        ["setup", "--secret-file", str(path)], ["queue", "save", queue_id, str(path)],
        ["queue", "save", queue_id, f"{path}/there/not"], ["preview", f"{path}/there/not"],
    ):  # fmt: skip
        sound(online.admin(*argv))


@pytest.mark.parametrize(
    "argv",
    [["status"], ["status", "--json"], ["status", "--prometheus"], ["status", "--nagios"], ["queue", "list"], ["queue", "list", "--json"],
     ["queue", "save", "ID"], ["queue", "show", "ID"], ["check", "--offline"], ["route", "root"], ["explain", "ErrorAccessDenied"],
     ["entra", "cli"], ["--help"], ["preview", "ID"], ["preview", "ID", "--html", "-"]],
    ids=" ".join,
)  # fmt: skip
def test_an_output_that_takes_nothing(online: Host, argv: list[str]) -> None:
    """A full disk: 74, never 0; a closed pipe and a closed descriptor end quietly."""
    assert online.sendmail("-odq", "root", stdin=b"Subject: x\n\n" + b"y" * 100_000).returncode == 0
    words = [online.queue()[0] if word == "ID" else word for word in argv]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            online.admin_command(*words), stdout=full, stderr=subprocess.PIPE, env=online.env, text=True, check=False
        )
    assert (done.returncode, "unexpected" in done.stderr) == (74, False), done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run(
        online.admin_command(*words), stdout=writing, stderr=subprocess.PIPE, env=online.env, text=True, check=False
    )
    os.close(writing)
    assert "unexpected" not in closed.stderr
    shell = 'exec "$@" >&-'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *online.admin_command(*words)], stderr=subprocess.PIPE, env=online.env, text=True, check=False
    )
    assert "unexpected" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(
    "argv",
    [["status"], ["status", "--nagios"], ["queue", "list"], ["queue", "flush"], ["queue", "retry", ID], ["queue", "remove", "ALL", "--yes"],
     ["queue", "show", ID], ["queue", "save", ID], ["log"], ["test"], ["check"], ["check", "--offline"], ["rotate"], ["setup"],
     ["run", "--once"], ["target", "show"], ["alarm", "test"], ["preview", ID], ["route", "root"]],
    ids=" ".join,
)  # fmt: skip
def test_without_rights(online: Host, argv: list[str]) -> None:
    """Another user, whom neither spool nor settings nor state belong to."""
    for path in (online.spool, online.state, online.facts):
        path.chmod(0o700)
    online.config.chmod(0o600)
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import proxmox_graph_mail.admin.commands, proxmox_graph_mail.admin.run, proxmox_graph_mail.admin.status\n"
        "from proxmox_graph_mail.admin import alarm, check, findings, log, preview, queue, rotate, route, setup, target, test\n"
        "from proxmox_graph_mail.admin.app import main\n"
        f"os.setgroups([]); os.setgid(1); os.setuid({NOBODY}); sys.argv = ['proxmox-graph-mail', *{argv!r}]\n"
        "main()"
    )
    done = subprocess.run(
        [*online.admin_command()[:2], "-c", code],
        env=online.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    sound(done)
    assert done.returncode != 0 or argv[0] in ("route", "queue")


@pytest.mark.parametrize(
    "argv",
    [["test"], ["status"], ["queue", "list"], ["queue", "flush"], ["queue", "retry", ID], ["check", "--offline"], ["log"], ["run", "--once"]],
    ids=" ".join,
)  # fmt: skip
def test_without_a_spool(online: Host, argv: list[str]) -> None:
    """As root: 75, and its name."""
    for path in (online.spool / "queue", online.spool / "failed", online.spool):
        path.rmdir()
    done = online.admin(*argv, PROXMOX_GRAPH_MAIL_SPOOL=f"{online.spool}/gone")
    sound(done)
    if argv[0] in ("test", "queue", "status"):
        assert (done.returncode, f"{online.spool}/gone" in done.stderr) == (75, True)
