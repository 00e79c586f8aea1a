"""A Proxmox host: its files below a folder, its programs, and ours beside them."""

import os
import sys
from pathlib import Path

from tests.programs import Host

LAYER = Path(__file__).with_name("layer.py")
USER_CFG = "user:root@pam:1:0:::admin@example.com:::\n"
NOBODY = 65534


class ProxmoxHost:
    """`host` with Proxmox's files in `root`, and its programs on the PATH."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.root = host.root
        for name in ("etc/pve/nodes/pve1", "etc/pve/priv", "var/log", "root", "usr/libexec", "usr/lib/systemd/system"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/pve/user.cfg").write_text(USER_CFG)
        (self.root / "usr/lib/systemd/system/proxmox-graph-mail-hand-over.path").touch()
        host.env |= {
            "LAYER_SENDMAIL": " ".join(host.command("sendmail")), "PROXMOX_GRAPH_MAIL_PASS": "no", "PATH": f"{host.programs}:/usr/bin:/bin",
        }  # fmt: skip
        for name in ("pvesh", "proxmox-backup-manager"):
            self.program(host.programs / name)
        for name in ("proxmox-graph-mail-host", "proxmox-graph-mail-hand-over"):
            (host.programs / name).symlink_to((host.programs / "sendmail").resolve())
        self.forward_program = self.root / "usr/libexec/proxmox-mail-forward"
        self.program(self.forward_program)
        (self.root / "root/.forward").write_text("|/usr/libexec/proxmox-mail-forward\n")

    def program(self, path: Path) -> None:
        """One of Proxmox's programs."""
        words = self.host.env.get("LAYER_SENDMAIL", "")
        variables = f"PROXMOX_GRAPH_MAIL_ROOT='{self.root}' LAYER_SENDMAIL='{words}' LAYER_NAME={path.name}"
        path.write_text(f'#!/bin/sh\n{variables} exec {sys.executable} {LAYER} "$@"\n')
        path.chmod(0o755)

    def refresh(self) -> None:
        """What proxmox-graph-mail-host.service does."""
        assert self.host.sendmail(name="proxmox-graph-mail-host", stdin=b"").returncode == 0

    def hand_over(self) -> None:
        """What proxmox-graph-mail-hand-over.service does."""
        done = self.host.sendmail(name="proxmox-graph-mail-hand-over", stdin=b"")
        assert done.returncode == 0, done.stderr

    def asked(self) -> list[str]:
        """The IDs in hand-over/."""
        folder = self.host.spool / "hand-over"
        return sorted(os.listdir(folder)) if folder.exists() else []
