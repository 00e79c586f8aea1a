"""`alarm`: ALARM_COMMAND: try it, and (for proxmox-graph-mail-alarm.service) tell it what the watch says."""

import typer

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.admin.group import Group
from proxmox_graph_mail.admin.privileges import become_service_user
from proxmox_graph_mail.errors import EX_OK, EX_UNAVAILABLE, SettingsError
from proxmox_graph_mail.files import read_beginning
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.proxmox import system
from proxmox_graph_mail.settings import alarm_command
from proxmox_graph_mail.spool.store import Spool

app = typer.Typer(help="Try ALARM_COMMAND, which is told when no mail leaves the host.", no_args_is_help=True, cls=Group)
LIMIT = 4000  # bytes of what the watch says
FAILED = 1  # while an alarm lasts, so that the unit is a failed one


@app.command()
def test() -> None:
    """Run ALARM_COMMAND, as the service user, with a line that says it is a test; show what it answers.

    Example: proxmox-graph-mail alarm test
    """
    # As in earnest; and the service user may have written what is known of settings that cannot be read: never as root.
    become_service_user(Spool())
    command = alarm_command()
    if not command:
        raise SettingsError("ALARM_COMMAND is not set; set it to a command that reads a line from its standard input")
    status, output = system.tell(command, f"test: this is proxmox-graph-mail on {this_host().name}; mail is as it was\n")
    if output:
        print(printable(output))
    print(f"ALARM_COMMAND ended with status {status}" if status else "ok: ALARM_COMMAND ran")
    raise typer.Exit(EX_UNAVAILABLE if status else EX_OK)


@app.command(hidden=True)
def tell() -> None:
    """For proxmox-graph-mail-alarm.service: tell the command what the watch wrote; fail while an alarm lasts."""
    log.setup("alarm")
    try:
        kind, _, text = read_beginning(f"{paths.watch()}/alarm", LIMIT).decode("utf-8", "replace").partition("\n")
    except OSError:
        return  # the watch says nothing
    if text.strip() and (command := alarm_command()):
        system.tell_admin(command, text)
    raise typer.Exit(FAILED if kind == "alarm" else EX_OK)
