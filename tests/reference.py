"""`make docs`: what people read, made from the code's own words: docs/settings.md, the keys of proxmox-graph-mail.conf(5), the example,
and docs/outcomes.md."""

import re
import textwrap
from pathlib import Path

from proxmox_graph_mail import paths
from proxmox_graph_mail.graph.codes import ENTRA, GRAPH
from proxmox_graph_mail.settings.model import Settings

MANUAL = Path("docs/man/proxmox-graph-mail.conf.5")
BEGIN, END = '.\\" made by make docs: from here', '.\\" to here\n'
NEEDED = ("GRAPH_TENANT_ID", "GRAPH_CLIENT_ID", "GRAPH_CLIENT_SECRET", "GRAPH_SENDER")


def words() -> dict[str, str]:
    """What each key (upper case) means."""
    return {name.upper(): str(field.description) for name, field in Settings.model_fields.items()}


def settings() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Made by `make docs` from the words of `proxmox_graph_mail/settings/model.py`; do not edit.",
        "",
        "A key is taken from the environment, else from systemd's `$CREDENTIALS_DIRECTORY` (a file a key, lower case), else from",
        f"`{paths.HOST_SETTINGS}`, else from `{paths.CLUSTER_SETTINGS}`, the settings of the whole cluster. The",
        "files hold `KEY=value` lines. An unknown key or a bad value is an error that names key, file and line; mail waits",
        "meanwhile.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for name, meaning in words().items():
        default = "needed" if name in NEEDED else _default(name)
        lines.append(f"| `{name}` | {default} | {meaning} |")
    return "\n".join([*lines, ""])


def _default(name: str) -> str:
    default = Settings.model_fields[name.lower()].default
    shown = "" if default in (None, "") else str(default).lower()
    return {"QUEUE_LIFETIME": "5d", "HTTPS_PROXY": ""}.get(name, shown)


def manual(page: str) -> str:
    """The manual page, with its keys as they are now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    keys = []
    for name, meaning in words().items():
        default = _default(name)
        sentences = re.split(r"(?<=[.?:]) (?=[A-Za-z])", meaning + (f" By default {default}." if default else ""))
        text = "\n".join(line for sentence in sentences for line in textwrap.wrap(sentence, 78, break_on_hyphens=False))
        keys.append(f".It Ev {name}\n{text}\n")
    return f"{before}{BEGIN}\n{''.join(keys)}{END}{after}"


def example() -> str:
    """The example that the package lays down: every key, as a comment."""
    lines = [
        f"# {paths.HOST_SETTINGS}: how this host sends mail through Microsoft 365.",
        "# KEY=value lines. The first four are needed. Owner root, group proxmox-graph-mail, mode 0640.",
    ]
    for name, meaning in words().items():
        value = (Settings.model_fields[name.lower()].examples or [""])[0]
        lines += ["", *textwrap.wrap(meaning, 110, initial_indent="# ", subsequent_indent="# "), f"#{name}={value}"]
    return "\n".join([*lines, ""])


def outcomes() -> str:
    """docs/outcomes.md."""
    lines = [
        "# Outcomes",
        "",
        "What the queue runner makes of each answer. Written by `make docs`; do not edit.",
        "",
        "* **sent**: the answer was 202. Nothing else is success.",
        "* **transient**: certainly not sent. Tried again, at first within the attempt, then by the queue's schedule.",
        "* **uncertain**: perhaps sent. Tried again after some minutes at the earliest, always with the same Message-ID.",
        "* **held**: the tenant refuses this host. The mail does not age; it is tried slowly, and at once when settings change.",
        "* **failed**: Graph refuses this very message. It is kept in failed/ until an admin retries or removes it.",
        "",
        "An unknown code goes by its HTTP status: 401, 403, 404, 407, 413, 507 and redirects are held; 408, 421, 423, 425, 429, 503",
        "and 509 transient; other 4xx failed, but held where the answer is not Graph's; everything else (other 5xx, 503 without",
        "a code, any 2xx but 202) uncertain. Under 500, 502 and 504 a transient code is uncertain. A connection that cannot be",
        "made is transient; one that breaks after the request went out is uncertain; an untrusted certificate and a proxy that",
        "requires a login are held.",
        "",
        "## Graph and Exchange",
        "",
        "| code | outcome | what it means, and what to do |",
        "|---|---|---|",
        *(f"| {code} | {row.status} | {row.sentence} |" for code, row in GRAPH.items()),
        "",
        "## Entra",
        "",
        "| code | outcome | what it means, and what to do |",
        "|---|---|---|",
        *(f"| AADSTS{number} | {row.status} | {row.sentence} |" for number, row in ENTRA.items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write all of them below this folder."""
    Path("docs/settings.md").write_text(settings(), "utf-8")
    Path("docs/outcomes.md").write_text(outcomes(), "utf-8")
    MANUAL.write_text(manual(MANUAL.read_text("utf-8")), "utf-8")
    Path("packaging/proxmox-graph-mail.conf.example").write_text(example(), "utf-8")


if __name__ == "__main__":
    main()
