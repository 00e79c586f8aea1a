"""What root lets the service user do: speak to the network."""

import ast
import os
from pathlib import Path

import pytest

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin import rotate
from proxmox_graph_mail.admin.privileges import as_service_user
from proxmox_graph_mail.errors import ConfinedError, SpoolError
from tests.programs import NOBODY, Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def spool(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose spool is the service user's."""
    monkeypatch.setattr(paths, "spool", lambda: str(host.spool))
    os.chown(host.spool, NOBODY, 1)
    return host


def test_it_is_done_by_the_service_user(spool: Host) -> None:
    """In a process of its own, without root's groups, and for good."""

    def who() -> list[object]:
        try:
            os.setuid(0)
        except PermissionError:
            return [os.getuid(), os.getgid(), os.getgroups(), os.getpid()]
        return []

    uid, gid, groups, pid = as_service_user(who)
    assert (uid, gid, groups) == (NOBODY, 1, [1])
    assert pid != os.getpid()
    assert os.getuid() == 0


def test_what_breaks_there_is_an_error_here(spool: Host) -> None:
    """And never a second process that goes on as the first."""

    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(ConfinedError, match="ended with status 1"):
        as_service_user(fails)
    (spool.spool / "queue").rmdir()
    (spool.spool / "failed").rmdir()
    spool.spool.rmdir()
    with pytest.raises(SpoolError, match="there is no spool"):
        as_service_user(os.getpid)


def test_rotate_speaks_to_microsoft_in_no_other_way() -> None:
    """Each Connection is made in a function that is handed to as_service_user."""
    tree = ast.parse(Path(rotate.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "as_service_user"}
    lines = [range(node.lineno, (node.end_lineno or 0) + 1) for node in ast.walk(tree)
             if isinstance(node, ast.FunctionDef) and node.name in given]  # fmt: skip
    made = [call.lineno for call in calls if ast.unparse(call.func) == "Connection"]
    assert len(made) == len(given) == 3
    assert all(any(line in within for within in lines) for line in made)
