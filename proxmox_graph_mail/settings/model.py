"""The keys of proxmox-graph-mail.conf(5): type, default, words and check of each.

The words stand here and nowhere else: `make docs` makes docs/settings.md, the manual page and the example of them.
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from proxmox_graph_mail.settings.source import Source

Credential = Literal["secret", "certificate", "federated", "managed-identity"]
Cloud = Literal["global", "usgov", "dod", "china"]

GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*)\.)+[A-Za-z]{2,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ADDRESS = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+\.[^\s@<>,;\"]+")


def _of_form(otherwise: str, *forms: re.Pattern[str]) -> AfterValidator:
    """A value is empty, or of one of these forms; `otherwise` says what it is not."""

    def check(value: str) -> str:
        if value and not any(form.fullmatch(value) for form in forms):
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def _secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and GUID.fullmatch(value.get_secret_value()):
        raise ValueError("this is the secret's ID, a GUID; what is wanted is its Value, shown only when it is made")
    return value


def _mail_to(value: str) -> str:
    for address in value.replace(",", " ").split():
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address} is not a mail address; give one address, or several separated by commas")
    return value


def _base_url(value: str) -> str:
    if not value:
        return value
    url = urlsplit(value)
    loopback = url.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.hostname or url.scheme not in ("https", "http") or (url.scheme == "http" and not loopback):
        raise ValueError("it must be an https:// URL (plain http only to loopback)")
    if url.path.strip("/") or url.query or url.fragment or url.username or url.password:
        raise ValueError("it is a base URL without tenant, version or path, such as https://graph.microsoft.com")
    return value.rstrip("/")


def _proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    url = urlsplit(text if "://" in text else f"http://{text}")
    try:
        sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False  # the port is no number
    if text and not sound:
        raise ValueError("it must be an http:// or https:// URL, such as http://proxy.example.com:3128")
    return value


def _digest(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.strip().lower() == "off":
        return None
    words = [word.strip() for word in value.split(",")]
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and 0 < int(word) <= 10_000 for word in words):
        raise ValueError("it is off, or NUMBER,MINUTES,EVERY in whole numbers above 0, such as 5,60,15")
    return tuple(int(word) for word in words)


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,6})([smhdw])", value.strip())
    if not match or int(match[1]) == 0:
        raise ValueError("not a duration; it is a number and s, m, h, d or w, such as 5d")
    return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]])


def _day(value: object) -> object:
    try:
        return date.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("not a date of the form YYYY-MM-DD, such as 2028-06-30") from None


def _absolute(value: Path | None) -> Path | None:
    if value is not None and not value.is_absolute():
        raise ValueError("it must be an absolute path")
    return value


Tenant = Annotated[
    str, _of_form("neither a GUID nor a domain; the overview page of the app registration shows it", GUID, _DOMAIN)
]
Guid = Annotated[str, _of_form("not a GUID; the overview page of the app registration shows it", GUID)]
Sender = Annotated[str, _of_form("not a mail address; it is the mailbox to send as, for example pve@example.com", _ADDRESS)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
AbsolutePath = Annotated[Path | None, AfterValidator(_absolute)]


def _key(default: Any, words: str, example: str) -> Any:
    return Field(default=default, description=words, examples=[example])


class Settings(BaseSettings):
    """The keys, in lower case. Each value is checked by itself; what must be there together, `settings.load` sees."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    graph_tenant_id: Tenant = _key(
        "",
        "The tenant: a GUID, or one of its domains. The app registration's overview page shows it as Directory (tenant) ID.",
        "00000000-0000-0000-0000-000000000000",
    )
    graph_client_id: Guid = _key(
        "",
        "The app registration's Application (client) ID, a GUID. Its overview page shows it.",
        "00000000-0000-0000-0000-000000000000",
    )
    graph_client_secret: Annotated[SecretStr | None, AfterValidator(_secret)] = _key(
        None, "The client secret's Value, which the portal shows once. Its Secret ID, a GUID, is something else.", ""
    )
    graph_sender: Sender = _key("", "The mailbox to send as. A shared mailbox will do; it needs no licence.", "pve@example.com")
    mail_to: Annotated[str, AfterValidator(_mail_to)] = _key(
        "",
        "Who gets mail for root and other local users: one address, or several separated by commas. By default root@pam's "
        "address in Proxmox, else where /etc/aliases sends root's mail, else GRAPH_SENDER, with a warning.",
        "admin@example.com",
    )
    mail_forward: Literal["auto", "always", "never"] = _key(
        "auto",
        "Is mail for local root handed to Proxmox's notification system, whose matchers then decide? auto: where /root/.forward "
        "pipes into proxmox-mail-forward and /etc/aliases does not send root's mail elsewhere. always: wherever "
        "proxmox-mail-forward is installed. never: it goes to MAIL_TO.",
        "auto",
    )
    credential_expires: Annotated[date | None, BeforeValidator(_day)] = _key(
        None,
        "The day on which the secret ends, YYYY-MM-DD. Mails to the administrator warn 60, 30, 14 and 7 days before, and then "
        "every day; every mail of the last 14 days has a line about it. A certificate's own end comes first.",
        "2028-06-30",
    )
    alarm_command: str = _key(
        "",
        "A shell command that gets a line on its standard input when no mail has left the host for a quarter of an hour because "
        "the tenant refuses it (an hour, if there is no line), and one when mail leaves again. It runs as the service user, in "
        "its sandbox.",
        "'curl -s -d @- https://ntfy.example.com/alarms'",
    )
    graph_client_certificate: AbsolutePath = _key(
        None,
        "A PEM file with private key and certificate, instead of the secret. The group proxmox-graph-mail must be able to read "
        "it.",
        "/etc/proxmox-graph-mail.pem",
    )
    graph_object_id: Guid = _key(
        "",
        "The app registration's Object ID, a GUID, with which the host renews its certificate by itself (proxmox-graph-mail "
        "rotate). App registrations, the app, Overview shows it; Enterprise applications shows another one.",
        "00000000-0000-0000-0000-000000000000",
    )
    graph_federated_token_file: AbsolutePath = _key(
        None,
        "A file with a federated identity's assertion, instead of the secret. It is read at each token request.",
        "/run/proxmox-graph-mail/assertion",
    )
    graph_credential: Credential = _key(
        "secret",
        "Which credential is used: secret, certificate, federated or managed-identity (Azure Arc). By default, the one that is "
        "set.",
        "secret",
    )
    graph_cloud: Cloud = _key("global", "Microsoft's cloud: global, usgov (GCC High), dod or china.", "global")
    graph_authority: BaseUrl = _key(
        "",
        "Another base URL for tokens than the cloud's, without tenant. https, or http to loopback.",
        "https://login.microsoftonline.com",
    )
    graph_endpoint: BaseUrl = _key(
        "",
        "Another base URL for Graph than the cloud's, without version. https, or http to loopback.",
        "https://graph.microsoft.com",
    )
    https_proxy: Annotated[SecretStr, AfterValidator(_proxy)] = _key(  # it may hold a password
        SecretStr(""), "The proxy to Microsoft: http://[user:password@]host:port.", "http://proxy.example.com:3128"
    )
    no_proxy: str = _key("", "Hosts and domains to reach without the proxy, separated by commas.", "")
    graph_ca_file: AbsolutePath = _key(
        None, "A PEM file of further CAs to trust, for a proxy that inspects TLS.", "/etc/ssl/certs/proxy-ca.pem"
    )
    graph_save_to_sent_items: bool = _key(False, "Keep a copy of each mail in the mailbox's Sent Items? true or false.", "false")
    mail_format: Literal["json", "mime"] = _key(
        "json",
        "json shows a mail best. mime sends the mail's own bytes, but for the recipients and From, and always keeps a copy in "
        "Sent Items; what Graph does not take so, and what is over 2.2 MB, goes as json. Signed and encrypted mail takes the "
        "MIME form by itself.",
        "json",
    )
    mailbox_rate: Annotated[int, Field(ge=0, le=10_000)] = _key(
        30,
        "How many messages a minute the mailbox takes; Exchange Online's limit is 30, and what is more it keeps, in order of "
        "arrival. So mail waits here, alarms first. Share it out among hosts that send as the same mailbox. 0: no limit.",
        "30",
    )
    mailbox_daily_recipients: Annotated[int, Field(ge=0, le=10_000_000)] = _key(
        10_000,
        "How many recipients the mailbox may have in 24 hours; Exchange Online's limit is 10,000. From 90 % on users' mail "
        "waits, at the limit all but alarms. 0: no limit.",
        "10000",
    )
    digest: Annotated[tuple[int, int, int] | None, BeforeValidator(_digest)] = _key(
        (5, 60, 15),
        "Mail that is alike and comes again and again is gathered: NUMBER,MINUTES,EVERY. The first NUMBER within MINUTES go as "
        "they are; further ones go every EVERY minutes as one mail with all of them attached. Alarms never, Proxmox's "
        "notifications from the 31st on. off: each mail goes by itself.",
        "5,60,15",
    )
    user_daily_recipients: Annotated[int, Field(ge=0, le=1_000_000)] = _key(
        500,
        "How many recipients one user's mail may have in 24 hours, so that nobody uses up the 10,000 that Exchange Online allows "
        "a mailbox. What exceeds it is refused at submission, or waits. Root is not limited. 0: no limit.",
        "500",
    )
    queue_lifetime: Annotated[float, BeforeValidator(_duration)] = _key(
        5 * 86400.0,
        "How long to retry a deferred mail: a number and s, m, h, d or w. What is held because the tenant refuses it does not "
        "age.",
        "5d",
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """One source alone, which knows the place of each value too: it is given as `source`."""
        return (_Values(settings_cls, init_settings()["source"]),)

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        if isinstance(value, str) and _CONTROL.search(value):
            raise ValueError("it has a control character, or bytes that are not UTF-8")
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

    def mail_to_addresses(self) -> tuple[str, ...]:
        """MAIL_TO as addresses."""
        return tuple(self.mail_to.replace(",", " ").split())

    def proxy(self) -> str:
        """HTTPS_PROXY, with its password; empty if there is none."""
        return self.https_proxy.get_secret_value()


class _Values(PydanticBaseSettingsSource):
    """A Source as pydantic-settings wants one."""

    def __init__(self, settings_cls: type[BaseSettings], source: Source) -> None:
        super().__init__(settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.text(field_name) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return {key: value.text for key, value in self._source.values.items()}
