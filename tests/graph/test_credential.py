"""Each kind of credential gets a token from the stand-in for Entra; each refusal is a sentence."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import msal.managed_identity
import pytest

from proxmox_graph_mail.errors import CredentialError, SettingsError
from proxmox_graph_mail.graph import http
from proxmox_graph_mail.graph.cloud import CLOUDS, cloud
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.graph.entra import TokenEndpoint
from proxmox_graph_mail.graph.http import Wire
from tests.programs import Sandbox


def credential(sandbox: Sandbox, kind: str = "secret", **other: Any) -> Credential:
    about = sandbox.about
    files = {"certificate": Path(about["certificate"])}
    made = Credential(
        cloud("global", sandbox.url, sandbox.url), about["tenant"], about["client"], kind,
        about["secret"] if kind == "secret" else "", files.get(kind),
    )  # fmt: skip
    return dataclasses.replace(made, **other)


@contextmanager
def wire_to(sandbox: Sandbox) -> Iterator[Wire]:
    """The HTTP client, without a proxy."""
    with closing(Wire(Path(sandbox.about["ca_file"]), "", "", [])) as wire:
        yield wire


def acquire(sandbox: Sandbox, who: Credential, claims: str | None = None) -> str:
    with wire_to(sandbox) as wire:
        token = TokenEndpoint(who, wire).acquire(time.time(), claims)
    assert 3000 < token.expires - time.time() < 3700
    assert token.value not in repr(token)
    return token.value


def refused(sandbox: Sandbox, who: Credential) -> CredentialError:
    with wire_to(sandbox) as wire, pytest.raises(CredentialError) as caught:
        TokenEndpoint(who, wire).acquire(time.time())
    assert caught.value.shared
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_discovery_is_asked_once_in_a_process(sandbox: Sandbox, tmp_path: Path) -> None:
    """MSAL's app object is kept, and gives a new token each time all the same; a certificate's assertion is made anew."""
    for kind in ("secret", "certificate"):
        before = sandbox.counts()
        with wire_to(sandbox) as wire:
            endpoint = TokenEndpoint(credential(sandbox, kind), wire)
            assert len({endpoint.acquire(time.time()).value for _ in range(3)}) == 3
        after = sandbox.counts()
        assert after["discovery"] - before["discovery"] == 1
        assert after["token"] - before["token"] == 3
    path = assertion(sandbox, tmp_path)
    with wire_to(sandbox) as wire:
        endpoint = TokenEndpoint(credential(sandbox, "federated", file=path), wire)
        assert endpoint.acquire(time.time()).value
        path.write_text("no assertion any more")
        with pytest.raises(CredentialError):
            endpoint.acquire(time.time())


def assertion(sandbox: Sandbox, folder: Path, **claims: Any) -> Path:
    """A federated assertion as an identity provider would write it."""
    about = sandbox.about
    federation = about["federation"]
    content = {
        "iss": federation["issuer"], "sub": federation["subject"], "aud": federation["audience"],
        "iat": int(time.time()), "exp": int(time.time()) + 600,
    }  # fmt: skip
    path = folder / "assertion"
    path.write_text(jwt.encode(content | claims, Path(about["idp_key"]).read_text(), "RS256") + "\n")
    return path


def test_a_secret(sandbox: Sandbox) -> None:
    """GRAPH_CLIENT_SECRET."""
    assert acquire(sandbox, credential(sandbox))


def test_a_certificate_signs_ps256_with_its_sha256_thumbprint(sandbox: Sandbox) -> None:
    """The stand-in takes nothing else."""
    assert acquire(sandbox, credential(sandbox, "certificate"))


def test_a_federated_assertion(sandbox: Sandbox, tmp_path: Path) -> None:
    """The file is read at each acquisition."""
    assert acquire(sandbox, credential(sandbox, "federated", file=assertion(sandbox, tmp_path)))


def test_the_claims_of_a_challenge_reach_entra(sandbox: Sandbox) -> None:
    """…merged with the client capability cp1."""
    value = acquire(sandbox, credential(sandbox), claims='{"access_token":{"nbf":{"essential":true,"value":"1"}}}')
    claims = json.loads(jwt.decode(value, options={"verify_signature": False})["claims"])
    assert claims["access_token"]["nbf"]["value"] == "1"
    assert claims["access_token"]["xms_cc"]["values"] == ["CP1"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"secret": "wrong"}, "the client secret is wrong"),
        ({"client": "00000000-0000-0000-0000-000000000000"}, "the app is not in this tenant"),
        ({"tenant": "00000000-0000-0000-0000-000000000000"}, "Entra does not know the tenant"),
        ({"kind": "federated", "file": Path("/nowhere")}, "cannot read GRAPH_FEDERATED_TOKEN_FILE /nowhere: No such file"),
        ({"kind": "certificate", "file": Path("/nowhere")}, "cannot read GRAPH_CLIENT_CERTIFICATE /nowhere: No such file"),
        ({"kind": "certificate", "file": Path("/etc/passwd")}, "does not hold both a private key and its certificate"),
    ],
)
def test_refusals_are_held_and_say_what_to_do(sandbox: Sandbox, change: dict[str, Any], says: str) -> None:
    """The mail waits, the admin acts."""
    error = refused(sandbox, credential(sandbox, **change))
    assert not error.temporary
    assert says in str(error)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": 1}, "check this host's clock"),
        ({"sub": "host:other"}, "subject"),
        ({"aud": "x"}, "audience"),
        ({"iss": "x"}, "certificate"),
    ],
)
def test_federated_assertions_that_do_not_match(sandbox: Sandbox, tmp_path: Path, claims: dict[str, Any], says: str) -> None:
    """Issuer, subject, audience, time."""
    error = refused(sandbox, credential(sandbox, "federated", file=assertion(sandbox, tmp_path, **claims)))
    assert not error.temporary
    assert says in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "token", "do": "status", "status": 503, "code": "temporarily_unavailable", "retry_after": "7"},
        {"on": "token", "do": "status", "status": 500, "code": "x"},
        {"on": "token", "do": "garbage", "status": 200},
        {"on": "discovery", "do": "garbage", "status": 200},
        {"on": "discovery", "do": "status", "status": 503, "code": "x"},
        {"on": "token", "do": "cut_before"},
        {"on": "token", "do": "giant", "status": 200},
        {"on": "token", "do": "redirect"},
    ],
    ids=str,
)
def test_trouble_at_entra_is_transient(sandbox: Sandbox, fault: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """No token request that breaks off can have sent a mail; nothing of the answer is logged."""
    sandbox.faults(fault)
    error = refused(sandbox, credential(sandbox))
    assert error.temporary
    assert error.retry_after == float(fault.get("retry_after", 0))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "fault",
    [{"on": "token", "status": 503}, {"on": "discovery", "status": 503}, {"on": "discovery", "do": "garbage", "status": 200}],
)
def test_an_answer_is_not_repeated_for_entra(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """MSAL remembers a 503 for seconds and a discovery (a captive portal's page) for a day, and would not ask again: that looks
    like no answer at all, and permanent."""
    sandbox.faults(fault)
    with wire_to(sandbox) as wire:
        endpoint = TokenEndpoint(credential(sandbox), wire)
        with pytest.raises(CredentialError) as caught:
            endpoint.acquire(time.time())
        assert caught.value.temporary
        assert endpoint.acquire(time.time()).value


def test_nobody_listens(sandbox: Sandbox) -> None:
    """A refused connection names the host."""
    who = credential(sandbox, cloud=cloud("global", "https://localhost:1", "https://localhost:1"))
    error = refused(sandbox, who)
    assert error.temporary
    assert "cannot connect to localhost" in str(error)


def test_an_untrusted_certificate_names_the_ca_file(sandbox: Sandbox) -> None:
    """An inspecting proxy looks like this."""
    with closing(Wire(None, "", "", [])) as wire, pytest.raises(CredentialError) as caught:
        TokenEndpoint(credential(sandbox), wire).acquire(time.time())
    assert not caught.value.temporary
    assert "GRAPH_CA_FILE" in str(caught.value)


@pytest.mark.filterwarnings("ignore:Use list:DeprecationWarning")  # MSAL's own, of MSAL's own
def test_azure_arc_s_managed_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Challenge, key file, token; the endpoint is asked directly."""
    (tmp_path / "challenge.key").write_text("arc-key")
    seen = []

    class Arc(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            if self.headers.get("Authorization") != "Basic arc-key":
                self.send_response(401)
                self.send_header("WWW-Authenticate", f"Basic realm={tmp_path}/challenge.key")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"access_token": "arc-token", "expires_in": "3599", "resource": "x"}).encode())

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setitem(msal.managed_identity._supported_arc_platforms_and_their_prefixes, "linux", str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), Arc) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/metadata/identity/oauth2/token")
        monkeypatch.setenv("IMDS_ENDPOINT", "http://127.0.0.1:1")
        with closing(Wire(None, "http://127.0.0.1:1", "", ["graph.microsoft.com"])) as wire:
            token = TokenEndpoint(Credential(CLOUDS["global"], "", "", "managed-identity"), wire).acquire(1000.0)
        server.shutdown()
    assert (token.value, token.expires) == ("arc-token", 4599.0)
    assert "resource=https%3A%2F%2Fgraph.microsoft.com" in seen[0][0]


