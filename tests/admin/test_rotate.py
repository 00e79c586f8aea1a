"""`rotate`: a new credential in the old one's place; cut at any step, it goes on, and one always works."""

import contextlib
import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from proxmox_graph_mail.errors import RefusedError
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.graph.application import Application
from proxmox_graph_mail.graph.request import Graph
from tests.programs import Host, Sandbox, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the credential is root's")


@pytest.fixture
def certified(online: Host, sandbox: Sandbox) -> Path:
    """A host whose app has a certificate that it renews itself; its file."""
    made = certificate.make("pve1", days=20)
    path = online.folder / "app.pem"
    path.write_bytes(made.pem)
    sandbox.control(upload=made.public.decode())
    settings = sandbox.settings(GRAPH_CLIENT_CERTIFICATE=str(path), GRAPH_OBJECT_ID=sandbox.about["application"])
    settings.pop("GRAPH_CLIENT_SECRET")
    online.settle(settings)
    return path


def works(host: Host) -> bool:
    """Does the present credential send?"""
    host.sendmail("-odq", "root")
    return host.admin("run", "--once").returncode == 0


def days(path: Path) -> int:
    return (certificate.read(path.read_bytes()).ends - datetime.now(UTC)).days


def test_a_certificate_renews_itself(online: Host, sandbox: Sandbox, certified: Path) -> None:
    """Made, registered, proved, switched; the old key goes a day later, if this host registered it."""
    before = len(sandbox.control()["keys"])
    done = online.admin("rotate", "--if-due")
    assert done.returncode == 0, done.stdout + done.stderr
    assert days(certified) > 700
    assert works(online)
    assert len(sandbox.control()["keys"]) == before + 1
    assert {path.name for path in online.folder.glob("app.pem*")} == {"app.pem", "app.pem.old", "app.pem.keys.json"}
    assert all(path.stat().st_mode & 0o007 == 0 for path in online.folder.glob("app.pem.[ok]*") if path.suffix != ".old")
    assert online.admin("rotate", "--if-due").stdout == ""  # neither due nor over its day
    os.utime(f"{certified}.old", (1, 1))
    assert "this host did not register the old key" in online.admin("rotate", "--if-due").stdout
    assert online.admin("rotate").returncode == 0
    os.utime(f"{certified}.old", (1, 1))
    assert "removed the old key from the app" in online.admin("rotate", "--if-due").stdout
    assert len(sandbox.control()["keys"]) == before + 1
    assert works(online)
    assert not Path(f"{certified}.old").exists()


