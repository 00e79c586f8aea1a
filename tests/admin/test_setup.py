"""`setup` and `entra`: from nothing to a mail at Graph."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin import setup as setup_verb
from proxmox_graph_mail.admin.entra import Kind, cloud_shell_line
from proxmox_graph_mail.admin.settings_file import changed
from proxmox_graph_mail.errors import UsageError
from proxmox_graph_mail.settings import values_of
from tests.programs import Host, Sandbox, subjects
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the settings are root's")


def bare(host: Host, sandbox: Sandbox) -> None:
    """A settings file that knows where the stand-in is, and nothing else."""
    wanted = ("GRAPH_AUTHORITY", "GRAPH_ENDPOINT", "GRAPH_CA_FILE")
    host.settle({key: value for key, value in sandbox.settings().items() if key in wanted})
    host.config.write_text("# my own words\n#GRAPH_TENANT_ID=\n" + host.config.read_text())


FIRST = "Paste the block that it prints here"


def at_terminal(host: Host, *argv: str) -> Terminal:
    return Terminal(host.admin_command("setup", *argv), host.env)


def answer(screen: Terminal, *pairs: tuple[str, str | None]) -> None:
    """Wait for the words, then type (None: nothing)."""
    for words, text in pairs:
        screen.until(words)
        if text is None:
            continue
        if words == FIRST or words.startswith("Client secret"):
            screen.until_hidden()
        screen.type(text)


def test_an_admin_is_asked_and_corrected(host: Host, sandbox: Sandbox) -> None:
    """Each answer is checked as it comes; the secret is not shown; a test mail goes; the rest of the file stays; the first words say
    where the values come from, the last ones what to look at."""
    bare(host, sandbox)
    about = sandbox.about
    with host.runner():
        screen = at_terminal(host)
        answer(
            screen, ("Make a certificate on this host", "n"), (FIRST, ""), ("Directory (tenant) ID", "not a guid"),
            ("neither a GUID nor a domain", about["tenant"]), ("Application (client) ID", about["client"]), ("Client secret", about["client"]),
            ("this is the secret's ID", None), ("Client secret", about["secret"]), ("When it ends", "2028-06-30"), ("Mailbox to send as", "pve"),
            ("not a mail address", "pve@example.com"), ("Who gets mail for root", "admin@example.com"),
        )  # fmt: skip
        assert screen.close() == 0, screen.screen
    assert "They come from an app registration" in screen.screen.partition("Make a")[0]
    assert "ok: Entra gives a token" in screen.screen
    assert "ok: Graph lets the app send as pve@example.com" in screen.screen
    assert re.search(
        r"arrived at Graph \d\.\d\d s after it was submitted, for admin@example\.com", " ".join(screen.screen.split())
    )
    assert "junk folder" in screen.screen
    assert "may send as every mailbox of the tenant" in screen.screen.splitlines()[-1]
    assert about["secret"] not in screen.screen
    assert host.config.read_text().startswith(f"# my own words\nGRAPH_TENANT_ID={about['tenant']}\n")
    assert subjects(sandbox.accepted())[0].startswith("Test mail from")
    assert host.config.stat().st_mode & 0o007 == 0


def set_up(host: Host, sandbox: Sandbox, *more: str) -> subprocess.CompletedProcess[str]:
    done = host.admin(*given(sandbox, *more), stdin=sandbox.about["secret"].encode() + b"\n")
    assert done.returncode == 0, done.stderr
    return done


def test_known_values_are_the_defaults(host: Host, sandbox: Sandbox) -> None:
    """A second run offers each in brackets, but for the secret; Enter keeps it, and one can be changed."""
    bare(host, sandbox)
    set_up(host, sandbox)
    before = host.config.read_text()
    screen = at_terminal(host, "--no-test")
    answer(
        screen, (f"Directory (tenant) ID [{sandbox.about['tenant']}]", ""), ("Application (client) ID [", ""), ("Client secret", ""),
        ("When it ends", ""), ("Mailbox to send as [pve@example.com]", ""), ("Who gets mail for root [admin@example.com]", "other@example.com"),
    )  # fmt: skip
    assert screen.close() == 0, screen.screen
    assert host.config.read_text() == before.replace("admin@example.com", "other@example.com")
    assert sandbox.about["secret"] not in screen.screen


def test_what_microsoft_refuses_is_asked_again_and_the_rest_is_kept(host: Host, sandbox: Sandbox) -> None:
    """A wrong tenant, app, secret, mailbox, one after the other; the file is not written before all are right."""
    bare(host, sandbox)
    before = host.config.read_text()
    about = sandbox.about
    wrong = "11111111-2222-3333-4444-555555555555"
    screen = at_terminal(host, "--no-test", "--mail-to", "admin@example.com", "--tenant", wrong, "--client", wrong)
    answer(
        screen, ("Make a certificate", "n"), ("Client secret", "wrong~secret"), ("When it ends", ""), ("Mailbox to send as", "pvee@example.com"),
        ("Entra does not know the tenant", None), ("Directory (tenant) ID [", about["tenant"]), ("the app is not in this tenant", None),
        ("Directory (tenant) ID [", ""), ("Application (client) ID [", about["client"]), ("the client secret is wrong", None),
    )  # fmt: skip
    answer(screen, ("Client secret", about["secret"]), ("When it ends", ""), ("there is no such mailbox", None))
    assert host.config.read_text() == before
    answer(screen, ("Mailbox to send as [pvee@example.com]", "pve@example.com"))
    assert screen.close() == 0, screen.screen
    assert screen.screen.count("Who gets mail") == 0
    assert values_of(host.config)["GRAPH_SENDER"] == "pve@example.com"


def test_without_a_network_nothing_that_was_typed_is_lost(host: Host, sandbox: Sandbox) -> None:
    """It can be tried again, and written as it is."""
    bare(host, sandbox)
    host.env["HTTPS_PROXY"] = "http://127.0.0.1:1"
    argv = given(sandbox)[2:-2]
    screen = at_terminal(host, *argv, "--no-test")
    answer(screen, ("Make a certificate", "n"), ("Client secret", sandbox.about["secret"]), ("When it ends", ""))
    answer(
        screen, ("cannot connect through the proxy", None), ("Enter tries again", ""), ("cannot connect", None), ("w writes", "w")
    )
    assert screen.close() == 0, screen.screen
    assert values_of(host.config)["GRAPH_CLIENT_SECRET"] == sandbox.about["secret"]


def test_an_end_that_is_past_is_asked_about(host: Host, sandbox: Sandbox) -> None:
    """On a terminal it can be corrected; elsewhere it is a warning."""
    bare(host, sandbox)
    assert "2020-01-01 is past" in set_up(host, sandbox, "--expires", "2020-01-01").stderr
    screen = at_terminal(host, *given(sandbox)[1:-2], "--expires", "2021-01-01")
    answer(screen, ("Client secret", ""), ("When it ends", ""), ("2021-01-01 is past", "n"), ("When it ends", "2031-01-01"))
    assert screen.close() == 0, screen.screen
    assert values_of(host.config)["CREDENTIAL_EXPIRES"] == "2031-01-01"


def test_a_wrong_object_id_is_asked_about_with_a_secret_too(host: Host, sandbox: Sandbox) -> None:
    """The enterprise application's, and the client ID: no loop, no answer lost; it can be left out."""
    bare(host, sandbox)
    about = sandbox.about
    for wrong, words in ((about["principal"], "enterprise application's Object ID"), (about["client"], "this is the client ID")):
        before = sandbox.control()["counts"]["token"]
        screen = at_terminal(host, *given(sandbox)[1:-2], "--object-id", wrong)
        if wrong == about["principal"]:
            answer(screen, ("Make a certificate", "n"), ("Client secret", about["secret"]))
        else:
            answer(screen, ("Client secret", ""))
        answer(screen, ("When it ends", ""))
        screen.until(words)
        answer(screen, ("Object ID of the app registration", "-"))
        assert screen.close() == 0, screen.screen
        assert sandbox.control()["counts"]["token"] - before <= 3


