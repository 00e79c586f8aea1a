"""docs/settings.md, from the settings' own words: `python -m proxmox_graph_mail.settings.reference` writes it."""

import ast
import inspect
from itertools import pairwise

from proxmox_graph_mail.settings import Settings
from proxmox_graph_mail.settings.files import CLUSTER_FILE, HOST_FILE


def meanings() -> dict[str, str]:
    """What each key means: the words under it in the model. (Pydantic could read them too, at every start of the program.)"""
    body = [line for node in ast.parse(inspect.getsource(Settings)).body for line in getattr(node, "body", ())]
    found = {}
    for before, after in pairwise(body):
        words = after.value if isinstance(after, ast.Expr) else None
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(words, ast.Constant):
            found[before.target.id] = " ".join(str(words.value).split())
    return found


def markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Written by `python -m proxmox_graph_mail.settings.reference`; do not edit.",
        "",
        "A key is taken from the environment, else from systemd's `$CREDENTIALS_DIRECTORY` (a file a key, lower case), else from",
        f"`{HOST_FILE}`, else from `{CLUSTER_FILE}`, the settings of the whole cluster. The files",
        "hold `KEY=value` lines. An unknown key or a bad value is an error that names key, file and line; mail waits meanwhile.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    words = meanings()
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "needed" if field.is_required() else "" if default in (None, "") else str(default).lower()
        shown = {"queue_lifetime": "5d", "https_proxy": ""}.get(name, shown)
        lines.append(f"| `{name.upper()}` | {shown} | {words[name]} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(markdown(), end="")
