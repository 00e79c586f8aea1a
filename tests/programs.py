"""A host in a folder: the real programs, with a spool, settings and a syslog of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parent.parent
LAUNCHER = TREE / "packaging" / "launcher"
ADMIN = TREE / "proxmox_graph_mail" / "admin" / "__main__.py"
PYTHON = sys.executable
DEBIAN_PYTHON = "/usr/bin/python3"
NOBODY = 65534
AS_SYSTEMD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Starts a program with a listening socket, given by its number (sd_listen_fds(3))."""
PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait for something another process does; its result. The only place in the tests that polls."""
    end = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {patience} s: {what}"
        time.sleep(0.01)
    return result


class Syslog:
    """A datagram socket in syslog's place, and what came in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._synchronised = threading.Event()
        # A thread, for only ten datagrams wait in a socket before writers do.
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while text := self._socket.recv(8192).decode():
            if text == "synchronise":
                self._synchronised.set()
            else:
                self._lines.append(text[text.index("proxmox-graph-mail/") + len("proxmox-graph-mail/") :])

    def read(self) -> list[str]:
        """All lines so far, without priority and time."""
        self._synchronised.clear()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.sendto(b"synchronise", str(self.path))
        assert self._synchronised.wait(PATIENCE)
        return list(self._lines)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


class Host:
    """One host: folders, environment, and its programs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgm-"))  # short, for the socket's path
        self.folder.chmod(0o755)
        self.spool = self.folder / "spool"
        self.run_directory = self.folder / "run"
        self.state = self.folder / "state"
        self.config = self.folder / "conf"
        self.aliases = self.folder / "aliases"
        self.facts = self.folder / "facts"
        self.root = self.folder / "root"  # what stands below / of a Proxmox host
        for path in (self.spool, self.spool / "queue", self.spool / "failed", self.state, self.facts, self.root):
            path.mkdir(mode=0o700)
        self.run_directory.mkdir(mode=0o755)
        self.syslog = Syslog(self.folder / "log")
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PROXMOX_GRAPH_MAIL_SPOOL": str(self.spool),
            "PROXMOX_GRAPH_MAIL_RUN": str(self.run_directory),
            "PROXMOX_GRAPH_MAIL_STATE": str(self.state),
            "PROXMOX_GRAPH_MAIL_CONFIG": str(self.config),
            "PROXMOX_GRAPH_MAIL_ALIASES": str(self.aliases),
            "PROXMOX_GRAPH_MAIL_HOST": str(self.facts),
            "PROXMOX_GRAPH_MAIL_ROOT": str(self.root),
            "PROXMOX_GRAPH_MAIL_SYSLOG": str(self.syslog.path),
        }
        self.receiver: subprocess.Popen[bytes] | None = None
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for name in ("sendmail", "mailq", "newaliases", "proxmox-graph-mail-receive"):
            (self.programs / name).symlink_to(LAUNCHER)

    def close(self) -> None:
        self.syslog.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, name: str, *argv: str) -> list[str]:
        """The command line of one of the fast programs, as its `#!` line starts it."""
        return [PYTHON, "-IS", str(self.programs / name), *argv]

    def sendmail(
        self, *argv: str, stdin: bytes = b"Subject: test\n\nbody\n", name: str = "sendmail", **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run sendmail (or mailq, newaliases) to its end."""
        env = self.env | options.pop("env", {})
        return subprocess.run(
            self.command(name, *argv), input=stdin, env=env, capture_output=True, timeout=PATIENCE, check=False, **options
        )

    def other_user_command(self, *argv: str) -> tuple[list[str], dict[str, Any]]:
        """sendmail for a user who may not write the spool: nobody; without root, ourselves, as from a sandbox that hides it.

        Returns the command line and the options of subprocess.
        """
        if os.geteuid() != 0:
            return self.command("sendmail", *argv), {"env": self.env | {"PROXMOX_GRAPH_MAIL_SPOOL": "/nowhere"}}
        # Where the tree and the virtual environment lie, nobody may have no way to: run an installed copy by Debian's Python.
        copy = self.folder / "usr"
        if not copy.exists():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(TREE / "proxmox_graph_mail", copy / "proxmox_graph_mail", ignore=ignore)
            (copy / "packaging").mkdir()
            shutil.copy(LAUNCHER, copy / "packaging" / "sendmail")
            # As the package's installation does: nobody could keep what is compiled.
            subprocess.run([DEBIAN_PYTHON, "-m", "compileall", "-q", copy / "proxmox_graph_mail"], check=True)
        command = [DEBIAN_PYTHON, "-IS", str(copy / "packaging" / "sendmail"), *argv]
        return command, {"env": self.env, "user": NOBODY, "group": 1, "extra_groups": ()}

    def other_user_sendmail(self, *argv: str, stdin: bytes = b"Subject: test\n\nbody\n") -> "subprocess.CompletedProcess[bytes]":
        """Run sendmail as another user to its end."""
        command, options = self.other_user_command(*argv)
        return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False, **options)

    def admin_command(self, *argv: str) -> list[str]:
        """The command line of proxmox-graph-mail; warnings are errors in it."""
        return [sys.executable, "-I", "-W", "error", str(ADMIN), *argv]

    def admin(self, *argv: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[str]:
        """Run proxmox-graph-mail to its end."""
        done = subprocess.run(
            self.admin_command(*argv), input=stdin, env=self.env | env, capture_output=True, timeout=120, check=False
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def runner(self, *argv: str, **env: str) -> "Iterator[subprocess.Popen[bytes]]":
        """`proxmox-graph-mail run` in the background, from when it listens until it has stopped in order."""
        command = self.admin_command("run", *argv)
        process = subprocess.Popen(command, env=self.env | env, stderr=subprocess.PIPE)
        try:
            eventually(lambda: self.listens() or process.poll() is not None, "the runner listens on the FIFO")
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE)
            assert b"Traceback" not in errors, errors.decode()

    def listens(self) -> bool:
        """Does anybody read the FIFO?"""
        try:
            os.close(os.open(self.run_directory / "wake", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def queue(self) -> list[str]:
        """The IDs in queue/."""
        return sorted(name for name in os.listdir(self.spool / "queue") if len(name) == 18)

    def failed(self) -> list[str]:
        """The IDs in failed/."""
        return sorted(name for name in os.listdir(self.spool / "failed") if len(name) == 18)

    def rows(self) -> list[dict[str, Any]]:
        """`queue list --json`, by mailq, which shows the same."""
        done = self.sendmail("--json", name="mailq", stdin=b"")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def envelope(self, queue_id: str) -> dict[str, Any]:
        """A message's first line."""
        with (self.spool / "queue" / queue_id).open("rb") as file:
            line: dict[str, Any] = json.loads(file.readline())
        return line

    def message(self, queue_id: str) -> bytes:
        """A message's bytes."""
        with (self.spool / "queue" / queue_id).open("rb") as file:
            file.readline()
            return file.read()

    def settle(self, settings: dict[str, str]) -> None:
        """Write the settings file, atomically as an editor does."""
        new = self.folder / "conf.new"
        new.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), "utf-8")
        new.chmod(0o640)
        new.rename(self.config)

    def make_due(self, *ids: str) -> None:
        """Let the time of the next attempt have come."""
        for queue_id in ids or self.queue():
            os.utime(self.spool / "queue" / queue_id, (1, 1))

    @contextmanager
    def submit_socket(self, **env: str) -> Iterator[Path]:
        """The receiver with the submit socket, as systemd starts it; `self.receiver` is its process."""
        path = self.run_directory / "submit"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o666)
        with self._receives(listener, env):
            yield path
            path.unlink()

    @contextmanager
    def smtp_socket(self, address: str = "127.0.0.1", **env: str) -> Iterator[int]:
        """The receiver with a port for SMTP, as systemd starts it."""
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.bind((address, 0))
        with self._receives(listener, env):
            yield listener.getsockname()[1]

    @contextmanager
    def _receives(self, listener: socket.socket, env: dict[str, str]) -> Iterator[None]:
        listener.listen(64)
        command = [PYTHON, "-c", AS_SYSTEMD, str(listener.fileno()), *self.command("proxmox-graph-mail-receive")]
        with subprocess.Popen(command, env=self.env | env, pass_fds=(listener.fileno(),)) as receiver:
            self.receiver = receiver
            try:
                yield
            finally:
                listener.close()
                receiver.terminate()
                assert receiver.wait(PATIENCE) in (0, -signal.SIGTERM)  # the latter: before it had begun