@pytest.mark.parametrize(("on", "do"), [("addKey", "hang"), ("addKey", "cut_after"), ("addKey", "cut_before"), ("token", "hang")])
def test_cut_at_a_step_it_goes_on(online: Host, sandbox: Sandbox, certified: Path, on: str, do: str) -> None:
    """Killed, or cut off: the old one works throughout, and the next run ends it without a second key."""
    keys = len(sandbox.control()["keys"])
    sandbox.faults({"on": on, "do": do, "seconds": 60, "after": 0 if on == "addKey" else 2})
    process = subprocess.Popen(
        online.admin_command("rotate"), env=online.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if do == "hang":
        eventually(lambda: sandbox.control()["faults_left"] == 0, "the fault has struck")
        process.send_signal(signal.SIGKILL)
        sandbox.control(end_hangs=True)
    process.wait(60)
    sandbox.faults()
    assert works(online)
    assert online.admin("rotate").returncode == 0
    assert days(certified) > 700
    assert works(online)
    assert len(sandbox.control()["keys"]) == keys + 1


def test_a_key_that_entra_does_not_take_yet_is_not_used(
    online: Host, sandbox: Sandbox, certified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one stays; the next run goes on."""
    sandbox.faults({"on": "addKey", "status": 403, "code": "Authorization_RequestDenied", "times": 1})
    done = online.admin("rotate")
    assert done.returncode == 69
    assert "Graph refused to add the new key: the app may change only its own keys" in done.stderr
    assert "Mail.Send" not in done.stderr
    assert days(certified) < 30
    assert works(online)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"GRAPH_OBJECT_ID": ""}, "set GRAPH_OBJECT_ID"),
        ({"GRAPH_OBJECT_ID": "0" * 8 + "-0000-0000-0000-" + "0" * 12}, "there is no app registration with this Object ID"),
        ({"GRAPH_OBJECT_ID": "CLIENT"}, "this is the client ID"), ({"GRAPH_OBJECT_ID": "PRINCIPAL"}, "not under Enterprise applications"),
        ({"HTTPS_PROXY": "127.0.0.1:1"}, "cannot connect through the proxy of HTTPS_PROXY"),
        ({"GRAPH_APPLICATION_ID": "APPLICATION"}, "GRAPH_APPLICATION_ID: unknown key; did you mean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(online: Host, sandbox: Sandbox, certified: Path, change: dict[str, str], words: str) -> None:
    """The key that is wrong, and where the right value stands; nothing of sendMail. The old certificate stays."""
    change = {key: sandbox.about.get(value.lower(), value) for key, value in change.items()}
    sandbox.control(forget=True)
    right = {"GRAPH_OBJECT_ID": sandbox.about["application"]}
    settings = sandbox.settings(GRAPH_CLIENT_CERTIFICATE=str(certified), **(right | change))
    settings.pop("GRAPH_CLIENT_SECRET")
    online.settle(settings)
    done = online.admin("rotate")
    assert done.returncode != 0
    assert words in done.stderr
    assert "GRAPH_SENDER" not in done.stderr
    assert "unforeseen" not in done.stderr
    assert days(certified) < 30


def test_a_certificate_that_has_ended_cannot_renew_itself(online: Host, certified: Path) -> None:
    """It says what to do instead."""
    certified.write_bytes(certificate.make("pve1", days=5, now=datetime.now(UTC) - timedelta(10)).pem)
    done = online.admin("rotate")
    assert done.returncode == 64
    assert "setup --certificate" in done.stderr.replace("\n", " ")


def test_a_new_secret_is_proved_before_it_is_written(online: Host, sandbox: Sandbox) -> None:
    """A wrong one changes nothing; the right one is in the file, with its end; it is never on a command line."""
    before = online.config.read_text()
    done = online.admin("rotate", "--secret-file", "-", stdin=b"wrong~secret\n")
    assert done.returncode == 69
    assert "the client secret is wrong" in done.stderr
    assert online.config.read_text() == before
    assert "a GUID" in online.admin("rotate", "--secret-file", "-", stdin=b"5d8f6f0e-54c1-4b4c-8f0a-2b2f0a4bd4f1\n").stderr
    sandbox.control(secret="new~secret'with\"quotes")
    done = online.admin("rotate", "--secret-file", "-", "--expires", "2028-01-31", stdin=b"new~secret'with\"quotes\n")
    assert done.returncode == 0, done.stderr
    assert "CREDENTIAL_EXPIRES=2028-01-31" in online.config.read_text()
    assert "new~secret" not in done.stdout + done.stderr
    assert works(online)
    assert "there is no terminal to ask on" in online.admin("rotate").stderr


def test_if_due_leaves_everything_else_alone(online: Host, sandbox: Sandbox) -> None:
    """A secret, and a certificate with time to go."""
    assert (online.admin("rotate", "--if-due").returncode, time.time() > 0) == (0, True)
    made = certificate.make("pve1", days=40)
    path = online.folder / "app.pem"
    path.write_bytes(made.pem)
    online.settle(sandbox.settings(GRAPH_CLIENT_CERTIFICATE=str(path)))
    assert online.admin("rotate", "--if-due").returncode == 0
    assert path.read_bytes() == made.pem
    assert json.dumps(sorted(p.name for p in online.folder.glob("app.pem*"))) == '["app.pem"]'


@pytest.mark.parametrize(
    "content", [None, b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"], ids=str
)
def test_a_file_that_is_no_certificate_is_one_sentence(online: Host, certified: Path, content: bytes | None) -> None:
    """Missing, empty, garbage, half: what is wrong, where, and what to do; never "unforeseen"."""
    certified.unlink()
    if content is not None:
        certified.write_bytes(content)
    for argv in (["rotate"], ["rotate", "--if-due"]):
        done = online.admin(*argv)
        assert (done.returncode, done.stderr.count("\n")) == (66, 1), done.stderr
        assert str(certified) in done.stderr
        assert "unforeseen" not in done.stderr


def test_a_key_without_its_certificate_and_the_reverse(online: Host, certified: Path) -> None:
    """Each half alone."""
    pem = certified.read_bytes()
    cut = pem.index(b"-----BEGIN CERTIFICATE")
    for half in (pem[:cut], pem[cut:]):
        certified.write_bytes(half)
        done = online.admin("rotate")
        assert (done.returncode, "does not hold both a private key and its certificate" in done.stderr) == (66, True), done.stderr


def test_a_secret_s_file_that_is_not_there(online: Host) -> None:
    """One sentence."""
    done = online.admin("rotate", "--secret-file", "/nope")
    assert (done.returncode, done.stderr) == (
        66, "proxmox-graph-mail: cannot read /nope: No such file or directory; correct the path, or the file's owner and mode\n"
    )  # fmt: skip


def test_a_secret_is_proved_through_the_proxy(online: Host, sandbox: Sandbox) -> None:
    """A dead one is named, and nothing is written."""
    online.settle(sandbox.settings(HTTPS_PROXY="127.0.0.1:1"))
    before = online.config.read_text()
    done = online.admin("rotate", "--secret-file", "-", stdin=f"{sandbox.about['secret']}\n".encode())
    assert done.returncode == 69
    assert "cannot connect through the proxy of HTTPS_PROXY" in done.stderr
    assert online.config.read_text() == before


@pytest.mark.parametrize(("status", "removed"), [(404, True), (403, False)])
def test_a_key_that_is_gone_already_is_removed(status: int, removed: bool) -> None:
    """Somebody was faster, or the last run was killed after it; any other refusal is one."""
    error = RefusedError("no", "x", temporary=False)
    error.http_status = status

    class Refusing:
        def call(self, *_: object, **__: object) -> None:
            raise error

    app = Application(cast("Graph", Refusing()), "object")
    pem = certificate.make("pve1").pem
    with contextlib.nullcontext() if removed else pytest.raises(RefusedError):
        app.remove_key(pem, "key", time.time())


def test_a_secret_that_systemd_holds_is_renewed_where_it_is(online: Host, sandbox: Sandbox, tmp_path: Path) -> None:
    """Its file has no KEY=value lines, and is not ours to write."""
    settings = sandbox.settings()
    secret = tmp_path / "graph_client_secret"
    secret.write_text(settings.pop("GRAPH_CLIENT_SECRET"))
    online.settle(settings)
    before = secret.read_text()
    new = sandbox.about["secret"].encode()
    online.env["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    done = online.admin("rotate", "--secret-file", "-", stdin=new)
    assert (done.returncode, secret.read_text()) == (64, before)
    assert f"{secret}: put the new one there" in done.stderr
