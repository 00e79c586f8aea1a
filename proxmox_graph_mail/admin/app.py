"""proxmox-graph-mail: the command for admins. One error is a sentence on standard error, what to do, and a status of sysexits.h.

What systemd and monitoring call often (`run`, `status`, `queue list`, `--version`) is recognised here in its plain form;
everything else, and whatever is wrong, goes to the commands (commands.py), whose library costs more to load than these verbs to
run.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

from proxmox_graph_mail import __version__, log
from proxmox_graph_mail.errors import EX_IOERR, EX_OK, EX_SOFTWARE, EX_TEMPFAIL, MailError

_OPTIONS: dict[str, dict[str, tuple[str, type | None]]] = {
    "run": {"--once": ("once", None), "--idle": ("idle", float), "--lock-fd": ("lock_fd", int)},
    "status": {"--json": ("as_json", None), "--prometheus": ("prometheus", None), "--nagios": ("nagios", None)},
}
"""The options of the plain verbs: keyword, and the type of an argument (None: a flag). commands.py declares them too, for
--help."""


def main() -> None:
    """The program."""
    _occupy()
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except MailError as error:
        _complain(error.sentence)
        status = error.status
    except BrokenPipeError:
        status = 1
    except OSError as error:
        sys.stderr.write(f"proxmox-graph-mail: {log.printable(str(error.filename or 'the output'))}: {error.strerror}\n")
        status = EX_IOERR
    except KeyboardInterrupt:
        status = 130
    except ModuleNotFoundError as error:  # a detached pass has no other way to say it than the log
        reason = (
            f"{sys.executable} has no module {error.name}: install the package, or use the programs of the virtual environment"
        )
        log.setup("admin", echo=True)
        log.line(reason, log.ERR)
        status = EX_TEMPFAIL
    except Exception as error:  # noqa: BLE001 - an admin is told where the report lies, and sees no traceback
        name = type(error).__name__
        sys.stderr.write(f"proxmox-graph-mail: unexpected error ({name}); please report it with the file {_report()}\n")
        status = EX_SOFTWARE
    try:
        sys.stdout.flush()
    except OSError:  # whoever read it has enough, or its disk is full; nothing is left to be flushed into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)


def _complain(sentence: str) -> None:
    from proxmox_graph_mail.admin.screen import folded  # where all goes well, it is not needed

    sys.stderr.write(folded(f"proxmox-graph-mail: {log.printable(sentence)}", hang=2, stream=sys.stderr) + "\n")


def _occupy() -> None:
    """Open closed standard descriptors: no file of ours must become anybody's standard output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _run(argv: Sequence[str]) -> int:
    log.setup("admin")
    if list(argv) == ["--version"]:
        print(f"proxmox-graph-mail {__version__}")
        return EX_OK
    options = _plain(argv)
    if options is not None and argv[0] == "run":
        from proxmox_graph_mail.admin.run import run

        return run(**options)
    if options is not None and argv[0] == "status":
        from proxmox_graph_mail.admin.status import show

        return show(**options)
    if list(argv) in (["queue", "list"], ["queue", "list", "--json"]):
        from proxmox_graph_mail.spool.store import Spool
        from proxmox_graph_mail.submission.mailq import show as show_queue

        return show_queue(Spool(), as_json=len(argv) > 2)
    from proxmox_graph_mail.admin.commands import command

    return command(argv)


def _plain(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of a plain verb in their plain form; None for everything else."""
    known = _OPTIONS.get(argv[0]) if argv else None
    if known is None:
        return None
    options: dict[str, Any] = {}
    words = iter(argv[1:])
    for word in words:
        name, kind = known.get(word, ("", None))
        try:
            options[name] = True if kind is None else kind(next(words))
        except (StopIteration, ValueError):
            return None
        if not name:
            return None
    return options


def _report() -> str:
    """The path of a file of this user's alone with the traceback at hand, which has no values but the exception's own."""
    import tempfile
    import traceback

    descriptor, path = tempfile.mkstemp(prefix="proxmox-graph-mail-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"proxmox-graph-mail {__version__}, Python {sys.version}\n{traceback.format_exc()}")
    return path
