"""The command's verbs, by typer. A verb's modules are imported when the verb is asked for."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import click
import typer

from proxmox_graph_mail import __version__
from proxmox_graph_mail.admin.group import Group
from proxmox_graph_mail.errors import EX_OK, UsageError

VERBS = {
    "setup": "setup:setup", "check": "check:check", "test": "test:send_one", "status": "commands:status", "log": "log:log",
    "queue": "queue:app", "preview": "preview:preview", "route": "route:route", "explain": "explain:explain",
    "target": "target:app", "migrate": "migrate:migrate", "alarm": "alarm:app",
    "entra": "entra:entra", "rotate": "rotate:rotate", "install-units": "install_units:install_units", "run": "commands:run",
    "deliver": "deliver:deliver",
}  # fmt: skip
"""Verb → module of this package and what in it: a function, or (`app`) a group of verbs. In the order of --help."""


class _Verbs(Group):
    """The verbs as click wants them, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name].partition(":")
        command: Any = getattr(importlib.import_module(f"proxmox_graph_mail.admin.{module}"), name)
        if isinstance(command, typer.Typer):
            group = typer.main.get_group(command)
            group.name = cmd_name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(name=cmd_name)(command)
        return typer.main.get_command(alone)


app = typer.Typer(
    help="Sends this host's mail through Microsoft 365.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Sends this host's mail through Microsoft 365."""
    if version:
        print(f"proxmox-graph-mail {__version__}")
        raise typer.Exit


def run(
    once: Annotated[bool, typer.Option("--once", help="One pass over what is due, then exit.")] = False,
    idle: Annotated[float, typer.Option("--idle", help="Exit after so many seconds with an empty queue.")] = 300.0,
    lock_fd: Annotated[int, typer.Option("--lock-fd", hidden=True)] = -1,
) -> None:
    """Run the queue: send what is due, and stay while anything waits. systemd starts this.

    Example: proxmox-graph-mail run --once
    """
    from proxmox_graph_mail.admin.run import run

    raise typer.Exit(run(once=once, idle=idle, lock_fd=lock_fd))


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print node_exporter's textfile format.")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="One line; exit 0 ok, 1 warning, 2 critical, 3 unknown.")] = False,
) -> None:
    """Show the queue, what was sent today, the last success, the credential and its days left, and the service.

    Example: proxmox-graph-mail status --prometheus > /var/lib/prometheus/node-exporter/mail.prom
    """
    from proxmox_graph_mail.admin.status import show

    raise typer.Exit(show(as_json=as_json, prometheus=prometheus, nagios=nagios))


def command(argv: Sequence[str]) -> int:
    """Run a verb; its exit status. Raises MailError."""
    try:
        result = typer.main.get_command(app)(list(argv), prog_name="proxmox-graph-mail", standalone_mode=False)
    except click.UsageError as error:
        raise UsageError(error.format_message()) from error
    except click.Abort:
        print("proxmox-graph-mail: nothing was done", file=sys.stderr)
        return 1
    return result if isinstance(result, int) else EX_OK
