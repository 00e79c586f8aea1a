"""The command itself: one sentence for what is wrong, whatever it is."""

import io
import os
import re
import subprocess
from pathlib import Path

import pytest

from proxmox_graph_mail.admin import app, commands
from proxmox_graph_mail.admin.screen import folded
from proxmox_graph_mail.settings.source import read_file
from tests.programs import Host, Sandbox
from tests.terminal import Terminal


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


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["stats"], "there is no command stats; did you mean status?"), (["queue", "shwo", "X"], "did you mean show?"),
        (["xyz"], "there is no command xyz; there are setup, check"), (["check", "--ofline"], "--offline"),
    ],
)  # fmt: skip
def test_a_verb_that_is_not_there_is_answered_with_the_nearest(host: Host, argv: list[str], words: str) -> None:
    """64, and one sentence."""
    done = host.admin(*argv)
    assert done.returncode == 64
    assert words in done.stderr


@pytest.mark.parametrize("argv", [["-h"], ["check", "-h"], ["queue", "-h"], ["queue", "show", "-h"]])
def test_h_is_help(host: Host, argv: list[str]) -> None:
    """Everywhere."""
    done = host.admin(*argv)
    assert (done.returncode, "Usage:" in done.stdout) == (0, True), done.stderr


def test_a_host_that_was_never_set_up_says_so(host: Host) -> None:
    """And not what is missing, key by key."""
    for argv in (["test"], ["check", "--offline"]):
        done = host.admin(*argv)
        assert "not set up yet; proxmox-graph-mail setup" in (done.stdout + done.stderr).replace("yet: ", "yet; "), done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="it becomes nobody")
def test_a_user_without_rights_is_told_to_be_root(online: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are right: there is nothing to correct."""
    online.config.chmod(0o600)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SPOOL", str(online.spool))
    os.seteuid(65534)
    try:
        (problem,) = read_file(str(online.config), frozenset(["mail_to"])).problems
    finally:
        os.seteuid(0)
    assert problem.text.endswith("Permission denied; run it as root")


def test_on_a_terminal_lines_break_at_words_and_never_in_a_name(online: Host) -> None:
    """80 columns; elsewhere a line stays a line."""
    long = "a.very.long.name.of.somebody.who.reads.mail@department.subsidiary.example.com"
    online.env["COLUMNS"] = "80"
    screen = Terminal(online.admin_command("route", long), online.env)
    screen.close()
    assert long in screen.screen
    screen = Terminal(online.admin_command("check", "--offline"), online.env)
    screen.close()
    lines = screen.screen.splitlines()
    assert max(len(line) for line in lines if " " in line.strip()) <= 80, lines
    assert any(line.startswith(" " * 20) for line in lines)
    plain = online.admin("check", "--offline").stdout.splitlines()
    assert all(re.match(r"(ok|warn|fail) ", line) for line in plain)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_name_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the line: it stands in one of its own, and can be copied."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "a" * 70 + "-" + "b" * 40 + "@example.com"
    text = folded(f"mail for {name} waits", begin="ok    ", stream=Screen())
    assert name in text
    assert text.splitlines()[0] == "ok    mail for"
    assert folded("x " * 100, begin="- ", stream=io.StringIO()).count("\n") == 0
