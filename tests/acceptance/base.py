"""The base root: Debian 13 as an admin has it before the package, with Postfix and the programs that send mail. Made once.

What `apt` will want later (the package's dependencies, Postfix again) lies in the root's apt cache, for the machine has no
network: `apt install` resolves and installs them as it would from a mirror.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUITE = "trixie"
CALLERS = (
    "cron",
    "bsd-mailx",
    "s-nail",
    "smartmontools",
    "unattended-upgrades",
    "git",
    "git-email",
    "libmailtools-perl",
    "php-cli",
    "perl",
    "dnf",
    "createrepo-c",
    "ansible-core",
    "python3-venv",
)
SYSTEM = ("systemd", "systemd-sysv", "dbus", "postfix", "ca-certificates", "procps", "iproute2", "apt-utils", "dpkg-dev",
          "bash-completion", "mandoc", "openssl")  # fmt: skip
SANDBOX = ("python3-starlette", "python3-uvicorn", "python3-trustme", "python3-jwt", "python3-jsonschema", "python3-referencing")
LATER = ("python3-httpx", "python3-msal", "python3-pydantic-settings", "python3-tenacity", "python3-typer", "python3-rich",
         "python3-cryptography", "python3-dotenv", "python3-click", "python3-webencodings", "ssl-cert")  # fmt: skip
"""What the package depends on, and what Postfix recommends."""

AGAIN = ("postfix", "bsd-mailx")
"""What is installed, and will be once more: after the package took its place, and after a purge, with which mail(1) goes."""
HOOK = Path(__file__).with_name("base-hook")


def base() -> Path:
    """The base root's folder. Made in a minute or two; raises CalledProcessError with mmdebstrap's own words."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "proxmox-graph-mail"
    key = hashlib.sha256(Path(__file__).read_bytes() + HOOK.read_bytes()).hexdigest()[:12]
    root = cache / f"base-{key}"
    if root.exists():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob("base-*"):
        shutil.rmtree(old)
    new = cache / f"new-{os.getpid()}"
    print(f"making a Debian 13 root with Postfix and the callers, once: {root}", flush=True)
    command = [
        "mmdebstrap", "--quiet", "--format=directory", "--variant=minbase",
        f"--include={','.join((*SYSTEM, *CALLERS, *SANDBOX))}", f"--customize-hook={HOOK}",
        "--skip=cleanup/apt/lists,cleanup/apt/cache", SUITE, str(new),
    ]  # fmt: skip
    subprocess.run(command, check=True, env=os.environ | {"LATER": " ".join(LATER), "AGAIN": " ".join(AGAIN)})
    new.rename(root)
    return root