@pytest.mark.parametrize("name", list(CLOUDS))
def test_clouds(name: str) -> None:
    """Authority and endpoint of each, and the scope that goes with it."""
    found = cloud(name)
    assert found.authority.startswith("https://login.")
    assert found.scope == f"{found.endpoint}/.default"
    assert cloud(name, "https://a.example", "https://b.example").scope == "https://b.example/.default"


def test_the_key_of_the_cache_tells_credentials_apart_and_tells_no_secret(sandbox: Sandbox) -> None:
    """Cloud, tenant, client and fingerprint."""
    one = credential(sandbox)
    others = [
        dataclasses.replace(one, secret="other"), dataclasses.replace(one, tenant="other"), dataclasses.replace(one, client="other"),
        dataclasses.replace(one, cloud=CLOUDS["china"]), credential(sandbox, "certificate"),
    ]  # fmt: skip
    assert len({one.key, *(other.key for other in others)}) == 6
    assert sandbox.about["secret"] not in one.key + repr(one)


def test_a_ca_file_that_is_none_is_a_settings_error(tmp_path: Path) -> None:
    """It names key and file."""
    (tmp_path / "ca").write_text("nonsense")
    with pytest.raises(SettingsError, match=r"GRAPH_CA_FILE .*/ca: no PEM certificates"):
        Wire(tmp_path / "ca", "", "", [])
    with pytest.raises(SettingsError, match="No such file"):
        Wire(tmp_path / "absent", "", "", [])


@pytest.mark.parametrize(
    ("no_proxy", "direct"), [("", False), ("localhost", True), ("*", True), (".example.com,host", True), ("example.org", False)]
)
def test_no_proxy(no_proxy: str, direct: bool) -> None:
    """Names, domains above, and *."""
    host = "host" if "host" in no_proxy and "local" not in no_proxy else "localhost"
    assert http._bypassed(host, no_proxy) is direct