def test_a_pasted_block_may_begin_with_an_empty_line_and_what_is_none_is_said(host: Host, sandbox: Sandbox) -> None:
    """The lines of an error of `az` are no answers."""
    bare(host, sandbox)
    about = sandbox.about
    block = f"\n# Paste\nGRAPH_TENANT_ID={about['tenant']}\nGRAPH_CLIENT_ID={about['client']}\nGRAPH_CLIENT_SECRET='{about['secret']}'\n"
    screen = at_terminal(host, "--no-test", "--mail-to", "a@example.com", "--sender", "pve@example.com")
    answer(screen, ("Make a certificate", "n"), (FIRST, block))
    answer(screen, ("When it ends", ""))
    assert screen.close() == 0, screen.screen
    bare(host, sandbox)
    screen = at_terminal(host, "--no-test")
    answer(screen, ("Make a certificate", "n"), (FIRST, "ERROR: Insufficient privileges to complete the operation.\n"))
    screen.until("No line of the form KEY=value")
    screen.until("Directory (tenant) ID")
    screen.interrupt()
    screen.close()


def test_what_is_asked_for_stands_above_the_environment(host: Host, sandbox: Sandbox) -> None:
    """An option that is tried is the one that is written."""
    bare(host, sandbox)
    argv = [word if word != "pve@example.com" else "nobody@example.com" for word in given(sandbox)]
    done = host.admin(*argv, stdin=sandbox.about["secret"].encode() + b"\n", GRAPH_SENDER="pve@example.com")
    assert (done.returncode, "there is no such mailbox" in done.stderr) == (78, True), done.stderr


