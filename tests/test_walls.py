"""The walls of the house: who may import whom, and what the fast path may not load."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from proxmox_graph_mail import errors
from tests.programs import PYTHON, TREE, Host

PACKAGE = TREE / "proxmox_graph_mail"

BASE = {"errors", "files", "light_os", "log", "paths"}
INSIDE = {
    "light_os": set(),
    "paths": {"light_os"},
    "files": {"light_os"},
    "errors": set(),
    "host": {"light_os"},
    "log": {"light_os", "paths"},
    "rfc822": {"rfc822"},
    "spool": {"spool"} | BASE,
    "submission": {"submission", "spool", "rfc822", "host"} | BASE,
    "message": {"message", "rfc822", "host", "errors"},
    "settings": {"settings", "errors", "files", "paths"},
    "graph": {"graph", "message", "rfc822", "host", "errors", "files", "log"},
    "proxmox": {"proxmox"} | BASE,
    "migration": {"migration", "proxmox", "paths"},
    "root_mail": {"root_mail", "spool", "rfc822", "message", "proxmox", "host"} | BASE,
    "watch": {"watch", "spool", "proxmox", "host"} | BASE,
    "delivery": {"delivery", "graph", "message", "rfc822", "spool", "root_mail", "host"} | BASE,
}
"""Each room and what of the package it may import. admin may import everything, and is the only one that imports submission."""

OUTSIDE = {"httpx": {"graph"}, "tenacity": {"graph"}, "msal": {"graph"}, "pydantic": {"settings"}, "typer": {"admin"},
           "click": {"admin"}, "pydantic_settings": {"settings"}, "rich": {"admin"}, "subprocess": {"proxmox", "root_mail", "message", "watch"},
           "dotenv": {"settings"}, "cryptography": {"graph"}, "webencodings": {"message"}}  # fmt: skip
"""Each library and the rooms it may be imported in."""

HEAVY = {"os", "httpx", "pydantic", "tenacity", "msal", "email", "logging", "argparse", "dataclasses", "pathlib", "asyncio",
         "typing", "re", "json", "socket", "subprocess", "ssl", "dotenv", "typer"}  # fmt: skip


def imports() -> list[tuple[str, str]]:
    """(file, imported module) of every import in the package, wherever it stands."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [(str(path.relative_to(PACKAGE)), alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "proxmox_graph_mail":
                names = [alias.name for alias in node.names if alias.name != "__version__"]
                found += [(str(path.relative_to(PACKAGE)), f"proxmox_graph_mail.{name}") for name in names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.append((str(path.relative_to(PACKAGE)), node.module))
    return found


def room(path: str) -> str:
    return Path(path).parts[0].removesuffix(".py")


def test_a_room_imports_only_what_its_walls_allow() -> None:
    """spool knows nothing but its base; nobody but admin knows submission; message and graph know nothing of the spool; …"""
    assert {room(path) for path, _ in imports()} - {"__init__"} <= INSIDE.keys() | {"admin"}
    broken = [
        (path, module)
        for path, module in imports()
        if module.startswith("proxmox_graph_mail.") and room(path) in INSIDE and module.split(".")[1] not in INSIDE[room(path)]
    ]
    assert broken == []


def test_a_library_is_imported_in_its_rooms_only() -> None:
    """httpx, tenacity and msal in graph; pydantic in settings; typer and rich in admin."""
    broken = [
        (path, module)
        for path, module in imports()
        if module.split(".")[0] in OUTSIDE and room(path) not in OUTSIDE[module.split(".")[0]]
    ]
    assert broken == []


def test_paths_and_variables_stand_in_one_place() -> None:
    """Every PROXMOX_GRAPH_MAIL_* variable, and every path of ours, is paths.py's."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "paths.py":
                assert not re.fullmatch(r"PROXMOX_GRAPH_MAIL_[A-Z]+", node.value), path
                ours = r"/(?:var/(?:lib|spool)|run)/proxmox-graph-mail|/etc(?:/pve/priv)?/proxmox-graph-mail.conf"
                assert not re.fullmatch(ours, node.value), path


def test_no_file_is_long_and_no_function() -> None:
    """300 lines, 40 lines; complexity is ruff's to judge (C901)."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, (path, node.name)


def test_every_exception_is_in_the_tree() -> None:
    """errors.py defines each, its docstring draws each, and each knows temporary, status and what to do."""
    found = {
        node.name: str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(re.search(r"(?:Error|Exception)$", ast.unparse(base)) for base in node.bases)
    }
    assert set(found.values()) == {"errors.py"}, found
    drawn = re.findall(r"(\w+Error) ", errors.__doc__ or "")
    assert sorted(drawn) == sorted(found)
    for name in found:
        kind = getattr(errors, name)
        assert kind.remedy
        assert not kind.remedy.endswith(".")
        if not issubclass(kind, errors.RequestError):
            row = re.search(rf"{name} +(yes|no|as told) +(\d+|as told)", errors.__doc__ or "")
            assert row or kind is errors.MailError
            assert row is None or row[1] == "as told" or (row[1] == "yes", int(row[2])) == (kind.temporary, kind.status)


@pytest.mark.parametrize("argv", [["-odq", "--", "root"], ["-odq", "-t"]], ids=["argv", "-t"])
def test_sendmail_loads_nothing_heavy(host: Host, argv: list[str]) -> None:
    """A mail is submitted, and sys.modules then holds none of the libraries that would make sendmail slow."""
    code = (
        "import sys, posix; before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(TREE)!r}); sys.argv = ['sendmail', *{argv!r}]\n"
        "leave = posix._exit\n"
        "def show(status): posix.write(1, ' '.join(sorted(set(sys.modules) - before)).encode()); leave(status)\n"
        "posix._exit = show\n"
        "from proxmox_graph_mail.submission.sendmail import main; main()"
    )
    done = subprocess.run([PYTHON, "-IS", "-c", code], input=b"To: root\n\nx\n", env=host.env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(host.queue()) == 1
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert "proxmox_graph_mail" in loaded
    assert loaded & HEAVY == set(), json.dumps(sorted(loaded))


def test_the_queue_runner_loads_no_command_line_s_libraries_and_no_tokens_before_it_needs_one(online: Host) -> None:
    """`run` on an empty queue: neither typer, rich, click, pygments nor MSAL and cryptography; with a mail, the latter two."""
    code = (
        f"import sys; sys.path.insert(0, {str(TREE)!r}); sys.argv = ['proxmox-graph-mail', 'run', '--once']\n"
        "from proxmox_graph_mail.admin.app import main\n"
        "try: main()\n"
        "finally: print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    for mails in (0, 1):
        if mails:
            assert online.sendmail("-odq", "root").returncode == 0
        done = subprocess.run([PYTHON, "-I", "-c", code], env=online.env, capture_output=True, check=False, text=True)
        loaded = set(done.stdout.split())
        assert {"httpx", "pydantic"} <= loaded, done.stderr
        assert loaded & {"typer", "rich", "click", "pygments"} == set()
        assert ("msal" in loaded) is bool(mails)
        assert mails or "cryptography" not in loaded
    assert online.queue() == []


def test_connections_to_microsoft_are_made_in_one_place() -> None:
    """admin/connection.py: nobody else can forget the proxy, the CA file or the throttle."""
    made = {"Wire", "TokenCache", "TokenEndpoint", "Graph", "SendingMailbox"}
    places = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in made
    }
    assert places == {"admin/connection.py"}


def test_a_journal_is_read_and_written_by_its_module_alone() -> None:
    """`ID.log` as a file: store moves and removes it, upkeep looks after orphans, journal does the rest."""
    places = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if re.search(r"\.log[\"'}]", path.read_text())}
    assert places <= {"spool/__init__.py", "spool/journal.py", "spool/store.py", "spool/upkeep.py", "graph/fitting.py"}, places
