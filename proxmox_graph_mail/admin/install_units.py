"""`install-units`: a host without the package gets its user, directories and units, and the sendmail links; and loses them again.

For a virtual environment (pip), whose programs the units then start. Where /usr/sbin/sendmail is another mail system's, it stays:
the links are made through the alternatives system (update-alternatives(1); alternatives(8) on Fedora), under its name `mta`.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin.privileges import require_root
from proxmox_graph_mail.admin.screen import put
from proxmox_graph_mail.errors import FileError, UsageError
from proxmox_graph_mail.proxmox import system
from proxmox_graph_mail.spool.store import Spool

NAME = "proxmox-graph-mail"
PROGRAMS = ("sendmail", NAME, *(f"{NAME}-{name}" for name in ("receive", "host", "watch", "hand-over")))
_STARTED = (".socket", ".path", "-hand-over.path", "-submit.socket", "-submit-root.socket", "-daily.timer", "-rotate.timer",
            "-watch.timer")  # fmt: skip
ENABLED = tuple(f"{NAME}{unit}" for unit in _STARTED)
UNITS = Path("/usr/local/lib/systemd/system")
SYSUSERS, TMPFILES = Path(f"/etc/sysusers.d/{NAME}.conf"), Path(f"/etc/tmpfiles.d/{NAME}.conf")
HIDDEN = ("/home", "/root", "/tmp", "/var/tmp")  # noqa: S108 - they are refused
"""What the units' sandbox hides (ProtectHome=, PrivateTmp=)."""
LINKS = (("/usr/bin/mailq", "mta-mailq", "mailq"), ("/usr/bin/newaliases", "mta-newaliases", "newaliases"),
         ("/usr/lib/sendmail", "mta-sendmail", "sendmail"))  # fmt: skip
PRIORITY = "90"


def install_units(
    remove: Annotated[bool, typer.Option("--remove", help="Take away what this command installed.")] = False,
) -> None:
    """Install the user, directories, units and sendmail links for a pip installation, or take them away.

    Not for the Debian or RPM package, which has them. Example: /opt/proxmox-graph-mail/bin/proxmox-graph-mail install-units
    """
    require_root("the host's units")
    packaged = os.path.exists("/usr/lib/systemd/system/proxmox-graph-mail.service")
    if packaged and not remove:
        raise UsageError("the package is installed, and has units of its own; there is nothing to do")
    try:
        if remove:
            _remove(packaged=packaged)
        else:
            _install()
    except OSError as error:
        raise FileError(f"cannot write {error.filename}: {error.strerror}") from error


def _install() -> None:
    programs = Path(sys.executable).parent
    if missing := [name for name in PROGRAMS if not (programs / name).exists()]:
        raise UsageError(f"{programs} has no {', '.join(missing)}; install with pip, and run this from its environment")
    if str(programs).startswith(tuple(f"{hidden}/" for hidden in HIDDEN)):
        raise UsageError(f"{programs} is hidden from the units; make the virtual environment below /opt")
    places = (programs, *programs.parents, *(programs / name for name in PROGRAMS))
    if foreign := [path for path in places if not _is_root_s(path)]:
        raise UsageError(
            f"{foreign[0]} is not root's alone, and its programs would run as root; chown -R root:root the environment"
        )
    source = _source()
    for unit in sorted((source / "systemd").rglob("*.*")):
        if unit.is_file():
            _write(UNITS / unit.relative_to(source / "systemd"), _adapted(unit.read_text("utf-8"), programs))
    shared = (source / "systemd" / f"{NAME}-submit.service.d" / "sandbox.conf").read_text("utf-8")
    _write(UNITS / f"{NAME}-smtp.service.d" / "sandbox.conf", shared)
    _write(SYSUSERS, (source / f"{NAME}.sysusers").read_text("utf-8"))
    _write(TMPFILES, (source / f"{NAME}.tmpfiles").read_text("utf-8"))
    system.must(["systemd-sysusers", str(SYSUSERS)])
    system.must(["systemd-tmpfiles", "--create", str(TMPFILES)])
    conf = Path(paths.HOST_SETTINGS)
    if not conf.exists():
        shutil.copyfile(source / f"{NAME}.conf.example", conf)
        conf.chmod(0o640)
        shutil.chown(conf, "root", NAME)
    system.must(["systemctl", "daemon-reload"])
    system.must(["systemctl", "enable", "--now", *ENABLED])
    put(f"The units are installed in {UNITS}, and started.")
    _link(programs)
    put("Next: proxmox-graph-mail setup")


