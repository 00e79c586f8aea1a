"""`queue list|show|save|flush|retry|remove`: looking after the queue."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.admin.group import Group
from proxmox_graph_mail.admin.log import history
from proxmox_graph_mail.admin.privileges import become_service_user
from proxmox_graph_mail.admin.run import serve
from proxmox_graph_mail.admin.screen import local, put
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE, DataError, FileError, MailError, UsageError
from proxmox_graph_mail.graph.codes import GRAPH
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.rfc822.header import fields
from proxmox_graph_mail.spool import digests, journal
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, decode
from proxmox_graph_mail.spool.lock import lock as take_lock
from proxmox_graph_mail.spool.store import AT_ONCE, NOW, Spool, is_id
from proxmox_graph_mail.spool.wake import wake, wake_or_pass
from proxmox_graph_mail.spool.watch import Watch, outcome_of
from proxmox_graph_mail.submission import mailq

app = typer.Typer(help="Look after the queue.", no_args_is_help=True, cls=Group)
Ids = Annotated[list[str], typer.Argument(help="Queue IDs, or ALL.", metavar="ID...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

RUNNER_SILENCE = 5.0  # seconds without a change in the queue after which `flush` looks whether there still is a runner
RUNNER_START = 30.0  # seconds a runner that systemd was told to start may take; it alone may have the credential (systemd-creds)
SHOW_LIMIT = 64 << 10  # bytes of a message that `show` reads for its header


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the queue: what waits, what is deferred or held and why, what failed.

    Example: proxmox-graph-mail queue list --json
    """
    raise typer.Exit(mailq.show(Spool(), as_json=as_json))


@app.command()
def show(queue_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)], as_json: AsJson = False) -> None:
    """Show one message: envelope, header, and what happened to it so far.

    Example: proxmox-graph-mail queue show 0656A4B0C1E1290FA3
    """
    spool = _spool()
    failed = _is_failed(spool, queue_id)
    row = next((row for row in mailq.listing(spool) if row["id"] == queue_id), None)
    if row is None:
        if not as_json and history(queue_id):
            return
        raise DataError(f"{printable(queue_id)}: no such message, and none on record; proxmox-graph-mail log shows what there is")
    past = journal.events(spool.failed if failed else spool.queue, queue_id)
    with open(spool.open(queue_id, failed=failed), "rb") as file:
        members = _members(file.readline(LINE_LIMIT))
        header = [(name.decode("ascii"), value.decode("utf-8", "replace")) for name, value in fields(file.read(SHOW_LIMIT))]
    if as_json:
        print(json.dumps(row | {"members": members, "history": [event._asdict() for event in past], "header": header}, indent=1))
        return
    for key in ("id", "state", "lane", "arrived", "sender", "recipients", "uid", "size", "attempts", "next_attempt", "reason"):
        value = row[key]
        if value is None:
            continue
        if key in ("arrived", "next_attempt"):
            value = local(mailq.seconds(value))
        put(", ".join(value) if isinstance(value, list) else str(value), begin=f"{f'{key}:':<14}")
    if members:
        put(" ".join(members), begin=f"{'stands for:':<14}")
    print()
    for name, value in header:
        put(value, begin=f"{printable(name.title())}: ", hang=4)
    if past:
        print()
    for event in past:
        put(event.reason, begin=f"{local(event.time)}  {event.state}  ", hang=4)
    print()
    put(_advice(row["state"], queue_id, past[-1].code if past else ""), begin="What to do: ", hang=4)


def _advice(state: str, queue_id: str, code: str) -> str:
    """What an admin can do about a message in this state."""
    more = f"; proxmox-graph-mail explain {code} says more" if code in GRAPH or code.startswith("AADSTS") else ""
    if state == "failed":
        return f"fix what the reason names, then queue retry {queue_id}; or queue save, queue remove{more}"
    if state == "held":
        return f"fix what the reason names; then it is sent by itself, or at once with queue flush{more}"
    return f"nothing, it is retried automatically; queue retry {queue_id} retries it now{more}"


@app.command()
def flush(
    at_once: Annotated[
        bool, typer.Option("--at-once", help="At whatever pace Graph takes, and each mail by itself: what is too fast for "
                           "Exchange then waits there, in order of arrival.")
    ] = False,
) -> None:  # fmt: skip
    """Try everything in the queue now, due or not, and wait for it. Exit 0: nothing is left; 75: some remain; 69: some failed.

    Example: proxmox-graph-mail queue flush
    """
    spool = _spool(change=True)
    become_service_user(spool)
    ids = [entry.id for entry in spool.scan()]
    if not ids:
        failed = len(spool.scan_failed())
        print(f"Nothing to send{f'; {failed} failed earlier: see queue list and queue retry' if failed else ''}")
        return
    since = time.time()
    for queue_id in ids:
        spool.defer(queue_id, 0)
    spool.urge(AT_ONCE if at_once else NOW)
    with _progress(len(ids)) as on_progress:
        _try_all(spool, ids, since, on_progress)
    outcomes = [outcome_of(spool, queue_id, since) for queue_id in ids]
    left = sum(outcome is None or outcome[0] == EX_TEMPFAIL for outcome in outcomes)
    failed = sum(outcome is not None and outcome[0] == EX_UNAVAILABLE for outcome in outcomes)
    print(f"{len(ids) - left - failed} sent, {left} still queued, {failed} failed")
    if left or failed:
        reasons = dict.fromkeys(row["reason"] for row in mailq.listing(spool) if row["id"] in ids and row["reason"])
        for reason in list(reasons)[:5]:
            print(f"  {printable(reason)}")
    raise typer.Exit(EX_UNAVAILABLE if failed else EX_TEMPFAIL if left else EX_OK)