def test_an_interrupted_certificate_is_picked_up(host: Host, sandbox: Sandbox) -> None:
    """The .crt is made of the .pem whenever it is missing; what to upload is said each time; without values nothing is made."""
    bare(host, sandbox)
    pem = host.folder / "app.pem"
    host.env["GRAPH_CLIENT_CERTIFICATE"] = str(pem)
    assert host.admin("setup", "--certificate").returncode == 64
    assert not pem.exists()
    argv = [*given(sandbox)[:-2], "--certificate"]
    first = host.admin(*argv)
    public = pem.with_suffix(".crt")
    text = public.read_text()
    public.unlink()
    again = host.admin(*argv)
    assert public.read_text() == text
    thumbprint = re.search(r"thumbprint \w+", first.stdout)
    assert thumbprint is not None
    assert thumbprint[0] in again.stdout


def test_somebody_must_read_root_s_mail(host: Host, sandbox: Sandbox) -> None:
    """With no alias for root MAIL_TO is a must; with one it may stay empty."""
    bare(host, sandbox)
    argv = [word for word in given(sandbox) if word not in ("--mail-to", "admin@example.com")]
    secret = sandbox.about["secret"].encode()
    done = host.admin(*argv, stdin=secret)
    assert (done.returncode, "MAIL_TO is missing" in done.stderr) == (64, True), done.stderr
    host.aliases.write_text("root: ops@example.com\n")
    assert host.admin(*argv, stdin=secret).returncode == 0


def test_a_line_that_is_wrong_is_corrected_in_place(host: Host, sandbox: Sandbox) -> None:
    """An unknown key gets the name that was meant; what is nothing becomes a comment."""
    bare(host, sandbox)
    set_up(host, sandbox)
    text = host.config.read_text().replace("GRAPH_SENDER=", "GRAPH_SENDR=") + "GRAPH_FOO_BARBAZ_X=1\nMAIL_TO=b@example.com\n"
    host.config.write_text(text)
    assert "line 4: GRAPH_SENDR: unknown key" in (done := host.admin("setup", "--no-test")).stderr or "GRAPH_SENDR" in done.stderr
    assert host.config.read_text() == text
    screen = at_terminal(host, "--no-test", *given(sandbox)[2:-2])
    answer(
        screen, ("GRAPH_SENDR: unknown key", None), ("Write GRAPH_SENDER instead", "y"), ("GRAPH_FOO_BARBAZ_X: unknown key", None),
        ("Comment the line out", "y"), ("MAIL_TO is set a second time", None), ("Comment the line out", "y"), ("Client secret", ""), ("When it", ""),
    )  # fmt: skip
    assert screen.close() == 0, screen.screen
    assert "# GRAPH_FOO_BARBAZ_X=1\n# MAIL_TO=b@example.com\n" in host.config.read_text()
    assert values_of(host.config)["GRAPH_SENDER"] == "pve@example.com"


