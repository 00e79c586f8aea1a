"""Settings: where each value comes from, and errors that name key, file and line."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.settings import Settings, load

GOOD = {
    "GRAPH_TENANT_ID": "example.onmicrosoft.com",
    "GRAPH_CLIENT_ID": "5d8f6f0e-54c1-4b4c-8f0a-2b2f0a4bd4f1",
    "GRAPH_CLIENT_SECRET": "abc~D8Q.x#_-y",
    "GRAPH_SENDER": "pve@example.com",
}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key in list(os.environ):
        if key.upper().startswith(("GRAPH_", "MAIL_", "HTTPS_PROXY", "NO_PROXY", "CREDENTIALS_")):
            monkeypatch.delenv(key)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_CONFIG", str(tmp_path / "conf"))
    return tmp_path / "conf"


def write(conf: Path, extra: str = "", values: Mapping[str, str | None] | None = None) -> Path:
    lines = [f"{key}={value}" for key, value in (GOOD | dict(values or {})).items() if value is not None]
    conf.write_text("\n".join(lines) + "\n" + extra)
    return conf


def test_good_settings_and_their_defaults(conf: Path) -> None:
    """Four keys are enough."""
    found = load_from(write(conf))
    assert (found.graph_cloud, found.mail_format, found.queue_lifetime) == ("global", "json", 432000.0)
    assert (found.mailbox_rate, found.mailbox_daily_recipients, found.digest) == (30, 10_000, (5, 60, 15))
    assert found.graph_credential == "secret"
    assert found.graph_client_secret is not None
    assert found.graph_client_secret.get_secret_value() == "abc~D8Q.x#_-y"
    assert not found.graph_save_to_sent_items


def load_from(_: Path) -> Settings:
    return load()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("GRAPH_TENANT_ID", "nonsense", "neither a GUID nor a domain"),
        ("GRAPH_CLIENT_ID", "x", "not a GUID"),
        ("GRAPH_CLIENT_SECRET", "5d8f6f0e-54c1-4b4c-8f0a-2b2f0a4bd4f1", "this is the secret's ID"),
        ("GRAPH_SENDER", "pve", "not a mail address"),
        ("MAIL_TO", "root, a@example.com", "root is not a mail address"),
        ("GRAPH_CLOUD", "moon", "'global', 'usgov', 'dod' or 'china'"),
        ("GRAPH_CREDENTIAL", "password", "'secret', 'certificate'"),
        ("GRAPH_ENDPOINT", "http://graph.example.com", "https:// URL"),
        ("GRAPH_ENDPOINT", "https://graph.microsoft.com/v1.0", "without tenant, version or path"),
        ("GRAPH_AUTHORITY", "ftp://x", "https:// URL"),
        ("QUEUE_LIFETIME", "5", "not a duration"),
        ("DIGEST", "5,60", "it is off, or NUMBER,MINUTES,EVERY"),
        ("DIGEST", "0,60,15", "it is off, or NUMBER,MINUTES,EVERY"),
        ("DIGEST", "never", "it is off, or NUMBER,MINUTES,EVERY"),
        ("MAILBOX_RATE", "fast", "integer"),
        ("QUEUE_LIFETIME", "0d", "not a duration"),
        ("CREDENTIAL_EXPIRES", "soon", "date"),
        ("GRAPH_SAVE_TO_SENT_ITEMS", "perhaps", "boolean"),
        ("GRAPH_CLIENT_CERTIFICATE", "app.pem", "absolute path"),
        ("MAIL_FORMAT", "xml", "'json' or 'mime'"),
    ],
)
def test_a_bad_value_names_key_file_and_line(conf: Path, key: str, value: str, says: str) -> None:
    """…and says what is wanted; the value itself is not repeated where it could be a secret."""
    others = {k: v for k, v in GOOD.items() if k != key}
    conf.write_text("# a comment\n\n" + "".join(f"{k}={v}\n" for k, v in others.items()) + f"{key}={value}\n")
    with pytest.raises(SettingsError) as caught:
        load()
    text = str(caught.value)
    assert text.startswith(f"{conf}, line {len(others) + 3}: {key}: ")
    assert says in text
    assert "\n" not in text
    assert "abc~D8Q" not in text


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("GRAPH_SENDR=x\n", "line 5: GRAPH_SENDR: unknown key; did you mean GRAPH_SENDER?"),
        ("mail_foo=x\n", "line 5: mail_foo: unknown key"),
        ("no equals sign\n", "line 5: not of the form KEY=value"),
        ("GRAPH_SENDER=b@example.com\n", "line 5: GRAPH_SENDER is set a second time (first in line 4)"),
        ("OTHER=fine\nGRAPH_X=1\n", "line 6: GRAPH_X: unknown key"),
        ("MAILTO=x\n", "line 5: MAILTO: unknown key; did you mean MAIL_TO?"),
        ("TENANT_ID=x\n", "line 5: TENANT_ID: unknown key; did you mean GRAPH_TENANT_ID?"),
    ],
)
def test_unknown_keys_and_lines(conf: Path, extra: str, says: str) -> None:
    """A typo is an error, not a default."""
    write(conf, extra)
    with pytest.raises(SettingsError) as caught:
        load()
    assert says in str(caught.value)


def test_a_command_of_several_lines_is_one_value(conf: Path) -> None:
    """In quotes; a line end is the only control character, beside the tab, that a value may have."""
    assert load_from(write(conf, "ALARM_COMMAND='cat >> /tmp/x\n\tsync'\n")).alarm_command == "cat >> /tmp/x\n\tsync"
    for character in ("\x07", "\x7f", "\x85"):
        with pytest.raises(SettingsError, match="ALARM_COMMAND: it has a control character"):
            load_from(write(conf, f"ALARM_COMMAND='a{character}b'\n"))


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"GRAPH_SENDER": None}, "not set: GRAPH_SENDER"),
        ({"GRAPH_CLIENT_SECRET": None}, "not set: GRAPH_CLIENT_SECRET"),
        ({"GRAPH_TENANT_ID": None, "GRAPH_CLIENT_ID": None}, "not set: GRAPH_TENANT_ID, GRAPH_CLIENT_ID"),
    ],
)
def test_what_is_missing_is_named(conf: Path, missing: dict[str, None], says: str) -> None:
    """With the file it belongs in."""
    write(conf, values=missing)
    with pytest.raises(SettingsError) as caught:
        load()
    assert says in str(caught.value)
    assert str(conf) in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(conf: Path) -> None:
    """Windows editors write one."""
    write(conf)
    conf.write_bytes(b"\xef\xbb\xbf" + conf.read_bytes())
    assert load().graph_tenant_id == GOOD["GRAPH_TENANT_ID"]


def test_no_file_at_all_names_the_file(conf: Path) -> None:
    """A host that was never set up."""
    with pytest.raises(SettingsError, match=r"conf \(no such file\): not set up yet; proxmox-graph-mail setup"):
        load()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"GRAPH_CLIENT_SECRET": None, "GRAPH_CLIENT_CERTIFICATE": "/etc/x.pem"}, "certificate"),
        ({"GRAPH_CLIENT_SECRET": None, "GRAPH_FEDERATED_TOKEN_FILE": "/run/token"}, "federated"),
        ({"GRAPH_CLIENT_SECRET": None, "GRAPH_CREDENTIAL": "managed-identity", "GRAPH_TENANT_ID": None}, "managed-identity"),
        ({"GRAPH_CLIENT_CERTIFICATE": "/etc/x.pem", "GRAPH_CREDENTIAL": "secret"}, "secret"),
    ],
)
def test_the_kind_of_credential_is_told_from_what_is_set(conf: Path, values: dict[str, str | None], kind: str) -> None:
    """GRAPH_CREDENTIAL decides where it is set."""
    assert load_from(write(conf, values=values)).graph_credential == kind


def test_the_environment_wins_over_credentials_over_the_file(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's $CREDENTIALS_DIRECTORY holds one file per key, in lower case."""
    write(conf, "MAIL_TO=file@example.com\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "graph_client_secret").write_text("from-systemd-creds\n")
    (tmp_path / "credentials" / "mail_to").write_text("credential@example.com")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    found = load()
    assert found.graph_client_secret is not None
    assert found.graph_client_secret.get_secret_value() == "from-systemd-creds"
    assert found.mail_to == "credential@example.com"
    monkeypatch.setenv("MAIL_TO", "environment@example.com")
    assert load().mail_to == "environment@example.com"


def test_a_bad_value_in_the_environment_says_so(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is blamed. An unknown MAIL_* of somebody else's (Postfix's MAIL_CONFIG) is none of ours there."""
    write(conf)
    monkeypatch.setenv("MAIL_CONFIG", "/etc/postfix")
    load()
    monkeypatch.setenv("GRAPH_CLOUD", "moon")
    with pytest.raises(SettingsError, match=r"^the environment: GRAPH_CLOUD: "):
        load()


def test_a_bad_credential_file_is_named(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """…by its path."""
    write(conf, values={"GRAPH_CLIENT_SECRET": None})
    (tmp_path / "graph_client_secret").write_text("5d8f6f0e-54c1-4b4c-8f0a-2b2f0a4bd4f1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match=f"^{tmp_path}/graph_client_secret: "):
        load()


def test_the_host_s_file_comes_before_the_cluster_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """First found wins per key; $PROXMOX_GRAPH_MAIL_CONFIG alone where it is set."""
    monkeypatch.delenv("PROXMOX_GRAPH_MAIL_CONFIG", raising=False)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_HOST", "/h")
    assert paths.settings_files() == ("/etc/proxmox-graph-mail.conf", "/h/cluster.conf")
    assert paths.shown("/h/cluster.conf") == "/etc/pve/priv/proxmox-graph-mail.conf"
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_CONFIG", "/x")
    assert paths.settings_files() == ("/x",)


def test_the_alarm_s_command_is_found_in_settings_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then above all it is wanted."""
    from proxmox_graph_mail.settings import alarm_command

    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_CONFIG", str(tmp_path / "conf"))
    (tmp_path / "conf").write_text("GRAPH_SENDRE=x\nnonsense\nALARM_COMMAND='cat >> /tmp/x'\n")
    assert alarm_command() == "cat >> /tmp/x"


def test_two_files_are_merged_key_by_key(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's file need only hold what differs from the cluster's."""
    monkeypatch.delenv("PROXMOX_GRAPH_MAIL_CONFIG")
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_HOST", str(tmp_path))
    write(tmp_path / "cluster.conf")
    (tmp_path / "host").write_text("GRAPH_SENDER=node1@example.com\n")
    monkeypatch.setattr(paths, "HOST_SETTINGS", str(tmp_path / "host"))
    assert load().graph_sender == "node1@example.com"
    assert load().graph_tenant_id == "example.onmicrosoft.com"


def test_no_secret_in_repr(conf: Path) -> None:
    """A traceback or a debugger's print must not show it."""
    write(conf, "HTTPS_PROXY=http://user:hush@proxy:3128\n")
    assert "abc~D8Q" not in repr(load())
    assert "hush" not in repr(load())


def test_a_credential_that_cannot_be_read_is_named_and_an_empty_one_is_none(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's credentials: one file a key."""
    write(conf)
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (folder / "graph_sender").write_text("\n")
    assert load().graph_sender == "pve@example.com"
    (folder / "graph_sender").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=f"cannot read {folder}/graph_sender: not UTF-8 text"):
        load()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "http://", "http://proxy:port", "ftp://proxy", "://"])
def test_a_proxy_that_is_none_is_an_error_with_its_place(conf: Path, proxy: str) -> None:
    """Key, file and line, as for any other; its password is not shown."""
    write(conf, f"HTTPS_PROXY={proxy}\n")
    with pytest.raises(SettingsError, match=r"line \d+: HTTPS_PROXY: it must be an http:// or https:// URL"):
        load()


@pytest.mark.parametrize(("value", "wanted"), [("off", None), ("OFF", None), ("10, 30 ,5", (10, 30, 5))])
def test_digests_are_switched_off_or_changed(conf: Path, value: str, wanted: tuple[int, int, int] | None) -> None:
    """By one key."""
    assert load_from(write(conf, f"DIGEST={value}\n")).digest == wanted
