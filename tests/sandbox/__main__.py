"""`python -m tests.sandbox DIR [--port N] [--latency SECONDS]`: CA and credentials, DIR/sandbox.json, then serve."""

import argparse
import asyncio
import datetime
import json
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from tests.sandbox.entra import thumbprint
from tests.sandbox.server import serve
from tests.sandbox.world import CLIENT, FEDERATION, TENANT, World


def private(path: Path, content: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    asked = parser.parse_args()
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder, latency=asked.latency)

    ca = trustme.CA()
    server = ca.issue_cert("localhost", "127.0.0.1")
    ca_file = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.pem").unlink(missing_ok=True)
    for blob in server.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    world.certificates[thumbprint(certificate.public_bytes(Encoding.DER))] = public
    world.idp_key = public
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def ready(base: str) -> None:
        about = {
            "url": base,
            "tenant": TENANT,
            "client": CLIENT,
            "secret": world.secret,
            "ca_file": str(ca_file),
            "certificate": private(folder / "app.pem", pem + certificate.public_bytes(Encoding.PEM)),
            "idp_key": private(folder / "idp.key", pem),
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
