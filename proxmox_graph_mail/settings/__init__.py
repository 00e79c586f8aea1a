"""The settings: read once, checked, frozen.

source.py finds every key with its place, model.py checks each value, and what is here joins them: a SettingsError names key, file
and line. A secret's value is never part of a message.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.files import NAMED_LIMIT, read_plain, replace
from proxmox_graph_mail.settings.model import Settings
from proxmox_graph_mail.settings.source import Problem, Source, Value, bindings, pairs, parse, read, read_file

__all__ = [
    "KEYS", "Settings", "Source", "alarm_command", "bindings", "check", "credential_is_hidden", "fault", "files", "load",
    "load_visible", "problems_of", "remember_alarm_command", "source", "values_from", "values_in", "values_of",
]  # fmt: skip

KEYS = frozenset(Settings.model_fields)  # every key, in lower case
_HINTS = {"missing": "it is not set", "extra_forbidden": "unknown key"}


def source() -> Source:
    """Every key that is set, with its place."""
    return read(KEYS)


def load(given: Source | None = None) -> Settings:
    """Read and check the settings. Raises SettingsError."""
    given = source() if given is None else given
    settings = _checked(given)
    if missing := _missing(settings):
        if not any(key.startswith("graph_") for key in given.values):
            remedy = "proxmox-graph-mail setup asks for what is needed, and sends a test mail"
            raise SettingsError(f"{given.place('')}: not set up yet; {remedy}")
        raise SettingsError(f"{given.place('')}: {missing}")
    return settings


def load_visible() -> Settings:
    """The settings for what needs no credential (who gets a mail, from whom): one that lies in systemd's store, where only the
    queue runner sees it, may be missing. Raises SettingsError."""
    return _checked(source()) if credential_is_hidden() else load()


def check(values: Mapping[str, str]) -> Settings:
    """Settings of these keys (upper case) and the environment. Raises SettingsError, which names the key."""
    return load(read(KEYS, given=values))


def fault(key: str, text: str) -> str:
    """What is wrong with one value by itself; empty if nothing is."""
    try:
        _checked(Source({key.lower(): Value(text, "")}))
    except SettingsError as error:
        return str(error).removeprefix(f"{key}: ")
    return ""


def values_of(path: Path) -> dict[str, str]:
    """The keys (upper case) that a file sets. Raises SettingsError."""
    source = read_file(str(path), KEYS)
    if source.problems:
        raise SettingsError(source.problems[0].text)
    return {key.upper(): value.text for key, value in source.values.items()}


def values_from(text: str, shown: str) -> dict[str, str]:
    """The keys (upper case) that lines of KEY=value set; `shown` names where they stand. Raises SettingsError."""
    given = parse(text, shown, KEYS)
    if given.problems:
        raise SettingsError(given.problems[0].text)
    return {key.upper(): value.text for key, value in given.values.items()}


def values_in(text: str) -> dict[str, str]:
    """The keys (upper case) in lines of KEY=value; what else is there is passed over."""
    return {key.upper(): value for key, value in pairs(text) if key in KEYS and value}


def problems_of(path: Path) -> tuple[Problem, ...]:
    """What is wrong with a settings file's lines."""
    return read_file(str(path), KEYS).problems


def alarm_command() -> str:
    """ALARM_COMMAND, whatever else is wrong with the settings: it is needed most then. Where their file cannot be read, the one
    that `remember_alarm_command` kept."""
    given = source()
    if (text := given.text("alarm_command")) or not given.problems:
        return text
    try:
        return read_plain(f"{paths.state()}/alarm-command", NAMED_LIMIT).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def remember_alarm_command(command: str) -> None:
    """Keep ALARM_COMMAND for the time when it cannot be read. Raises OSError."""
    path = f"{paths.state()}/alarm-command"
    try:
        known = read_plain(path, NAMED_LIMIT)
    except OSError:
        known = b""
    if known != command.encode():
        replace(path, command.encode())


def credential_is_hidden() -> bool:
    """Is there a credential for us in systemd's store (systemd-creds(1))?"""
    return any(any(Path(store).glob("graph_client_*")) for store in paths.CREDENTIAL_STORES)


def files(settings: Settings | None = None) -> tuple[Path, ...]:
    """Files whose change may mend a refusal: the settings files and the credential's.

    Not the federated assertion: it changes every hour by design, and is read at each acquisition.
    """
    named = (settings.graph_client_certificate, settings.graph_ca_file) if settings is not None else ()
    return (*(Path(path) for path in paths.settings_files()), *(path for path in named if path))


def _checked(given: Source) -> Settings:
    """Each value, and those that must not be the same."""
    if given.problems:
        raise SettingsError(given.problems[0].text)
    try:
        settings = Settings(source=given)  # type: ignore[call-arg]  # what its one source reads
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        reason = _HINTS.get(first["type"], str(first["msg"]).removeprefix("Value error, "))
        raise SettingsError(_sentence(given, key, reason)) from None
    if settings.graph_object_id and settings.graph_object_id.lower() == settings.graph_client_id.lower():
        reason = "this is the client ID; the Object ID stands below it on the app registration's overview page"
        raise SettingsError(_sentence(given, "graph_object_id", reason))
    return settings


def _sentence(given: Source, key: str, reason: str) -> str:
    return ": ".join(word for word in (given.place(key), key.upper(), reason) if word)


def _missing(settings: Settings) -> str:
    """What a credential of this kind needs and does not have."""
    wanted: dict[str, tuple[tuple[str, object], ...]] = {
        "secret": (("GRAPH_CLIENT_SECRET", settings.graph_client_secret),),
        "certificate": (("GRAPH_CLIENT_CERTIFICATE", settings.graph_client_certificate),),
        "federated": (("GRAPH_FEDERATED_TOKEN_FILE", settings.graph_federated_token_file),),
        "managed-identity": (),
    }
    needed = [*wanted[settings.graph_credential]]
    if settings.graph_credential != "managed-identity":
        needed += [("GRAPH_TENANT_ID", settings.graph_tenant_id), ("GRAPH_CLIENT_ID", settings.graph_client_id)]
    needed.append(("GRAPH_SENDER", settings.graph_sender))
    missing = [key for key, value in needed if not value]
    return f"not set: {', '.join(missing)} (the credential is: {settings.graph_credential})" if missing else ""
