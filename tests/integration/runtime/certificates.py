"""Certificates for tests: good ones, and every kind that must be refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.runtime.certificates import make_certificates

DOMAIN = "yinqi"


def make(folder: Path, *, shifted: timedelta = timedelta(), **clients: str) -> None:
    """Make the server "echo", the service "payment" and these clients (roles by name), as if it were another day."""
    clock = FixedClock(SystemClock().now() + shifted)
    make_certificates(folder, services=("echo", "payment"), clients=clients, trust_domain=DOMAIN, clock=clock)


def authority_of(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), key


def make_client(folder: Path, name: str, uris: Sequence[str], *, self_signed: bool = False) -> None:
    """Make a client certificate with these URIs, signed by the folder's authority or by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority, signing_key = authority_of(folder)
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if self_signed else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key if self_signed else signing_key, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    write_key(folder / f"{name}.key", key)


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)


def revoke(folder: Path, *names: str) -> None:
    """Write `crl.pem` with the certificates of these names."""
    authority, key = authority_of(folder)
    now = SystemClock().now()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now - timedelta(hours=1))
        .next_update(now + timedelta(days=1))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for name in names:
        serial = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(hours=1)).build()
        )
    (folder / "crl.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
