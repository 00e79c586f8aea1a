"""docs/settings.md, from the settings' own words: `python -m proxmox_graph_mail.settings.reference` writes it."""

from proxmox_graph_mail.settings import Settings
from proxmox_graph_mail.settings.files import CLUSTER_FILE, HOST_FILE


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
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "needed" if field.is_required() else "" if default in (None, "") else str(default).lower()
        shown = {"queue_lifetime": "5d", "https_proxy": ""}.get(name, shown)
        lines.append(f"| `{name.upper()}` | {shown} | {' '.join((field.description or '').split())} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(markdown(), end="")
