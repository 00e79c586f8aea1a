"""The settings: read once, checked, frozen.

A key is looked for in the environment, in `$CREDENTIALS_DIRECTORY` (systemd-creds: one file a key, lower case), then
in the files: `$PROXMOX_GRAPH_MAIL_CONFIG` alone if it is set, else /etc/proxmox-graph-mail.conf, else
/etc/pve/priv/proxmox-graph-mail.conf, by the local copy of it (proxmox/facts.py). Files are dotenv: `KEY=value` lines. An
unknown `GRAPH_*` or `MAIL_*` key, or a bad value, raises SettingsError, which names key, file and line; a secret's value is
never part of a message.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.settings.files import CLUSTER_COPY, HOST_FILE, one, read, shown

Credential = Literal["secret", "certificate", "federated", "managed-identity"]
Cloud = Literal["global", "usgov", "dod", "china"]

_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*)\.)+[A-Za-z]{2,}")
_ADDRESS = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+\.[^\s@<>,;\"]+")
_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_HINTS = {"missing": "it is not set", "extra_forbidden": "unknown key"}


class Settings(BaseSettings):
    """The keys of proxmox-graph-mail.conf(5), in lower case."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        case_sensitive=False,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    graph_tenant_id: str = ""
    """The tenant, a GUID or one of its domains; the app registration's overview page shows it as Directory (tenant) ID."""
    graph_client_id: str = ""
    """The app registration's Application (client) ID, a GUID."""
    graph_client_secret: SecretStr | None = None
    """The client secret's Value, which the portal shows once (not its Secret ID, a GUID)."""
    graph_client_certificate: Path | None = None
    """A PEM file with private key and certificate, instead of the secret, readable by the group proxmox-graph-mail."""
    graph_federated_token_file: Path | None = None
    """A file with a federated identity's assertion, instead of the secret; read at each token request."""
    graph_credential: Credential = "secret"
    """Which of them is used: secret, certificate, federated, managed-identity (Azure Arc). By default told from what is set."""
    graph_application_id: str = ""
    """The app registration's Object ID, with which the host renews its certificate by itself (rotate)."""
    graph_sender: str
    """The mailbox to send as. A shared mailbox needs no licence."""
    credential_expires: date | None = None
    """The day of the secret's end, YYYY-MM-DD; mails warn from 60 days before. A certificate knows its own end."""
    mail_to: str = ""
    """Who gets mail for local users, one address or several with commas. By default root@pam's address in Proxmox, else where
    /etc/aliases sends root's mail, else GRAPH_SENDER with a warning."""
    mail_forward: Literal["auto", "always", "never"] = "auto"
    """Is mail for root handed to Proxmox's notification system: auto (where /root/.forward says so), always, never."""
    alarm_command: str = ""
    """A shell command that gets a line on its standard input when no mail has left the host for a quarter of an hour because the
    tenant refuses it (an hour, if there is no line), and one when it goes again. Run as the service user, in its sandbox."""
    graph_cloud: Cloud = "global"
    """global, usgov (GCC High), dod or china."""
    graph_authority: str = ""
    """Another base URL for tokens than the cloud's, without tenant; https, or http to loopback."""
    graph_endpoint: str = ""
    """Another base URL for Graph than the cloud's, without version; https, or http to loopback."""
    graph_ca_file: Path | None = None
    """A PEM file of further CAs to trust, for a proxy that inspects TLS."""
    graph_save_to_sent_items: bool = False
    """Keep a copy of each mail in the mailbox's Sent Items."""
    mail_format: Literal["json", "mime"] = "json"
    """json shows a mail best; mime sends its own bytes, with the envelope's recipients, and always keeps a copy in Sent Items.
    Signed and encrypted mail takes the MIME form by itself."""
    queue_lifetime: float = Field(default=5 * 86400.0)
    """How long a deferred mail is tried: a number and s, m, h, d or w (5d). What the tenant refuses does not age."""
    https_proxy: SecretStr = SecretStr("")  # it may hold a password
    """The proxy to Microsoft, http://[user:password@]host:port."""
    no_proxy: str = ""
    """Hosts and domains to reach without the proxy, with commas."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence; `init_settings` carries what `load` read from the files."""
        return env_settings, file_secret_settings, _Files(settings_cls, init_settings())

    @field_validator("graph_tenant_id")
    @classmethod
    def _tenant(cls, value: str) -> str:
        if value and not _GUID.fullmatch(value) and not _DOMAIN.fullmatch(value):
            raise ValueError("neither a GUID nor a domain; the overview page of the app registration shows it")
        return value

    @field_validator("graph_client_id")
    @classmethod
    def _client(cls, value: str) -> str:
        if value and not _GUID.fullmatch(value):
            raise ValueError("no GUID; the overview page of the app registration shows it as Application (client) ID")
        return value

    @field_validator("graph_application_id")
    @classmethod
    def _application(cls, value: str) -> str:
        if value and not _GUID.fullmatch(value):
            raise ValueError("no GUID; the overview page of the app registration shows it as Object ID")
        return value

    @field_validator("graph_client_secret")
    @classmethod
    def _secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _GUID.fullmatch(value.get_secret_value()):
            raise ValueError("this is the secret's ID, a GUID; what is wanted is the secret's Value, shown only when it is made")
        return value

    @field_validator("graph_sender")
    @classmethod
    def _sender(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise ValueError("no mail address; it is the mailbox to send as, for example pve@example.com")
        return value

    @field_validator("mail_to")
    @classmethod
    def _mail_to(cls, value: str) -> str:
        for address in value.replace(",", " ").split():
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address} is no mail address; it is one address or several with commas")
        return value

    @field_validator("graph_authority", "graph_endpoint")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value:
            return value
        url = urlsplit(value)
        loopback = url.hostname in ("localhost", "127.0.0.1", "::1")
        if not url.hostname or url.scheme not in ("https", "http") or (url.scheme == "http" and not loopback):
            raise ValueError("it must be an https:// URL (plain http only to loopback)")
        if url.path.strip("/") or url.query or url.fragment or url.username or url.password:
            raise ValueError("it is a base URL without tenant, version or path, such as https://graph.microsoft.com")
        return value.rstrip("/")

    @field_validator("queue_lifetime", mode="before")
    @classmethod
    def _lifetime(cls, value: object) -> object:
        if isinstance(value, str):
            match = _DURATION.fullmatch(value.strip())
            if not match or int(match[1]) == 0:
                raise ValueError("no duration; it is a number and s, m, h, d or w, such as 5d")
            return float(int(match[1]) * _SECONDS[match[2]])
        return value

    @field_validator("credential_expires", mode="before")
    @classmethod
    def _expires(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return date.fromisoformat(value.strip())
            except ValueError:
                raise ValueError("no date of the form YYYY-MM-DD, such as 2028-06-30") from None
        return value

    @field_validator("graph_client_certificate", "graph_federated_token_file", "graph_ca_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("it must be an absolute path")
        return value

    @model_validator(mode="before")
    @classmethod
    def _told_credential(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Without GRAPH_CREDENTIAL, the key that is set tells the kind."""
        if not values.get("graph_credential"):
            if values.get("graph_client_certificate"):
                values["graph_credential"] = "certificate"
            elif values.get("graph_federated_token_file") and not values.get("graph_client_secret"):
                values["graph_credential"] = "federated"
        return values

    @model_validator(mode="after")
    def _complete(self) -> Self:
        wanted = {
            "secret": ("GRAPH_CLIENT_SECRET", self.graph_client_secret),
            "certificate": ("GRAPH_CLIENT_CERTIFICATE", self.graph_client_certificate),
            "federated": ("GRAPH_FEDERATED_TOKEN_FILE", self.graph_federated_token_file),
            "managed-identity": ("", True),
        }
        key, value = wanted[self.graph_credential]
        missing = [key] if not value else []
        if self.graph_credential != "managed-identity":
            missing += [
                k for k, v in (("GRAPH_TENANT_ID", self.graph_tenant_id), ("GRAPH_CLIENT_ID", self.graph_client_id)) if not v
            ]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing (the credential is: {self.graph_credential})")
        return self

    def mail_to_addresses(self) -> tuple[str, ...]:
        """MAIL_TO as addresses."""
        return tuple(self.mail_to.replace(",", " ").split())

    def files(self) -> tuple[Path, ...]:
        """Files whose change may mend a refusal: the settings files and the credential's.

        Not the federated assertion: it changes every hour by design, and is read at each acquisition.
        """
        named = (self.graph_client_certificate, self.graph_ca_file)
        return (*settings_files(os.environ), *(path for path in named if path))


class _Files(PydanticBaseSettingsSource):
    """What the files said, as the last source."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {key: value for key, value in self._values.items() if value != ""}


def settings_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that are read, first found wins per key."""
    named = environment.get("PROXMOX_GRAPH_MAIL_CONFIG")
    return (Path(named),) if named else (HOST_FILE, CLUSTER_COPY)


def load() -> Settings:
    """Read and check the settings. Raises SettingsError."""
    values: dict[str, str] = {}
    origin: dict[str, str] = {}
    paths = settings_files(os.environ)
    for path in paths:
        for key, (value, line) in read(path, Settings.model_fields).items():
            if key not in values:
                values[key] = value
                origin[key] = f"{shown(path)}, line {line}"
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    secrets = directory if directory and Path(directory).is_dir() else None
    try:
        return Settings(_secrets_dir=secrets, **values)  # type: ignore[arg-type, call-arg]  # pydantic checks
    except ValidationError as error:
        key, reason = _first(error)
        place = _origin(key, origin, secrets, paths)
        raise SettingsError(f"{place}: {key.upper()}: {reason}" if key else f"{place}: {reason}") from None


def load_visible() -> Settings:
    """The settings for what needs no credential (who gets a mail, from whom): one that lies in systemd's store, where only the
    queue runner sees it, is left out. Raises SettingsError."""
    try:
        return load()
    except SettingsError:
        if not credential_is_hidden():
            raise
        values = {key: value for path in reversed(settings_files(os.environ)) for key, value in values_of(path).items()}
        rest = {
            "GRAPH_TENANT_ID": "hidden.example",
            "GRAPH_CLIENT_ID": f"{0:08}-0000-0000-0000-{0:012}",
            "GRAPH_CLIENT_SECRET": "-",
        }
        return check(rest | values)


def credential_is_hidden() -> bool:
    """Is there a credential for us in systemd's store (systemd-creds(1))?"""
    return any(any(Path(store).glob("graph_client_*")) for store in ("/etc/credstore", "/etc/credstore.encrypted"))


def check(values: Mapping[str, str]) -> Settings:
    """Settings of these keys (upper case) and the environment. Raises SettingsError, which names the key."""
    try:
        return Settings(**{key.lower(): value for key, value in values.items()})  # type: ignore[arg-type]  # pydantic checks
    except ValidationError as error:
        key, reason = _first(error)
        raise SettingsError(f"{key.upper()}: {reason}" if key else reason) from None


def fault(key: str, value: str) -> str:
    """What is wrong with one value by itself; empty if nothing is."""
    rest = {"GRAPH_TENANT_ID": "a.example", "GRAPH_CLIENT_ID": f"{0:08}-0000-0000-0000-{0:012}", "GRAPH_SENDER": "a@a.example"}
    try:
        check(rest | {"GRAPH_CLIENT_SECRET": "x"} | {key: value})
    except SettingsError as error:
        return str(error).removeprefix(f"{key}: ")
    return ""


def values_of(path: Path) -> dict[str, str]:
    """The keys (upper case) that a file sets. Raises SettingsError."""
    return {key.upper(): value for key, (value, _) in read(path, Settings.model_fields).items() if value}


def _first(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    return key, _HINTS.get(first["type"], str(first["msg"]).removeprefix("Value error, "))


def _origin(key: str, origin: Mapping[str, str], secrets: str | None, paths: tuple[Path, ...]) -> str:
    if key and any(name.lower() == key for name in os.environ):
        return "the environment"
    if key and secrets and os.path.exists(Path(secrets) / key):
        return str(Path(secrets) / key)
    return origin.get(key) or " or ".join(f"{shown(path)}{'' if os.path.exists(path) else ' (no such file)'}" for path in paths)


def origins() -> dict[str, str]:
    """Where each key that is set comes from: a file, the environment, or systemd's credentials. Raises SettingsError."""
    found: dict[str, str] = {}
    for path in settings_files(os.environ):
        for key, (value, _) in read(path, Settings.model_fields).items():
            if value:
                found.setdefault(key, str(shown(path)))
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    for key in Settings.model_fields:
        if directory and os.path.exists(Path(directory) / key):
            found[key] = "systemd's credentials"
        if any(name.lower() == key and value for name, value in os.environ.items()):
            found[key] = "the environment"
    return found


def alarm_command() -> str:
    """ALARM_COMMAND, whatever else is wrong with the settings: then above all it is wanted. Raises SettingsError."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    place = Path(directory) / "alarm_command" if directory else None
    found = [os.environ.get("ALARM_COMMAND", ""), place.read_text("utf-8").strip() if place and place.exists() else ""]
    found += [one(path, "ALARM_COMMAND") for path in settings_files(os.environ)]
    return next((command for command in found if command), "")
