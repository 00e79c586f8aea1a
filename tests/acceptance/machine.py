"""A Debian 13 that boots: a copy-on-write root over the base, /var on a disk of its own, systemd as process 1.

Everything lies under one temporary folder and ends with `close`, which kills only what was started here. Commands run in
the machine's namespaces; with `unit` as a transient unit of its own systemd.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.base import base
from tests.programs import TREE, eventually

VAR_SIZE = "900M"
BOOT_PATIENCE = 60.0
COMMAND_PATIENCE = 180.0
CONTROL = """
import json, ssl, sys, urllib.request
change = sys.stdin.buffer.read() or None
with urllib.request.urlopen("https://graph.microsoft.com/_sandbox", change, 20) as answer:
    sys.stdout.write(answer.read().decode())
"""
UNIT = """
[Service]
WorkingDirectory=/srv/project
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=python3 -m tests.sandbox /srv/tenant --port 443 --latency 0.02 --as-microsoft
StandardOutput=append:/srv/tenant/log
StandardError=append:/srv/tenant/log
"""
UP = ("running", "degraded")
Done = subprocess.CompletedProcess[str]


class Machine:
    """One machine. Not booted yet; `boot` and `shut_down` as often as wanted."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgm-machine-", dir="/var/tmp"))
        self.root = self.folder / "root"
        self.var = self.folder / "var"
        for name in ("root", "upper", "work", "var"):
            (self.folder / name).mkdir(mode=0o755)
        self.base = lower = base()
        overlay = f"lowerdir={lower},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        self._host("mount", "-t", "overlay", "overlay", "-o", overlay, str(self.root))
        disk = self.folder / "var.ext4"
        self._host("mkfs.ext4", "-q", "-d", str(lower / "var"), str(disk), VAR_SIZE)
        self._host("mount", "-o", "loop", str(disk), str(self.var))
        # A clock, a name and the names Microsoft's hosts have here: what a host's admin or network would give.
        (self.root / "etc/hostname").write_text("pve1\n")
        (self.root / "etc/hosts").write_text(
            "127.0.0.1 localhost login.microsoftonline.com graph.microsoft.com\n::1 localhost\n127.0.1.1 pve1.example.com pve1\n"
        )
        for name in ("apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online.service"):
            self._host("systemctl", f"--root={self.root}", "mask", name, check=False)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @staticmethod
    def _host(*command: str, check: bool = True) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"

    def boot(self) -> None:
        """Start it and wait until systemd says that it is up."""
        command = [
            "systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--private-network", "--register=no", "--keep-unit",
            "--console=pipe", f"--bind={self.var}:/var", f"--bind-ro={TREE}:/srv/project", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off",
        ]  # fmt: skip
        with (self.folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")

        def is_up() -> bool:
            # Looked up anew each time: nspawn's first child only prepares the second, which is systemd.
            self._leader = int((children.read_text().split() or ["0"])[0])
            return bool(self._leader) and self.run("systemctl is-system-running", check=False).stdout.strip() in UP

        eventually(is_up, "the machine is up", BOOT_PATIENCE)

    def shut_down(self) -> None:
        """In order, as `systemctl poweroff` does."""
        assert self._nspawn is not None
        self.run("systemctl poweroff", check=False)
        self._nspawn.wait(BOOT_PATIENCE)
        self._nspawn = None

    def crash(self) -> None:
        """Without a word, as a power cut does to processes."""
        assert self._nspawn is not None
        if self._leader:
            os.kill(self._leader, signal.SIGKILL)
        else:  # it never came up; and 0 would be the process group of the tests
            self._nspawn.kill()
        self._nspawn.wait(BOOT_PATIENCE)
        self._nspawn = None

    def close(self) -> None:
        """Stop and leave nothing."""
        if self._nspawn is not None:
            self.crash()
        for path in (self.root, self.var):
            self._host("umount", str(path))
        shutil.rmtree(self.folder)

    def command(self, *argv: str) -> list[str]:
        """The command line, on the outside, that runs `argv` in the machine."""
        flags = ["--target", str(self._leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/"]
        environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"]
        return ["nsenter", *flags, "--", "env", "-i", *environment, *argv]

    def run(
        self, command: str | Sequence[str], *, user: str = "root", stdin: str | bytes = b"", check: bool = True,
        env: Mapping[str, str] | None = None, patience: float = COMMAND_PATIENCE,
    ) -> Done:  # fmt: skip
        """Run a shell line, or an argv, as a user; its output."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        if env:
            argv = ["env", *(f"{key}={value}" for key, value in env.items()), *argv]
        if user != "root":
            argv = ["setpriv", f"--reuid={user}", f"--regid={user if user != 'nobody' else 'nogroup'}", "--init-groups", *argv]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(self.command(*argv), input=data, capture_output=True, timeout=patience, check=False)
        text = Done(argv, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
        assert not check or text.returncode == 0, f"{command} as {user}: {text.returncode}\n{text.stdout}\n{text.stderr}"
        return text

    def unit(self, command: str, *properties: str, stdin: str | bytes = b"", check: bool = True) -> Done:
        """Run a shell line as a transient service with these properties."""
        flags = [f"--property={prop}" for prop in properties]
        return self.run(
            ["systemd-run", "--pipe", "--wait", "--quiet", "--collect", *flags, "sh", "-c", command], stdin=stdin, check=check
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in the machine, complete before it has its name."""
        self.run(f"cat > {path}.new && chmod {mode:o} {path}.new && mv {path}.new {path}", stdin=text)

    def journal(self, *match: str, since: float = 0.0) -> str:
        """Lines of the journal."""
        self.run("journalctl --sync")
        return self.run(["journalctl", "--no-pager", "-q", "-o", "short-iso", f"--since=@{since:.3f}", *match]).stdout

    def status(self, unit: str = "proxmox-graph-mail.service") -> dict[str, str]:
        """`systemctl show`."""
        shown = self.run(["systemctl", "show", unit, "-p", "ActiveState,SubState,StatusText,MainPID,NRestarts,Result"]).stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def kill(self, unit: str = "proxmox-graph-mail.service") -> bool:
        """SIGKILL for a unit's main process; was there one? (Never `kill 0`: commands in the machine are of the process group of
        whoever runs the tests.)"""
        pid = int(self.status(unit)["MainPID"])
        return pid > 1 and self.run(f"kill -9 {pid}", check=False).returncode == 0


class Tenant:
    """The stand-in for Microsoft inside the machine, under Microsoft's names."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def start(self) -> None:
        """Run it as a unit, if it does not run, and let the machine trust its CA."""
        if self._machine.run("systemctl is-active tenant.service", check=False).returncode == 0:
            return
        self._machine.run(
            "mkdir -p /srv/tenant && cat > /run/systemd/system/tenant.service && systemctl daemon-reload", stdin=UNIT
        )
        self._machine.run("systemctl start tenant.service")
        eventually(lambda: self._machine.run("ss -Hltn sport = :443").stdout, "the stand-in listens")
        self._machine.run(
            "cmp -s /srv/tenant/ca.pem /usr/local/share/ca-certificates/tenant.crt || "
            "{ cp /srv/tenant/ca.pem /usr/local/share/ca-certificates/tenant.crt && update-ca-certificates; }"
        )

    def stop(self) -> None:
        """Microsoft is gone."""
        self._machine.run("systemctl stop tenant.service")

    @property
    def about(self) -> dict[str, str]:
        """Tenant, client, secret, sender."""
        about: dict[str, str] = json.loads(self._machine.run("cat /srv/tenant/sandbox.json").stdout)
        return about

    def settings(self, **other: str) -> dict[str, str]:
        """The four settings, and more."""
        about = self.about
        return {
            "GRAPH_TENANT_ID": about["tenant"], "GRAPH_CLIENT_ID": about["client"], "GRAPH_CLIENT_SECRET": about["secret"],
            "GRAPH_SENDER": about["sender"],
        } | other  # fmt: skip

    def control(self, **change: Any) -> dict[str, Any]:
        """Change the world, and see it."""
        data = json.dumps(change) if change else ""
        seen: dict[str, Any] = json.loads(self._machine.run(["python3", "-IS", "-c", CONTROL], stdin=data).stdout)
        return seen

    def reset(self) -> None:
        """As it was at first."""
        self.control(forget=True, faults=[], end_hangs=True, roles=["Mail.Send"], latency=0.02, secret=self.about["secret"])

    def accepted(self) -> list[dict[str, Any]]:
        """What arrived, in order."""
        mails: list[dict[str, Any]] = self.control()["accepted"]
        return mails

    def arrives(self, subject: str, patience: float = 30.0) -> dict[str, Any]:
        """The mail with this subject, once it is there."""
        mail: dict[str, Any] = eventually(
            lambda: next((mail for mail in self.accepted() if mail["message"]["subject"] == subject), None),
            f"a mail with the subject {subject!r} arrives", patience,
        )  # fmt: skip
        return mail


def people(mail: dict[str, Any], key: str = "toRecipients") -> list[str]:
    """The addresses of an accepted mail."""
    return [person["emailAddress"]["address"] for person in mail["message"].get(key, [])]


def body(mail: dict[str, Any]) -> str:
    """Its body, HTML."""
    content: str = mail["message"]["body"]["content"]
    return content
