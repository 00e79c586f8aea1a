"""What the package's files say, held against the program. What they do is tests/acceptance's to show."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer.main

from proxmox_graph_mail import __version__
from proxmox_graph_mail.admin import install_units
from proxmox_graph_mail.admin.commands import app
from proxmox_graph_mail.settings import Settings
from tests.programs import LAUNCHER, PYTHON, TREE, Host, eventually

PACKAGING = TREE / "packaging"
PIP_NAMES = {"dotenv": "python-dotenv", "pydantic_settings": "pydantic-settings"}
DEBIAN_NAMES = {"dotenv": "python3-dotenv", "pydantic_settings": "python3-pydantic-settings"}


def test_the_version_stands_in_one_place_and_the_changelogs_agree_with_it() -> None:
    """proxmox_graph_mail/__init__.py; the build checks Debian's again."""
    first = (PACKAGING / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"proxmox-graph-mail ({__version__}) ")
    newest = re.search(r"^## (\S+)", (TREE / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == __version__
    project = tomllib.loads((TREE / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "proxmox_graph_mail.__version__"


def test_every_library_that_is_imported_is_depended_on_and_no_other() -> None:
    """Debian's Depends, and pip's, against the imports."""
    imported = set()
    for path in (TREE / "proxmox_graph_mail").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.split(".")[0] for name in names}
    foreign = imported - sys.stdlib_module_names - {"proxmox_graph_mail"}
    control = (PACKAGING / "debian" / "control").read_text()
    depends = re.search(r"^Package:.*?^Depends:(.*?)^\w", control, re.MULTILINE | re.DOTALL)
    assert depends
    assert {DEBIAN_NAMES.get(name, f"python3-{name}") for name in foreign} == set(re.findall(r"python3-[\w-]+", depends[1]))
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert {PIP_NAMES.get(name, name) for name in foreign} == declared


def test_the_settings_page_has_every_key_and_no_other() -> None:
    """proxmox-graph-mail.conf(5)."""
    page = (TREE / "docs" / "man" / "proxmox-graph-mail.conf.5").read_text()
    keys = {key for line in re.findall(r"^\.It Ev (.*)$", page, re.MULTILINE) for key in line.replace(",", " ").split()}
    assert keys == {name.upper() for name in Settings.model_fields}


def test_completion_and_page_know_every_verb() -> None:
    """What typer offers, bash completes and proxmox-graph-mail(8) names."""
    completion = (PACKAGING / "bash-completion").read_text()
    page = (TREE / "docs" / "man" / "proxmox-graph-mail.8").read_text()
    command = typer.main.get_command(app)
    context = click.Context(command)
    assert isinstance(command, click.Group)
    verbs = set(command.list_commands(context))
    groups = {name: command.get_command(context, name) for name in ("queue", "target", "alarm")}
    queue = set(groups["queue"].commands)  # type: ignore[union-attr]
    for depth, words in ((1, verbs), (2, queue)):
        offered = re.search(rf"{depth},\S+\) COMPREPLY=\(\$\(compgen -W '([^']*)'", completion)
        assert offered
        assert {word for word in offered[1].split() if not word.startswith("-")} == words
    target = set(groups["target"].commands)  # type: ignore[union-attr]
    alarm = {name for name, one in groups["alarm"].commands.items() if not one.hidden}  # type: ignore[union-attr]
    documented = set(re.findall(r"^\.It Cm ([\w-]+(?: \w+)?)$", page, re.MULTILINE))
    nested = {f"{verb} {name}" for verb, names in (("queue", queue), ("target", target), ("alarm", alarm)) for name in names}
    assert documented == verbs - {"queue", "target", "alarm"} | nested


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed; make deb looks too")
def test_the_pages_are_clean() -> None:
    """mandoc -T lint."""
    pages = sorted((TREE / "docs" / "man").iterdir())
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_directive_of_a_sandbox_stands_under_its_reason() -> None:
    """A comment above each group of directives in the service units."""
    names = ("", "-alarm", "-watch", "-hand-over")
    for unit in (
        *(PACKAGING / "systemd" / f"proxmox-graph-mail{name}.service" for name in names),
        *(PACKAGING / "systemd").glob("*.d/*.conf"),
    ):
        section = unit.read_text().partition("[Service]")[2]
        groups = [group for group in re.split(r"\n\s*\n|\n(?=#)", section) if "=" in re.sub(r"(?m)^#.*$", "", group)]
        sandbox = [
            group
            for group in groups
            if re.search(r"^(Protect|Private|Restrict|SystemCall|NoNew|Memory|Lock)", group, re.MULTILINE)
        ]
        assert len(sandbox) >= (3 if unit.stem.endswith(("-alarm", "-watch", "-hand-over")) else 5)
        assert all(group.lstrip().startswith("#") for group in sandbox), sandbox


@pytest.fixture
def installed(host: Host) -> Path:
    """The launcher and the modules as the package lays them out."""
    house = host.folder / "share"
    shutil.copytree(TREE / "proxmox_graph_mail", house / "proxmox_graph_mail", ignore=shutil.ignore_patterns("__pycache__"))
    script = host.folder / "sendmail"
    script.write_text(re.sub(r"(?m)^HOUSE = .*$", f'HOUSE = "{house}"', LAUNCHER.read_text()))
    return script


def test_a_sendmail_that_begins_amid_an_upgrade_waits_for_its_modules(host: Host, installed: Path) -> None:
    """The script is the new version's already, its modules come a moment later: the mail is taken, with every byte."""
    module = host.folder / "share" / "proxmox_graph_mail" / "spool" / "store.py"
    module.rename(host.folder / "later")
    command = [PYTHON, "-IS", str(installed), "-odq", "root"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=host.env) as client:
        assert client.stdin is not None
        begun = Path(f"/proc/{client.pid}/environ")
        eventually(lambda: b"PROXMOX_GRAPH_MAIL_BEGUN" in begun.read_bytes(), "it began anew")
        (host.folder / "later").rename(module)
        client.stdin.write(b"Subject: x\n\n" + b"y" * 200_000)
        client.stdin.close()
        assert client.wait(30) == 0
    assert len(host.message(host.queue()[0])) == 200_012


def test_a_sendmail_without_its_modules_says_75_and_drains(host: Host, installed: Path) -> None:
    """An installation that is broken for good: what to do is said, and no caller dies of EPIPE."""
    (host.folder / "share" / "proxmox_graph_mail" / "spool" / "store.py").unlink()
    env = host.env | {"PROXMOX_GRAPH_MAIL_BEGUN": "49"}
    command = [PYTHON, "-IS", str(installed), "root"]
    done = subprocess.run(command, input=b"x" * 500_000, env=env, capture_output=True, check=False)
    assert done.returncode == 75
    assert b"apt install --reinstall proxmox-graph-mail" in done.stderr


def fast_path(installed: Path) -> Path:
    """Make the file, by the Python that will run it."""
    house = installed.parent / "share"
    subprocess.run([PYTHON, "-IS", PACKAGING / "fast-path", house], check=True)
    return house / "fast-path"


ALIKE = (
    ["-odq", "root"], ["-odq", "-t"], ["-odq", "-v", "-f", "a@b.example", "-F", "A B", "x@example.com"], ["-odq"], ["-odq", "\n"],
    ["-bp"], ["--json", "-bp"], ["-bs"], ["--help"], ["--version"], ["-bz"], ["-q"],
)  # fmt: skip


def test_the_fast_path_s_file_and_the_modules_behave_alike(host: Host, installed: Path) -> None:
    """Exit status, what is printed, what is queued and what is logged, for every kind of invocation."""

    def all_of_them() -> list[object]:
        found: list[object] = []
        for argv in ALIKE:
            done = subprocess.run(
                [PYTHON, "-IS", str(installed), *argv], input=b"To: a@example.com\nSubject: x\n\ny\n", capture_output=True,
                env=host.env | {"PROXMOX_GRAPH_MAIL_PASS": "no"}, check=False, timeout=90,
            )  # fmt: skip
            queued = [{k: v for k, v in host.envelope(one).items() if k not in ("arrived", "nonce")} for one in host.queue()]
            for one in host.queue():
                (host.spool / "queue" / one).unlink()
            (host.spool / "queue" / ".urge").unlink(missing_ok=True)
            lines = [re.sub(r"\[\d+\]|[0-9A-F]{18}|:\d\d", "", line) for line in host.syslog.read()]
            out = re.sub(rb"[0-9A-F]{18}", b"ID", done.stdout)
            found.append((argv, done.returncode, out, re.sub(rb"[0-9A-F]{18}", b"ID", done.stderr), queued, lines[-1:]))
        return found

    plain = all_of_them()
    made = fast_path(installed)
    assert all_of_them() == plain
    module = made.parent / "proxmox_graph_mail" / "submission" / "options.py"
    module.rename(module.with_suffix(".away"))  # it is not read: the file is
    assert subprocess.run([PYTHON, "-IS", str(installed), "--version"], env=host.env, check=False).returncode == 0


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0", None], ids=["empty", "another Python's", "cut"])
def test_a_fast_path_that_cannot_be_used_is_none(host: Host, installed: Path, damage: bytes | None) -> None:
    """Cut by a full disk, or made before Python was upgraded: the modules are loaded."""
    made = fast_path(installed)
    content = made.read_bytes()
    made.write_bytes(content[: len(content) // 2] if damage is None else damage + content[4 : 4 * len(damage)])
    done = subprocess.run([PYTHON, "-IS", str(installed), "-odq", "root"], input=b"x", env=host.env, check=False)
    assert done.returncode == 0
    assert len(host.queue()) == 1


def test_a_traceback_names_the_modules_as_ever(host: Host, installed: Path) -> None:
    """File and line, though no file was read."""
    fast_path(installed)
    shown = "print(main.__code__.co_filename, main.__code__.co_firstlineno)"
    installed.write_text(installed.read_text().replace("\nmain()\n", f"\n{shown}\n"))
    done = subprocess.run([PYTHON, "-IS", str(installed)], capture_output=True, text=True, check=False)
    file, line = done.stdout.split()
    assert file == str(installed.parent / "share/proxmox_graph_mail/submission/sendmail.py")
    assert Path(file).read_text().splitlines()[int(line) - 1].startswith("def main")


def test_a_link_in_the_queue_s_place_leads_root_nowhere(host: Host) -> None:
    """The spool is the service user's: what it may do there must not make root write elsewhere."""
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    (host.spool / "queue").rmdir()
    (host.spool / "queue").symlink_to(elsewhere)
    assert host.sendmail("-odq", "root").returncode == 75
    assert os.listdir(elsewhere) == []


def test_the_bill_of_materials_names_what_is_shipped_and_needed(tmp_path: Path) -> None:
    """CycloneDX: each file with its hash, each library of pyproject.toml and of debian/control; twice the same."""
    file = tmp_path / "x.deb"
    file.write_bytes(b"x")
    command = [sys.executable, str(PACKAGING / "sbom"), "0.1.0", "1700000000", str(file)]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    bom = json.loads(first)
    names = {one["name"] for one in bom["components"]}
    assert {"x.deb", "httpx", "msal", "python3-msal", "python3-httpx", "pydantic-settings"} <= names
    assert bom["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert {one["ref"] for one in bom["dependencies"]} == {"proxmox-graph-mail"}


def test_units_by_pip_start_pip_s_programs() -> None:
    """Every program that a unit starts is one that pip installs, under the same name."""
    started = set()
    for unit in (PACKAGING / "systemd").glob("*.service"):
        text = install_units._adapted(unit.read_text(), Path("/opt/x/bin"))
        assert "/usr/libexec/proxmox" not in text
        assert "/usr/sbin/proxmox" not in text
        started |= set(re.findall(r"^ExecStart=-?(\S+)", text, re.MULTILINE))
    assert {path.removeprefix("/opt/x/bin/") for path in started} <= set(install_units.PROGRAMS)
    scripts = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(install_units.PROGRAMS) <= scripts.keys()
    enabled = {unit.name for unit in (PACKAGING / "systemd").iterdir() if unit.suffix in (".socket", ".path", ".timer")}
    assert set(install_units.ENABLED) <= enabled


def test_no_environment_of_a_user_s_runs_as_root(tmp_path: Path) -> None:
    """install-units refuses what others could write."""
    file = tmp_path / "program"
    file.touch(0o755)
    assert install_units._is_root_s(file) is (os.geteuid() == 0)
    file.chmod(0o775)
    assert not install_units._is_root_s(file)


@pytest.mark.parametrize(
    ("leads_to", "taken"), [("exim4", False), ("/usr/bin/msmtp", False), ("/etc/alternatives/mta", True), (None, True)]
)
def test_another_mail_system_s_sendmail_is_left_alone(
    leads_to: str | None, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of a package's own is no link of the alternatives system, which would replace it and leave nothing."""
    sendmail = tmp_path / "sendmail"
    if leads_to is not None:
        sendmail.symlink_to(leads_to)
    asked: list[list[str]] = []
    monkeypatch.setattr("proxmox_graph_mail.paths.SENDMAIL", str(sendmail))
    monkeypatch.setattr("proxmox_graph_mail.proxmox.system.must", asked.append)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    install_units._link(Path("/opt/x/bin"))
    assert bool(asked) is taken