@app.command()
def retry(ids: Ids) -> None:
    """Try messages again now: those that wait, and those that failed.

    Example: proxmox-graph-mail queue retry ALL
    """
    spool = _spool(change=True)
    become_service_user(spool)
    chosen = _chosen(spool, ids)
    for queue_id in chosen:
        if _is_failed(spool, queue_id):  # first its new life, then itself
            journal.append(
                spool.failed, queue_id, journal.Event(round(time.time(), 3), journal.RETRIED, "", "retried by an admin")
            )
            spool.requeue(queue_id)
        else:
            spool.defer(queue_id, 0)
    waiting = digests.waiting(spool)
    for digest in {waiting[queue_id] for queue_id in chosen if queue_id in waiting}:
        spool.defer(digest, 0)
    spool.urge()
    wake_or_pass(spool, paths.run())
    print(f"{mailq.messages(len(chosen))} will be retried now")


@app.command()
def remove(ids: Ids, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete messages permanently, without sending them.

    Example: proxmox-graph-mail queue remove 0656A4B0C1E1290FA3
    """
    spool = _spool(change=True)
    chosen = _with_members(spool, _chosen(spool, ids))
    if not chosen:
        print("Nothing to remove")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this deletes {mailq.messages(len(chosen))} permanently, without sending; confirm with --yes")
        typer.confirm(f"Delete {mailq.messages(len(chosen))} permanently, without sending?", abort=True)
    uid = os.getuid()
    become_service_user(spool)
    for queue_id in chosen:
        spool.remove(queue_id, failed=_is_failed(spool, queue_id))
        log.line(f"{queue_id}: removed unsent by uid={uid}", log.NOTICE)
    print(f"{mailq.messages(len(chosen))} removed")


@app.command()
def save(
    queue_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="[FILE]", show_default=False)] = "-",
) -> None:
    """Write a message as it was submitted to a new file, or to standard output: one that waits, failed, or was sent smaller.

    Example: proxmox-graph-mail queue save 0656A4B0C1E1290FA3 mail.eml
    """
    spool = _spool()
    path = spool.locate(queue_id)
    if path is None:
        raise DataError(f"{printable(queue_id)}: no such message; it may have been sent unchanged, or removed after 30 days")
    action, name = "read", path
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as message:
            message.readline(LINE_LIMIT)
            action, name = "write", file
            # Never over a file that is there, and for the admin's eyes alone.
            target = 1 if file == "-" else os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(target, "wb", closefd=file != "-") as copy:
                shutil.copyfileobj(message, copy)
    except OSError as error:
        if action == "write" and file == "-":
            raise  # the output, not a file that was named
        raise FileError(f"cannot {action} {printable(name)}: {error.strerror}") from error


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, nothing elsewhere; yields the function that updates it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("sending", total=total)
        yield lambda done: progress.update(bar, completed=done)


def _try_all(spool: Spool, ids: list[str], since: float, on_progress: Callable[[int], object]) -> None:
    """Let each message be tried: by a runner that is at work, woken and watched, or by a pass of our own."""
    seen: set[str] = set()

    def settled(queue_id: str, _state: str) -> None:
        seen.add(queue_id)
        on_progress(len(seen.intersection(ids)))

    waiting = ids
    begun = time.monotonic()
    while True:
        listened = wake(paths.run())  # by a runner, or by systemd, which starts one
        lock = take_lock(spool.root)
        if lock is not None and not (listened and time.monotonic() - begun < RUNNER_START):
            serve(spool, once=True, lock=lock, on_settled=settled)
            return
        if lock is not None:
            os.close(lock)
        watch = Watch(spool.queue)
        try:
            while waiting := [queue_id for queue_id in waiting if outcome_of(spool, queue_id, since) is None]:
                on_progress(len(ids) - len(waiting))
                if not watch.wait(RUNNER_SILENCE):
                    break  # is it still there?
            else:
                return
        finally:
            watch.close()


def _spool(*, change: bool = False) -> Spool:
    spool = Spool()
    mailq.require_access(spool, change=change)
    return spool


def _chosen(spool: Spool, ids: list[str]) -> list[str]:
    """The queue IDs named; a name that is none, or not there, is an error before anything is done."""
    known = [entry.id for entry in (*spool.scan(), *spool.scan_failed())]
    if ids == ["ALL"]:
        return known
    for queue_id in ids:
        if queue_id not in known:
            raise DataError(f"{printable(queue_id)}: no such message; proxmox-graph-mail queue list shows them")
    return list(dict.fromkeys(ids))


def _members(line: bytes) -> tuple[str, ...]:
    """The messages that a digest stands for; none of any other, nor of one that is damaged."""
    try:
        return decode(line).members
    except DataError:
        return ()


def _with_members(spool: Spool, ids: list[str]) -> list[str]:
    """A digest goes with the messages that are in it, which go first: else they would be sent by themselves."""
    found = []
    for queue_id in ids:
        with contextlib.suppress(MailError, OSError):
            found += [one for one in spool.envelope(queue_id)[0].members if spool.due(one) is not None]
    return list(dict.fromkeys((*found, *ids)))


def _is_failed(spool: Spool, queue_id: str) -> bool:
    return is_id(queue_id) and os.path.lexists(f"{spool.failed}/{queue_id}")
