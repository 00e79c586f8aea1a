"""The command itself: one sentence for what is wrong, whatever it is."""

import os
import re
from pathlib import Path

import pytest

from proxmox_graph_mail.admin import app, commands
from tests.programs import Host, Sandbox


def test_an_unforeseen_error_says_where_its_report_lies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback; a file of this user's alone; 70."""

    def broken(_: object) -> object:
        raise KeyError("surprise")

    monkeypatch.setattr("typer.main.get_command", broken)
    monkeypatch.setattr("sys.argv", ["proxmox-graph-mail", "check"])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 70
    said = capsys.readouterr().err
    path = re.search(r"unexpected error \(KeyError\); please report it with the file (\S+)\n$", said)
    assert path, said
    report = Path(path[1])
    assert "surprise" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0
    report.unlink()


def test_a_reader_that_has_enough_is_no_error(host: Host) -> None:
    """`… | head`."""
    import subprocess

    text = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&1 | head -c 1', "sh", *host.admin_command("--help")],
        env=host.env,
        capture_output=True,
        check=False,
    )
    assert text.stdout.strip() in (b"", b"U", b"\n")
    assert text.stderr == b""


def test_every_verb_has_help_with_an_example(host: Host) -> None:
    """One each."""
    import typer

    command = typer.main.get_command(commands.app)
    verbs = {name: one for name, one in command.commands.items() if not one.hidden}  # type: ignore[attr-defined]
    for name, one in verbs.items():
        for word, leaf in getattr(one, "commands", {name: one}).items():
            assert "Example: proxmox-graph-mail" in " ".join((leaf.help or "").split()), (name, word)


@pytest.mark.parametrize(
    "argv",
    [["run", "--idle", word] for word in ("inf", "1e300", "nan", "-5")] + [["run", "--lock-fd", "9" * 20]],
)
def test_a_number_out_of_range_is_a_wrong_use(host: Host, argv: list[str]) -> None:
    """The plain form of a verb takes no more than its help says."""
    done = host.admin(*argv)
    assert (done.returncode, "unexpected error" in done.stderr) == (64, False), done.stderr


@pytest.mark.parametrize("text", [b"\xff\xfe@example.com", b"a@b\x07.example", b"a@b.example\xc2\x85"])
def test_bytes_that_are_no_text_are_refused(online: Host, sandbox: Sandbox, text: bytes) -> None:
    """In a file; and in the environment, from where a command line's reach the same check."""
    for key in ("MAIL_TO", "GRAPH_SENDER"):
        settings = sandbox.settings()
        online.settle({name: value for name, value in settings.items() if name != key})
        online.env[key] = os.fsdecode(text)
        done = online.admin("check", "--offline")
        del online.env[key]
        assert done.returncode == 1
        assert f"{key}: it has a control character" in done.stdout, done.stdout + done.stderr
