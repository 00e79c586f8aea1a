"""`python -m tests.sandbox DIR [--port N] [--latency SECONDS] [--as-microsoft]`: CA and credentials, DIR/sandbox.json, serve.

With --as-microsoft it answers under Microsoft's own names, for a machine whose /etc/hosts leads them here. What lies in
DIR from a run before (keys, certificates, the secret) is used again.
"""

import argparse
import asyncio
import datetime
import json
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tests.sandbox.applications import register
from tests.sandbox.server import serve
from tests.sandbox.world import APPLICATION, CLIENT, FEDERATION, PRINCIPAL, TENANT, World

MICROSOFT = ("login.microsoftonline.com", "graph.microsoft.com")


def private(path: Path, content: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)


def make_server_certificate(folder: Path, names: tuple[str, ...]) -> None:
    """DIR/ca.pem, server.key and server.pem."""
    ca = trustme.CA()
    server = ca.issue_cert(*names)
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    private(folder / "server.key", server.private_key_pem.bytes())
    (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))


def make_app_certificate(path: Path) -> None:
    """The app's key and certificate, as an admin would upload it."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    private(path, pem + certificate.public_bytes(Encoding.PEM))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--as-microsoft", action="store_true")
    asked = parser.parse_args()
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder, latency=asked.latency)
    if asked.as_microsoft:
        world.authority, world.endpoint = (f"https://{name}" for name in MICROSOFT)
    if (folder / "sandbox.json").exists():
        world.secret = json.loads((folder / "sandbox.json").read_text())["secret"]
    else:
        make_server_certificate(folder, ("localhost", "127.0.0.1", *(MICROSOFT if asked.as_microsoft else ())))
        make_app_certificate(folder / "app.pem")

    app = (folder / "app.pem").read_bytes()
    key = load_pem_private_key(app, None)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    register(world, x509.load_pem_x509_certificate(app).public_bytes(Encoding.DER))
    world.idp_key = public
    idp_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def ready(base: str) -> None:
        about = {
            "url": base,
            "tenant": TENANT,
            "client": CLIENT,
            "application": APPLICATION,
            "principal": PRINCIPAL,
            "secret": world.secret,
            "ca_file": str(folder / "ca.pem"),
            "certificate": str(folder / "app.pem"),
            "idp_key": private(folder / "idp.key", idp_key),
            "federation": FEDERATION,
            "sender": "pve@example.com",
        }
        private(folder / "sandbox.new", json.dumps(about, indent=1).encode())
        (folder / "sandbox.new").rename(folder / "sandbox.json")
        print(json.dumps({"url": base}), flush=True)

    config = {"ssl_keyfile": str(folder / "server.key"), "ssl_certfile": str(folder / "server.pem"), "port": asked.port}
    asyncio.run(serve(world, config, ready))


if __name__ == "__main__":
    main()
