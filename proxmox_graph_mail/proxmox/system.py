"""What the host's own programs say: which package owns sendmail, what another node answers; and the admin's own command."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from proxmox_graph_mail import log
from proxmox_graph_mail.errors import CommandError

PATIENCE = 15.0  # seconds
SHELL_PATH = "/usr/local/bin:/usr/bin:/bin"  # where an admin's command finds its programs
OUTPUT = 2000  # bytes shown of what an admin's command wrote


def sendmail_owner(path: str = "/usr/sbin/sendmail") -> str:
    """The Debian package that /usr/sbin/sendmail is of; empty if of none, or if this is no Debian."""
    if not shutil.which("dpkg-query"):
        return ""
    text = output(["dpkg-query", "-S", path])
    return text.partition(":")[0].strip() if text else ""


def on_node(node: str, address: str, command: Sequence[str]) -> tuple[int, str]:
    """Run a command on another node of the cluster, by its own ssh (root's key, the cluster's known hosts); status and output, or
    what ssh said."""
    hosts = f"/etc/pve/nodes/{node}/ssh_known_hosts"
    known = ["-o", f"UserKnownHostsFile={hosts}"] if os.path.exists(hosts) else []
    argv = [
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        "-o",
        f"HostKeyAlias={node}",
        *known,
        f"root@{address or node}",
        *command,
    ]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return 255, str(error)
    words = done.stdout if done.returncode != 255 else done.stderr
    return done.returncode, words.decode("utf-8", "replace").strip()


def members(path: str = "/etc/pve/.members") -> dict[str, str]:
    """The cluster's nodes and their addresses, as pmxcfs has them."""
    try:
        with open(path, "rb") as file:
            content = json.load(file)
        return {str(name): str(node.get("ip", "")) for name, node in content["nodelist"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def tell(command: str, text: str) -> tuple[int, str]:
    """Run an admin's command (by the shell, as cron does) with a text on its standard input; its status (-1: it took too long)
    and what it wrote. Raises OSError."""
    try:
        done = subprocess.run(  # noqa: S603 - the admin's own, from the settings that only root writes
            ["/bin/sh", "-c", command], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=2 * PATIENCE, check=False, cwd="/", env={"PATH": SHELL_PATH, "LANG": "C.UTF-8"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, f"it did not end within {2 * PATIENCE:.0f} s"
    return done.returncode, done.stdout[:OUTPUT].decode("utf-8", "replace").strip()


def missing_programs(command: str) -> list[str]:
    """The programs that a shell command calls by a plain name, and that are not there for it. What the shell makes up as it goes
    ($…, `…`) is passed over."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return []  # an open quote: the shell will say so
    called: list[str] = []
    begins = True
    for word in words:
        if word and set(word) <= set("|&;()"):
            begins = True
        elif begins and not re.match(r"\w+=", word):
            called.append(word)
            begins = False
    plain = [word for word in dict.fromkeys(called) if re.fullmatch(r"[\w./+-]+", word)]
    return [word for word in plain if not output(["/bin/sh", "-c", f'PATH={SHELL_PATH}; command -v "$1"', "sh", word]).strip()]


def tell_admin(command: str, text: str) -> None:
    """The same; what goes wrong with it is logged."""
    try:
        status, said = tell(command, text)
    except OSError as error:
        status, said = -1, error.strerror or type(error).__name__
    if status:
        log.line(f"ALARM_COMMAND failed with status {status}: {said[:300] or 'it wrote nothing'}", log.ERR)


def must(command: Sequence[str]) -> None:
    """Run one of the host's commands. Raises CommandError with its own words."""
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[:400]
        raise CommandError(f"{' '.join(command[:3])}: {words or f'status {done.returncode}'}")


def output(command: Sequence[str]) -> str:
    """A command's standard output, whatever its status; empty if it cannot be run."""
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