class Sandbox:
    """The stand-in for Microsoft, as its own process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgm-sandbox-"))
        self._errors = (self.folder / "errors").open("wb+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox", str(self.folder), "--latency", "0.01"],
            cwd=TREE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the sandbox did not start"
        self.about: dict[str, Any] = json.loads((self.folder / "sandbox.json").read_text())
        self.url: str = self.about["url"]

    def close(self) -> str:
        """Stop; what it wrote on standard error."""
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)
        self._errors.seek(0)
        errors = self._errors.read().decode()
        self._errors.close()
        shutil.rmtree(self.folder)
        return errors

    def control(self, **change: Any) -> dict[str, Any]:
        """Change the world, and see it."""
        import ssl
        import urllib.request

        data = json.dumps(change).encode() if change else None
        trust = ssl.create_default_context(cafile=self.about["ca_file"])
        with urllib.request.urlopen(f"{self.url}/_sandbox", data, 10, context=trust) as answer:
            seen: dict[str, Any] = json.load(answer)
        return seen

    def reset(self) -> None:
        self.control(
            forget=True, faults=[], end_hangs=True, mailboxes=["pve@example.com"], roles=["Mail.Send"], scope=[], token_life=3599,
            latency=0.01, secret=self.about["secret"], drafts=[], refused=[], mailbox_limit=35_000_000, request_limit=4_000_000, clock=0.0, session_from=3_000_000,
        )  # fmt: skip

    def faults(self, *faults: dict[str, Any]) -> None:
        """Script what goes wrong next; see world.Fault."""
        self.control(faults=list(faults))

    def accepted(self) -> list[dict[str, Any]]:
        """What arrived, in order."""
        mails: list[dict[str, Any]] = self.control()["accepted"]
        return mails

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.control()["counts"]
        return counts

    def settings(self, **other: str) -> dict[str, str]:
        """Settings that work."""
        return {
            "GRAPH_TENANT_ID": self.about["tenant"],
            "GRAPH_CLIENT_ID": self.about["client"],
            "GRAPH_CLIENT_SECRET": self.about["secret"],
            "GRAPH_SENDER": self.about["sender"],
            "MAIL_TO": "admin@example.com",
            "GRAPH_AUTHORITY": self.url,
            "GRAPH_ENDPOINT": self.url,
            "GRAPH_CA_FILE": self.about["ca_file"],
            "MAILBOX_RATE": "0",
            "MAILBOX_DAILY_RECIPIENTS": "0",
            "DIGEST": "off",
        } | other


def subjects(mails: Sequence[dict[str, Any]]) -> list[str]:
    """The subjects of accepted mails."""
    return [mail["message"]["subject"] for mail in mails]
