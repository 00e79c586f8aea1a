"""`setup` and `entra`: from nothing to a mail at Graph."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from proxmox_graph_mail.admin.entra import Kind, script
from proxmox_graph_mail.admin.settings_file import changed
from proxmox_graph_mail.settings import values_of
from tests.programs import Host, Sandbox, subjects
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the settings are root's")


def bare(host: Host, sandbox: Sandbox) -> None:
    """A settings file that knows where the stand-in is, and nothing else."""
    wanted = ("GRAPH_AUTHORITY", "GRAPH_ENDPOINT", "GRAPH_CA_FILE")
    host.settle({key: value for key, value in sandbox.settings().items() if key in wanted})
    host.config.write_text("# my own words\n#GRAPH_TENANT_ID=\n" + host.config.read_text())


def test_an_admin_is_asked_and_corrected(host: Host, sandbox: Sandbox) -> None:
    """Each answer is checked as it comes; the secret is not shown; a test mail goes; the rest of the file stays."""
    bare(host, sandbox)
    about = sandbox.about
    with host.runner():
        screen = Terminal(host.admin_command("setup"), host.env)
        screen.until("Directory (tenant) ID")
        screen.type("not a guid")
        screen.until("neither a GUID nor a domain")
        screen.type(about["tenant"])
        screen.until("Application (client) ID")
        screen.type(about["client"])
        screen.until("Make a certificate on this host")
        screen.type("n")
        screen.until("Client secret")
        screen.until_hidden()
        screen.type(about["client"])
        screen.until("this is the secret's ID")
        screen.until("Client secret")
        screen.until_hidden()
        screen.type(about["secret"])
        screen.until("When it ends")
        screen.type("2028-06-30")
        screen.until("Mailbox to send as")
        screen.type("pve")
        screen.until("not a mail address")
        screen.type("pve@example.com")
        screen.until("Who gets mail for root")
        screen.type("admin@example.com")
        assert screen.close() == 0, screen.screen
    assert "ok: Entra gives a token" in screen.screen
    assert re.search(r"arrived at Graph \d\.\d\d s after it was submitted, for admin@example\.com", screen.screen)
    assert about["secret"] not in screen.screen
    assert host.config.read_text().startswith(f"# my own words\nGRAPH_TENANT_ID={about['tenant']}\n")
    assert subjects(sandbox.accepted())[0].startswith("Test mail from")
    assert host.config.stat().st_mode & 0o007 == 0


def test_without_a_terminal_everything_is_given(host: Host, sandbox: Sandbox) -> None:
    """Options, a file, the environment, the secret on standard input; again without a change; and --no-test."""
    bare(host, sandbox)
    about = sandbox.about
    argv = ["setup", "--no-test", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"],
            "--secret-file", "-", "--mail-to", "a@example.com,b@example.com", "--expires", "2028-01-01"]  # fmt: skip
    done = host.admin(*argv, stdin=about["secret"].encode() + b"\n")
    assert done.returncode == 0, done.stderr
    written = host.config.read_text()
    assert values_of(host.config)["GRAPH_CLIENT_SECRET"] == about["secret"]
    assert host.admin("setup", "--no-test").returncode == 0
    assert host.config.read_text() == written
    assert host.admin("setup", "--no-test", GRAPH_SENDER="other@example.com").returncode == 0
    assert values_of(host.config)["GRAPH_SENDER"] == "other@example.com"
    values = host.folder / "values"
    values.write_text("MAIL_TO=c@example.com\nGRAPH_SENDER=pve@example.com\n")
    assert host.admin("setup", "--no-test", "--from", str(values)).returncode == 0
    assert values_of(host.config)["MAIL_TO"] == "c@example.com"
    assert (
        "GRAPH_CLIENT_ID is missing"
        in host.admin("setup", PROXMOX_GRAPH_MAIL_CONFIG=f"{host.folder}/none", GRAPH_TENANT_ID="a.example").stderr
    )


def test_a_secret_that_is_wrong_writes_nothing(host: Host, sandbox: Sandbox) -> None:
    """The file stays as it was; the reason is said."""
    bare(host, sandbox)
    before = host.config.read_text()
    about = sandbox.about
    argv = ["setup", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"], "--secret-file", "-"]
    done = host.admin(*argv, stdin=b"wrong~secret\n")
    assert done.returncode == 78
    assert "the client secret is wrong" in done.stderr
    assert host.config.read_text() == before


def test_a_certificate_is_made_here_and_its_key_stays(host: Host, sandbox: Sandbox) -> None:
    """What is to be uploaded is beside it; after the upload it works."""
    bare(host, sandbox)
    about = sandbox.about
    pem = host.folder / "app.pem"
    argv = ["setup", "--certificate", "--no-test", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"],
            "--object-id", about["application"]]  # fmt: skip
    host.env["GRAPH_CLIENT_CERTIFICATE"] = str(pem)
    done = host.admin(*argv)
    assert done.returncode == 78
    assert "Upload" in done.stdout
    public = pem.with_suffix(".crt").read_text()
    assert "PRIVATE" not in public
    assert pem.stat().st_mode & 0o007 == 0
    sandbox.control(upload=public)
    key = pem.read_bytes()
    assert host.admin(*argv).returncode == 0
    assert pem.read_bytes() == key
    del host.env["GRAPH_CLIENT_CERTIFICATE"]
    host.sendmail("-odq", "ops@example.com")
    assert host.admin("run", "--once").returncode == 0


def test_a_certificate_is_offered(host: Host, sandbox: Sandbox) -> None:
    """Yes: it says what to upload, waits, and goes on."""
    bare(host, sandbox)
    about = sandbox.about
    pem = host.folder / "app.pem"
    (host.folder / "conf").write_text(host.config.read_text())
    screen = Terminal(
        host.admin_command("setup", "--no-test", "--tenant", about["tenant"], "--client", about["client"]), host.env
    )
    try:
        screen.until("Make a certificate on this host")
        screen.type("y")
        screen.until("Upload")
        screen.until("Object ID of the app registration")
        screen.type(about["application"])
        screen.until("Press Enter when it is uploaded")
        public = Path("/etc/proxmox-graph-mail.crt")
        sandbox.control(upload=public.read_text())
        screen.type("")
        screen.until("Mailbox to send as")
        screen.type("pve@example.com")
        screen.until("Who gets mail for root")
        screen.type("")
        assert screen.close() == 0, screen.screen
        assert values_of(host.config)["GRAPH_OBJECT_ID"] == about["application"]
        assert "GRAPH_CLIENT_SECRET" not in values_of(host.config)
    finally:
        for name in (".pem", ".crt"):
            Path(f"/etc/proxmox-graph-mail{name}").unlink(missing_ok=True)
    assert not pem.exists()


@pytest.mark.parametrize(
    ("text", "values", "after"),
    [
        ("", {"A": "1"}, "A=1\n"), ("# x\nA=1\nB=2\n", {"A": "3"}, "# x\nA=3\nB=2\n"), ("#A=1\n", {"A": "2"}, "A=2\n"),
        ("# A=1\nB=1\n", {"A": "2"}, "A=2\nB=1\n"), ("A=1\nA=2\n", {"A": "3"}, "A=3\n"), ("A=1\nB=2\n", {"A": ""}, "B=2\n"),
        ("AB=1\n", {"A": "2"}, "AB=1\nA=2\n"), ("", {"A": "x y"}, "A='x y'\n"), ("", {"A": "x'\"$"}, 'A="x\'\\"$"\n'),
        ("A=1", {"A": "a#b"}, "A='a#b'\n"),
    ],
)  # fmt: skip
def test_a_key_is_written_into_its_place(text: str, values: dict[str, str], after: str, tmp_path: Path) -> None:
    """…and is read back as it was meant."""
    assert changed(text, values) == after


@pytest.mark.parametrize(
    "secret", ["plain~Secret.8Q", "with space", "it's", 'say "x"', "a'b\"c$d\\e", "#hash", "${HOME}", "tab\tin", "=="]
)
def test_every_secret_survives_the_file(secret: str, tmp_path: Path) -> None:
    """Written, and read back by the settings."""
    path = tmp_path / "conf"
    path.write_text(changed("", {"GRAPH_CLIENT_SECRET": secret}))
    assert values_of(path)["GRAPH_CLIENT_SECRET"] == secret


@pytest.mark.parametrize("kind", list(Kind))
def test_the_scripts_have_this_host_s_values(online: Host, sandbox: Sandbox, kind: Kind) -> None:
    """No placeholder is left; names are quoted; the superseded policy is named as such."""
    text = online.admin("entra", kind.value, "--name", "it's $HOME").stdout
    assert sandbox.about["tenant"] in text or kind is Kind.RBAC
    assert not re.search(r"@(tenant|client|sender|domain|name)@", text)
    assert "'its HOME'" in text
    if kind is Kind.RBAC:
        assert f"$client = '{sandbox.about['client']}'" in text
        assert "$sender = 'pve@example.com'" in text
        assert "New-ApplicationAccessPolicy" in text
        assert "another.mailbox@example.com" in text
    else:
        assert "b633e1c5-b582-4048-a93e-9f11b44c7e96" in text
    assert script(kind)


def test_the_cli_script_is_shell(online: Host) -> None:
    """`sh -n` takes it."""
    text = online.admin("entra", "cli").stdout
    assert subprocess.run(["sh", "-n"], input=text.encode(), check=False).returncode == 0


def given(sandbox: Sandbox, *more: str) -> list[str]:
    about = sandbox.about
    return ["setup", "--no-test", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"],
            "--secret-file", "-", *more]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (["--from", "/nope"], 66, "cannot read /nope: no such file"), (["--secret-file", "/nope"], 66, "cannot read /nope: No such file"),
        (["--object-id", "CLIENT"], 78, "GRAPH_OBJECT_ID: this is the client ID"),
        (["--object-id", "PRINCIPAL"], 78, "this is the enterprise application's Object ID, not the app registration's"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    host: Host, sandbox: Sandbox, more: list[str], status: int, words: str
) -> None:
    """It names what is wrong, where, and where the right value stands."""
    bare(host, sandbox)
    before = host.config.read_text()
    more = [sandbox.about.get(word.lower(), word) for word in more]
    done = host.admin(*given(sandbox, *more), stdin=sandbox.about["secret"].encode() + b"\n")
    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    assert words in done.stderr
    assert host.config.read_text() == before


def test_a_proxy_that_is_dead_is_met_here_too(host: Host, sandbox: Sandbox) -> None:
    """As by check and the queue runner."""
    bare(host, sandbox)
    before = host.config.read_text()
    done = host.admin(*given(sandbox), stdin=sandbox.about["secret"].encode() + b"\n", HTTPS_PROXY="http://127.0.0.1:1")
    assert done.returncode == 78
    assert "cannot connect through the proxy of HTTPS_PROXY to localhost" in done.stderr
    assert host.config.read_text() == before