def test_a_secret_takes_a_certificate_s_place(host: Host, sandbox: Sandbox) -> None:
    """On a host with a certificate --secret-file switches; a wrong secret is refused, and not called ok."""
    bare(host, sandbox)
    pem = host.folder / "app.pem"
    host.env["GRAPH_CLIENT_CERTIFICATE"] = str(pem)
    argv = given(sandbox)[:-2]
    assert host.admin(*argv, "--certificate").returncode == 78
    sandbox.control(upload=pem.with_suffix(".crt").read_text())
    assert host.admin(*argv, "--certificate").returncode == 0
    del host.env["GRAPH_CLIENT_CERTIFICATE"]
    assert values_of(host.config)["GRAPH_CLIENT_CERTIFICATE"] == str(pem)
    assert host.admin(*argv, "--secret-file", "-", stdin=b"wrong~secret\n").returncode == 78
    assert values_of(host.config)["GRAPH_CLIENT_CERTIFICATE"] == str(pem)
    set_up(host, sandbox)
    assert "GRAPH_CLIENT_CERTIFICATE" not in values_of(host.config)


def test_a_renewal_is_tried_at_once(host: Host, sandbox: Sandbox) -> None:
    """A wrong Object ID is met now, not 30 days before the end; the key of the trial does not stay."""
    bare(host, sandbox)
    pem = host.folder / "app.pem"
    host.env["GRAPH_CLIENT_CERTIFICATE"] = str(pem)
    argv = [*given(sandbox)[:-2], "--certificate", "--object-id"]
    host.admin(*argv, sandbox.about["application"])
    sandbox.control(upload=pem.with_suffix(".crt").read_text())
    keys = sandbox.control()["keys"]
    done = host.admin(*argv, "11111111-2222-3333-4444-555555555555")
    assert done.returncode == 78
    assert "the certificate cannot renew itself: there is no app registration with this Object ID" in done.stderr
    done = host.admin(*argv, sandbox.about["application"])
    assert done.returncode == 0, done.stderr
    assert "the certificate can be renewed" in done.stdout
    assert sandbox.control()["keys"] == keys


def test_again_by_a_file_changes_nothing(host: Host, sandbox: Sandbox) -> None:
    """`setup --from` twice: unchanged, the same file, no test mail, and no word to Microsoft; owner and mode are put right."""
    bare(host, sandbox)
    set_up(host, sandbox)
    values = host.folder / "values"
    values.write_text(host.config.read_text())
    before = host.config.stat()
    asked = sandbox.control()["counts"]["token"]
    done = host.admin("setup", "--from", str(values))
    assert sandbox.control()["counts"]["token"] == asked
    assert (done.returncode, "unchanged" in done.stdout) == (0, True), done.stderr
    after = host.config.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not sandbox.accepted()
    host.config.chmod(0o644)
    assert host.admin("setup", "--no-test", "--from", str(values)).returncode == 0
    assert host.config.stat().st_mode & 0o077 in (0, 0o040)


def test_values_on_standard_input(host: Host, sandbox: Sandbox) -> None:
    """As a playbook gives them, which lets no file lie about; an unknown key is named there too."""
    bare(host, sandbox)
    about = sandbox.about
    values = {"GRAPH_TENANT_ID": about["tenant"], "GRAPH_CLIENT_ID": about["client"], "GRAPH_CLIENT_SECRET": about["secret"],
              "GRAPH_SENDER": "pve@example.com", "MAIL_TO": "admin@example.com"}  # fmt: skip
    text = "".join(f"{key}='{value}'\n" for key, value in values.items()).encode()
    assert host.admin("setup", "--no-test", "--from", "-", stdin=text).returncode == 0
    assert values_of(host.config)["GRAPH_CLIENT_SECRET"] == about["secret"]
    assert "unchanged" in host.admin("setup", "--from", "-", stdin=text).stdout
    refused = host.admin("setup", "--no-test", "--from", "-", stdin=text.replace(b"SENDER", b"SENDR"))
    assert (refused.returncode, "standard input, line 4: GRAPH_SENDR: unknown key" in refused.stderr) == (78, True), (
        refused.stderr
    )