def _link(programs: Path) -> None:
    alternatives = shutil.which("update-alternatives") or shutil.which("alternatives")
    leads_to = os.readlink(paths.SENDMAIL) if os.path.islink(paths.SENDMAIL) else ""
    if os.path.lexists(paths.SENDMAIL) and not leads_to.startswith("/etc/alternatives/"):
        put(f"{paths.SENDMAIL} is another mail system's, and stays so. Remove that, and run this again.")
    elif alternatives is None:
        put(f"There is no alternatives system here; link {paths.SENDMAIL} to {programs}/sendmail yourself.")
    else:
        words = [alternatives, "--install", paths.SENDMAIL, "mta", str(programs / "sendmail"), PRIORITY]
        for link, name, program in LINKS:
            words += ["--slave", link, name, str(programs / program)]
        system.must(words)
        put(f"{paths.SENDMAIL} leads to {programs}/sendmail.")


def _remove(*, packaged: bool) -> None:
    """With the package installed only what would stand above its units; user, spool and settings are its own then."""
    alternatives = shutil.which("update-alternatives") or shutil.which("alternatives")
    if alternatives is not None:
        system.output([alternatives, "--remove", "mta", str(Path(sys.executable).parent / "sendmail")])
    names = sorted(unit.name for unit in UNITS.glob(f"{NAME}*") if unit.is_file())
    if names and not packaged:
        system.must(["systemctl", "disable", "--now", *names])
    for unit in UNITS.glob(f"{NAME}*"):
        shutil.rmtree(unit) if unit.is_dir() else unit.unlink()
    system.must(["systemctl", "daemon-reload"])
    for file in (SYSUSERS, TMPFILES):
        file.unlink(missing_ok=True)
    if packaged:
        put("The units of the virtual environment are gone; systemctl restart 'proxmox-graph-mail*' starts the package's.")
        return
    shutil.rmtree(paths.PACKAGE_RUN, ignore_errors=True)
    spool = Spool()
    waiting = len(spool.scan()) + len(spool.scan_failed()) if os.path.isdir(spool.queue) else 0
    if waiting:
        put(f"{waiting} unsent messages stay in {spool.root}, with their user; run install-units again to send them.")
        return
    for folder in (spool.root, paths.state(), paths.host(), paths.watch()):
        shutil.rmtree(folder, ignore_errors=True)
    kept = [path for path in (paths.HOST_SETTINGS, paths.CERTIFICATE) if os.path.exists(path)]
    for path in kept:  # the group's number is free now, and another group may get it
        os.chown(path, 0, 0)
        os.chmod(path, 0o600)
    system.output(["userdel", NAME])
    system.output(["groupdel", NAME])
    but = f" but {' and '.join(kept)}, which hold the secret" if kept else ""
    put(f"Everything is gone{but}.")


def _is_root_s(path: Path) -> bool:
    status = path.stat()
    return status.st_uid == 0 and not status.st_mode & 0o022


def _source() -> Path:
    """Where pip put the units and their kin. Raises UsageError."""
    place = Path(sys.prefix) / "share" / NAME
    if not (place / "systemd").is_dir():
        raise UsageError(f"{place} has no units; install with pip, and not with --editable")
    return place


def _adapted(text: str, programs: Path) -> str:
    """A unit that starts these programs instead of the package's."""
    return text.replace(f"/usr/libexec/{NAME}-", f"{programs}/{NAME}-").replace(f"/usr/sbin/{NAME}", f"{programs}/{NAME}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
