"""The walls of the house: who may import whom, and what the fast path may not load."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.programs import PYTHON, TREE, Host

PACKAGE = TREE / "proxmox_graph_mail"

INSIDE = {
    "submission": {"submission", "spool", "incoming", "errors", "log"},
    "spool": {"incoming", "errors"},
    "incoming": {"errors"},
    "errors": set(),
    "log": set(),
    "host": set(),
    "settings": {"settings", "errors"},
    "proxmox": {"proxmox", "submission", "spool", "host", "errors", "log"},
    "message": {"message", "submission", "host", "errors"},
    "graph": {"graph", "message", "host", "errors"},
    "delivery": {"delivery", "graph", "message", "submission", "host", "spool", "errors", "log"},
}
"""Each room and what of the package it may import; admin may import everything."""

OUTSIDE = {"httpx": {"graph"}, "tenacity": {"graph"}, "msal": {"graph"}, "pydantic": {"settings"}, "typer": {"admin"},
           "pydantic_settings": {"settings"}, "rich": {"admin"}, "subprocess": {"proxmox"}, "dotenv": {"settings"},
           "cryptography": {"graph"}}  # fmt: skip
"""Each library and the rooms it may be imported in."""

HEAVY = {"httpx", "pydantic", "tenacity", "msal", "email", "logging", "argparse", "dataclasses", "pathlib", "asyncio",
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
    """submission knows nothing but spool, errors and log; message and graph know nothing of the spool; …"""
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


@pytest.mark.parametrize("argv", [["-odq", "--", "root"], ["-odq", "-t"]], ids=["argv", "-t"])
def test_sendmail_loads_nothing_heavy(host: Host, argv: list[str]) -> None:
    """A mail is submitted, and sys.modules then holds none of the libraries that would make sendmail slow."""
    code = (
        "import sys, os; before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(TREE)!r}); sys.argv = ['sendmail', *{argv!r}]\n"
        "leave = os._exit\n"
        "def show(status): os.write(1, ' '.join(sorted(set(sys.modules) - before)).encode()); leave(status)\n"
        "os._exit = show\n"
        "from proxmox_graph_mail.submission.sendmail import main; main()"
    )
    done = subprocess.run([PYTHON, "-IS", "-c", code], input=b"To: root\n\nx\n", env=host.env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(host.queue()) == 1
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert "proxmox_graph_mail" in loaded
    assert loaded & HEAVY == set(), json.dumps(sorted(loaded))
