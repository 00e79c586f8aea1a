"""proxmox-graph-mail: the command for admins. One error is one sentence on standard error and a status of sysexits.h."""

import os
import sys
import tempfile
import traceback
from typing import Annotated

import click
import typer

from proxmox_graph_mail import __version__, log
from proxmox_graph_mail.admin import queue, target
from proxmox_graph_mail.admin.check import check
from proxmox_graph_mail.admin.deliver import deliver
from proxmox_graph_mail.admin.entra import entra
from proxmox_graph_mail.admin.explain import explain
from proxmox_graph_mail.admin.log import log as show_log
from proxmox_graph_mail.admin.preview import preview
from proxmox_graph_mail.admin.rotate import rotate
from proxmox_graph_mail.admin.route import route
from proxmox_graph_mail.admin.run import IDLE, serve
from proxmox_graph_mail.admin.setup import setup
from proxmox_graph_mail.admin.status import status
from proxmox_graph_mail.admin.test import send_one
from proxmox_graph_mail.admin.wiring import become_service_user
from proxmox_graph_mail.errors import EX_SOFTWARE, EX_USAGE, MailError
from proxmox_graph_mail.spool import Spool
from proxmox_graph_mail.submission.wake import default_run, wake

app = typer.Typer(
    help="The mail system of a host whose organisation lives in Microsoft 365.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(queue.app, name="queue")
app.add_typer(target.app, name="target")
app.command()(route)
app.command()(preview)
app.command()(deliver)
app.command()(check)
app.command()(explain)
app.command()(status)
app.command()(setup)
app.command()(entra)
app.command()(rotate)
app.command(name="log")(show_log)
app.command(name="test")(send_one)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The mail system of a host whose organisation lives in Microsoft 365."""
    log.setup("admin")
    if version:
        print(f"proxmox-graph-mail {__version__}")
        raise typer.Exit


@app.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="One pass over what is due, then leave.")] = False,
    idle: Annotated[float, typer.Option("--idle", min=0, help="Seconds with an empty queue after which to leave.")] = IDLE,
    lock_fd: Annotated[int, typer.Option("--lock-fd", hidden=True)] = -1,
) -> None:
    """Run the queue: send what is due, and stay while anything waits. systemd starts this.

    Example: proxmox-graph-mail run --once
    """
    log.setup("runner", echo=not os.path.exists(log.syslog_path()) or os.isatty(2))
    spool = Spool()
    if lock_fd < 0:
        spool.create()
    become_service_user(spool)
    lock = lock_fd if lock_fd >= 0 and spool.owns_lock(lock_fd) else None
    if once and lock is None:
        lock = spool.lock()
        if lock is None:
            wake(default_run())  # a runner is at work; it has the mail
            raise typer.Exit
    raise typer.Exit(serve(spool, once=once, lock=lock, idle=idle))


def main() -> None:
    """The program."""
    try:
        sys.exit(typer.main.get_command(app)(prog_name="proxmox-graph-mail", standalone_mode=False))
    except MailError as error:
        print(f"proxmox-graph-mail: {log.printable(str(error))}", file=sys.stderr)
        sys.exit(error.status)
    except click.UsageError as error:
        print(f"proxmox-graph-mail: {error.format_message()} (see --help)", file=sys.stderr)
        sys.exit(EX_USAGE)
    except click.Abort:
        print("proxmox-graph-mail: nothing was done", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read it has enough; nothing is left to be flushed into it
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - an admin is told where the report lies, and sees no traceback
        print(f"proxmox-graph-mail: unforeseen error ({type(error).__name__}); please report it: {_report()}", file=sys.stderr)
        sys.exit(EX_SOFTWARE)


def _report() -> str:
    """The path of a file of this user's alone with the traceback at hand, which has no values but the exception's own."""
    descriptor, path = tempfile.mkstemp(prefix="proxmox-graph-mail-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"proxmox-graph-mail {__version__}, Python {sys.version}\n{traceback.format_exc()}")
    return path