def test_without_microsoft_it_is_written_if_nothing_is_to_be_tried(host: Host, sandbox: Sandbox) -> None:
    """A host that is built where there is no network yet: --no-test; it says so."""
    bare(host, sandbox)
    done = host.admin(*given(sandbox), stdin=sandbox.about["secret"].encode(), HTTPS_PROXY="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "written all the same" in done.stderr
    assert values_of(host.config)["GRAPH_CLIENT_SECRET"] == sandbox.about["secret"]


def test_a_host_s_own_file_must_not_override_the_cluster_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup --cluster` would try one credential, and this node would send by another."""
    own = tmp_path / "own.conf"
    own.write_text("GRAPH_CLIENT_SECRET=old\nMAIL_TO=a@example.com\n")
    monkeypatch.setattr(paths, "HOST_SETTINGS", str(own))
    monkeypatch.setattr(paths, "CLUSTER_SETTINGS", str(tmp_path / "cluster.conf"))
    monkeypatch.delenv("PROXMOX_GRAPH_MAIL_CONFIG", raising=False)
    with pytest.raises(UsageError, match=r"own\.conf on this node sets GRAPH_CLIENT_SECRET, and that overrides"):
        setup_verb._target(cluster=True)
    own.write_text("MAIL_TO=a@example.com\n")
    assert setup_verb._target(cluster=True) == tmp_path / "cluster.conf"


def test_without_a_terminal_everything_is_given(host: Host, sandbox: Sandbox) -> None:
    """Options over a file over the environment over what was written; again without a change."""
    bare(host, sandbox)
    set_up(host, sandbox, "--mail-to", "a@example.com,b@example.com", "--expires", "2028-01-01")
    written = host.config.read_text()
    assert values_of(host.config)["GRAPH_CLIENT_SECRET"] == sandbox.about["secret"]
    assert host.admin("setup", "--no-test").returncode == 0
    assert host.config.read_text() == written
    sandbox.control(mailboxes=["pve@example.com", "other@example.com", "third@example.com"])
    assert host.admin("setup", "--no-test", GRAPH_SENDER="other@example.com").returncode == 0
    assert values_of(host.config)["GRAPH_SENDER"] == "other@example.com"
    values = host.folder / "values"
    values.write_text("MAIL_TO=c@example.com\nGRAPH_SENDER=pve@example.com\n")
    assert host.admin("setup", "--no-test", "--from", str(values), "--sender", "third@example.com").returncode == 0
    assert (values_of(host.config)["MAIL_TO"], values_of(host.config)["GRAPH_SENDER"]) == ("c@example.com", "third@example.com")
    assert (
        "GRAPH_CLIENT_ID is missing"
        in host.admin("setup", PROXMOX_GRAPH_MAIL_CONFIG=f"{host.folder}/none", GRAPH_TENANT_ID="a.example").stderr
    )


def test_a_secret_that_is_wrong_writes_nothing(host: Host, sandbox: Sandbox) -> None:
    """The file stays as it was; the reason is said."""
    bare(host, sandbox)
    before = host.config.read_text()
    done = host.admin(*given(sandbox), stdin=b"wrong~secret\n")
    assert done.returncode == 78
    assert "the client secret is wrong" in done.stderr
    assert host.config.read_text() == before


def test_a_certificate_is_made_here_and_its_key_stays(host: Host, sandbox: Sandbox) -> None:
    """What is to be uploaded is beside it; after the upload it works."""
    bare(host, sandbox)
    about = sandbox.about
    pem = host.folder / "app.pem"
    argv = ["setup", "--certificate", "--no-test", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"],
            "--mail-to", "admin@example.com", "--object-id", about["application"]]  # fmt: skip
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
        screen.until("Press Enter when the certificate is uploaded")
        public = Path("/etc/proxmox-graph-mail.crt")
        sandbox.control(upload=public.read_text())
        screen.type("")
        screen.until("Mailbox to send as")
        screen.type("pve@example.com")
        screen.until("Who gets mail for root")
        screen.type("admin@example.com")
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
        ("A=1", {"A": "a#b"}, "A='a#b'\n"), ("\ufeffA=1\n", {"A": "2"}, "A=2\n"), ("A='a\nb'\nB=1\n", {"A": "c"}, "A=c\nB=1\n"),
        ("# about\n\n#A=1\n\nB=1\n", {"A": "2"}, "# about\n\nA=2\n\nB=1\n"), ("export A=1\n", {"A": "2"}, "A=2\n"),
    ],
)  # fmt: skip
def test_a_key_is_written_into_its_place(text: str, values: dict[str, str], after: str, tmp_path: Path) -> None:
    """…and is read back as it was meant."""
    assert changed(text, values) == after


def test_a_file_that_says_it_all_keeps_its_inode(tmp_path: Path) -> None:
    """Nothing is written; but where anybody may read it, it is."""
    path = tmp_path / "conf"
    assert settings_file.write(path, {"MAIL_TO": "a@example.com"}) is True
    before = path.stat().st_ino
    assert settings_file.write(path, {"MAIL_TO": "a@example.com"}) is False
    assert path.stat().st_ino == before
    path.chmod(0o644)
    assert settings_file.write(path, {"MAIL_TO": "a@example.com"}) is True
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "secret",
    ["plain~Secret.8Q", "back\\\\slash\\n", "with space", "it's", 'say "x"', "a'b\"c$d\\e", "#hash", "${HOME}", "tab\tin", "=="],
)
def test_every_secret_survives_the_file(secret: str, tmp_path: Path) -> None:
    """Written, and read back by the settings."""
    path = tmp_path / "conf"
    path.write_text(changed("", {"GRAPH_CLIENT_SECRET": secret}))
    assert values_of(path)["GRAPH_CLIENT_SECRET"] == secret


@pytest.mark.parametrize("kind", list(Kind))
def test_the_scripts_have_this_host_s_values(online: Host, sandbox: Sandbox, kind: Kind) -> None:
    """No placeholder is left; names are quoted; the superseded policy is named as such; the object ID is the token's."""
    text = online.admin("entra", kind.value, "--name", "it's $HOME").stdout
    assert not re.search(r"@[a-z]+@", text)
    if kind is Kind.RBAC:
        assert f"$principal = '{sandbox.about['principal']}'" in text
        assert "$sender = 'pve@example.com'" in text
        assert "New-ApplicationAccessPolicy" in text
        assert "another.mailbox@example.com" in text
        assert not re.search(r"^[^#]*Connect-MgGraph", text, re.MULTILINE)
    if kind in (Kind.RBAC, Kind.REVOKE):
        assert sandbox.about["client"] in text
    else:
        assert sandbox.about["tenant"] in text
        assert "'its HOME'" in text


@pytest.mark.parametrize(
    ("cloud", "azure", "graph", "exchange"),
    [("usgov", "AzureUSGovernment", "'USGov'", "O365USGovGCCHigh"), ("china", "AzureChinaCloud", "'China'", "O365China")],
)
def test_the_scripts_sign_in_to_the_cloud_of_the_settings(
    online: Host, cloud: str, azure: str, graph: str, exchange: str
) -> None:
    """GRAPH_CLOUD is honoured by all."""
    texts = {kind: online.admin("entra", kind.value, GRAPH_CLOUD=cloud).stdout for kind in Kind}
    assert f"CLOUD='{azure}'" in texts[Kind.CLI]
    assert f"CLOUD='{azure}'" in texts[Kind.REVOKE]
    assert f"$environment = {graph}" in texts[Kind.POWERSHELL]
    assert f"$exchange = '{exchange}'" in texts[Kind.RBAC]


AZ = r"""#!/bin/sh
# What the scripts ask of Azure CLI, with answers of the form that it gives.
echo "$*" >>"$0.log"
case "$*" in
"cloud set --name AzureChinaCloud") ;;
"account show"*) [ -e "$0.in" ] && echo @tenant@ || exit 1 ;;
"login"*) touch "$0.in" ;;
"ad app create --display-name "*) echo @client@ ;;
"ad sp show --id @client@ --query id -o tsv") [ -e "$0.sp" ] && echo @principal@ ;;
"ad sp show --id @client@") [ -e "$0.sp" ] ;;
"ad sp show --id 00000003-0000-0000-c000-000000000000 --query id -o tsv") echo 22222222-0000-0000-0000-000000000000 ;;
"ad sp create --id @client@") touch "$0.sp" ;;
"ad app permission add --id @client@ --api 00000003-0000-0000-c000-000000000000 --api-permissions b633e1c5-b582-4048-a93e-9f11b44c7e96=Role --only-show-errors") ;;
"rest --method GET"*) ;;
"rest --method POST --uri https://graph.microsoft.com/v1.0/servicePrincipals/@principal@/appRoleAssignments "*) ;;
"ad app credential reset --id @client@ --append --display-name "*" --years 2 --query password -o tsv") echo '@secret@' ;;
"ad app credential reset --id @client@ --append --cert @"*) for last; do :; done; cp "${last#@}" "$0.crt" ;;
"ad app credential list --id @client@ "*) echo 2028-11-26T10:00:00Z ;;
"ad app show --id @client@ --query id -o tsv") echo @application@ ;;
*) echo "az: unexpected: $*" >&2; exit 2 ;;
esac
"""


def azure_cli(host: Host, sandbox: Sandbox) -> Path:
    """An `az` that answers as the stand-in's tenant would."""
    text = AZ
    for word in ("tenant", "client", "principal", "application", "secret"):
        text = text.replace(f"@{word}@", sandbox.about[word])
    path = host.folder / "cloud-shell" / "az"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_one_line_for_cloud_shell_and_its_block_is_pasted_back(host: Host, sandbox: Sandbox) -> None:
    """The line that setup shows, run with an `az`, prints what setup takes; the certificate goes with it."""
    bare(host, sandbox)
    az = azure_cli(host, sandbox)
    host.env["GRAPH_CLIENT_CERTIFICATE"] = str(host.folder / "app.pem")
    screen = at_terminal(host, "--no-test", "--certificate", "--mail-to", "admin@example.com")
    screen.until(FIRST)
    line = re.search(r"^bash <\(echo .*\)$", screen.screen, re.MULTILINE)
    assert line is not None
    env = {"PATH": f"{az.parent}:{os.environ['PATH']}", "HOME": str(host.folder)}
    shell = subprocess.run(["bash", "-c", line[0]], env=env, capture_output=True, text=True, check=False)
    assert shell.returncode == 0, shell.stderr
    assert "GRAPH_CLIENT_SECRET" not in shell.stdout
    uploaded = az.with_name("az.crt").read_text()
    assert uploaded.split() == (host.folder / "app.crt").read_text().split()
    sandbox.control(upload=uploaded)
    screen.until_hidden()
    screen.type(shell.stdout.strip() + "\n")
    answer(screen, ("Mailbox to send as", "pve@example.com"))
    assert screen.close() == 0, screen.screen
    assert "the certificate can be renewed" in screen.screen
    assert values_of(host.config)["GRAPH_OBJECT_ID"] == sandbox.about["application"]


@pytest.mark.parametrize("restricted", [False, True])
def test_the_script_grants_or_leaves_it_to_exchange(host: Host, sandbox: Sandbox, restricted: bool) -> None:
    """With --restricted no tenant-wide right exists at any time; a secret is printed once, in the block."""
    az = azure_cli(host, sandbox)
    bare(host, sandbox)
    text = host.admin("entra", "cli", *(["--restricted"] if restricted else [])).stdout
    env = {"PATH": f"{az.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=text, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"GRAPH_CLIENT_SECRET='{sandbox.about['secret']}'\nCREDENTIAL_EXPIRES=2028-11-26\n" in done.stdout
    asked = az.with_name("az.log").read_text()
    assert ("appRoleAssignments" in asked, "permission add" in asked) == (not restricted, not restricted)
    assert cloud_shell_line({}).startswith("bash <(echo ")


@pytest.mark.parametrize("kind", [Kind.CLI, Kind.REVOKE])
def test_the_shell_scripts_are_shell(online: Host, kind: Kind) -> None:
    """`sh -n` takes them, and they stop at the first error."""
    text = online.admin("entra", kind.value).stdout
    assert subprocess.run(["sh", "-n"], input=text.encode(), check=False).returncode == 0
    assert "set -eu" in text


def given(sandbox: Sandbox, *more: str) -> list[str]:
    about = sandbox.about
    return ["setup", "--no-test", "--tenant", about["tenant"], "--client", about["client"], "--sender", about["sender"],
            "--mail-to", "admin@example.com", "--secret-file", "-", *more]  # fmt: skip


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
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert words in done.stderr
    assert host.config.read_text() == before


def test_a_proxy_that_is_dead_is_met_here_too(host: Host, sandbox: Sandbox) -> None:
    """As by check and the queue runner."""
    bare(host, sandbox)
    before = host.config.read_text()
    argv = [word for word in given(sandbox) if word != "--no-test"]
    done = host.admin(*argv, stdin=sandbox.about["secret"].encode() + b"\n", HTTPS_PROXY="http://127.0.0.1:1")
    assert done.returncode == 78
    assert "cannot connect through the proxy of HTTPS_PROXY to localhost" in done.stderr
    assert host.config.read_text() == before
