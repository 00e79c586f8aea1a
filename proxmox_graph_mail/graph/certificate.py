"""The app's certificate: made on this host, where its private key stays; and the words to show it by."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

KEY_BITS = 3072  # NIST SP 800-57 Part 1: enough beyond 2030; Entra takes RSA alone for PS256
LIFE = 730  # days; tenants limit it to two years more often than to anything else


@dataclass(frozen=True, slots=True)
class Made:
    """A new key and certificate: `pem` is both (the settings' file), `public` the certificate alone (what is uploaded)."""

    pem: bytes
    public: bytes
    der: bytes
    thumbprint: str
    ends: datetime


def make(host: str, days: int = LIFE, now: datetime | None = None) -> Made:
    """A key and a self-signed certificate for the app on this host."""
    begin = now or datetime.now(UTC)
    key = rsa.generate_private_key(65537, KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"proxmox-graph-mail on {host}"[:64])])
    ends = begin + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(begin - timedelta(minutes=5)).not_valid_after(ends)
        .sign(key, SHA256())
    )  # fmt: skip
    public = certificate.public_bytes(Encoding.PEM)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + public
    return Made(pem, public, certificate.public_bytes(Encoding.DER), certificate.fingerprint(SHA1()).hex().upper(), ends)  # noqa: S303


@dataclass(frozen=True, slots=True)
class Known:
    """A certificate: its DER, its SHA-256 fingerprint in hex, its end; as it is uploaded (PEM), and as the portal shows it."""

    der: bytes
    fingerprint: str
    ends: datetime
    public: bytes
    thumbprint: str


def read(pem: bytes) -> Known:
    """The certificate in the bytes of a PEM file that has its private key too. Raises ValueError, which says what is wrong."""
    try:
        load_pem_private_key(pem, password=None)
        known = x509.load_pem_x509_certificates(pem)[0]
    except TypeError:
        raise ValueError("its private key is encrypted; remove the passphrase") from None
    except ValueError:
        raise ValueError("it does not hold both a private key and its certificate, in PEM") from None
    thumbprint = known.fingerprint(SHA1()).hex().upper()  # noqa: S303 - what the portal shows
    return Known(
        known.public_bytes(Encoding.DER), known.fingerprint(SHA256()).hex(), known.not_valid_after_utc,
        known.public_bytes(Encoding.PEM), thumbprint,
    )  # fmt: skip
