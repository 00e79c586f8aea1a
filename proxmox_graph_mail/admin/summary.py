"""What `status` shows of the settings, kept beside the state: reading and checking them costs ten times what `status` does.

    STATE/summary.json   0600: the environment's and the files' fingerprint → what the settings said then

It counts as long as no settings file, no credential's file and no variable is another (owner, mode and time of change
included); it is made anew where one is, so a broken file is seen at once.
"""

import hashlib
import json
import os
from typing import Any

from proxmox_graph_mail import __version__, files, paths

_PREFIXES = ("GRAPH_", "MAIL_", "QUEUE_", "USER_", "CREDENTIAL", "ALARM_", "HTTPS_PROXY", "NO_PROXY", "PROXMOX_GRAPH_MAIL_")


def settings_summary() -> dict[str, Any]:
    """`error` (the settings cannot be read) and `fault` (the credential's files are not as they should be), each a sentence or
    None; `fingerprint`, `sender`, and the credential's `kind` and `ends` (RFC 3339 date, or None)."""
    path = f"{paths.state()}/summary.json"
    kept = files.read_json(path)
    named, known = kept.get("files"), kept.get("summary")
    named = list(map(str, named)) if isinstance(named, list) else []
    if isinstance(known, dict) and "fault" in known and kept.get("mark") == _mark(named):
        return known
    named, _ = _made()
    mark = _mark(named)
    named, summary = _made()  # between two equal marks: what is kept was read from the files that the mark is of
    if _mark(named) != mark:
        return summary
    try:
        owner = os.stat(paths.state())
        as_root = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
        files.replace(path, json.dumps({"mark": mark, "files": named, "summary": summary}).encode(), owner=as_root)
    except OSError:
        pass  # not ours to write, or no room: the next one pays again
    return summary


def _mark(named: list[str]) -> str:
    """What differs where the settings may."""
    states = []
    for path in (*paths.settings_files(), *paths.CREDENTIAL_STORES, *named):
        try:
            status = os.stat(path)
            states.append(f"{path} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}")
        except OSError as error:
            states.append(f"{path} {error.errno}")
    variables = sorted(f"{name}={value}" for name, value in os.environ.items() if name.upper().startswith(_PREFIXES))
    return hashlib.sha256(
        "\0".join((__version__, str(os.geteuid()), *states, *variables)).encode("utf-8", "surrogateescape")
    ).hexdigest()


def _made() -> tuple[list[str], dict[str, Any]]:
    from proxmox_graph_mail.admin.connection import credential_fault, ends
    from proxmox_graph_mail.errors import SettingsError
    from proxmox_graph_mail.settings import load_visible

    try:
        settings = load_visible()
    except SettingsError as error:
        return [], {"error": str(error), "fault": None, "fingerprint": None, "sender": None, "kind": None, "ends": None}
    values = settings.model_dump(mode="python")
    secret = settings.graph_client_secret.get_secret_value() if settings.graph_client_secret else ""
    text = repr({key: values[key] for key in sorted(values)} | {"graph_client_secret": secret, "https_proxy": settings.proxy()})
    end = ends(settings)
    named = [str(path) for path in (settings.graph_client_certificate, settings.graph_ca_file) if path]
    return named, {
        "error": None, "fault": credential_fault(settings), "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:12],
        "sender": settings.graph_sender, "kind": settings.graph_credential, "ends": end.isoformat() if end else None,
    }  # fmt: skip
