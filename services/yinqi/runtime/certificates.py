"""Certificates for development: an authority of this machine, and one certificate for each service and client.

Production brings its own (cert-manager on Kubernetes, or a company's authority); nothing here signs for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from yinqi.kernel.clock import Clock
from yinqi.runtime.durable_files import write_durably
from yinqi.runtime.tls import TlsInvalid, invalid, read_key

_AUTHORITY_LIFETIME = timedelta(days=3650)
_LEAF_LIFETIME = timedelta(days=365)
_RENEWED_BEFORE_END = timedelta(days=30)
_BACKDATED = timedelta(hours=1)  # clocks of machines differ
AUTHORITY = "ca"


def make_certificates(
    folder: Path,
    *,
    services: Sequence[str],
    clients: Mapping[str, str],
    trust_domain: str,
    clock: Clock,
    hosts: Sequence[str] = (),
) -> list[str]:
    """Make what is missing or ends within 30 days; return the names of what was made.

    Args:
        folder: gets `ca.crt`, and for each name `<name>.crt` and `<name>.key`; keys are readable by their owner only.
        services: get `spiffe://<trust domain>/service/<name>`, and answer as localhost, by name and at the hosts.
        clients: role lists, separated by commas, by name; they get `spiffe://<trust domain>/client/<name>`, and
            `clients.toml` says what they may do, unless it is there.
        hosts: further names or addresses of services.
    Raises:
        TlsInvalid: the folder cannot be written, or holds a key that cannot be used.
    """
    now = clock.now()
    made: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        authority, authority_key, is_new = _authority(folder, trust_domain, now)
        if is_new:
            made.append(AUTHORITY)
        for kind, names in (("service", services), ("client", clients)):
            for name in names:
                file = folder / f"{name}.crt"
                if not is_new and _lasts(file, authority, now):
                    continue
                uri = f"spiffe://{trust_domain}/{kind}/{name}"
                certificate, key = _leaf(authority, authority_key, uri, name, hosts if kind == "service" else None, now)
                # The key first: whoever watches takes the pair when both fit.
                write_durably(folder / f"{name}.key", _pem_of(key), 0o600)
                write_durably(file, certificate.public_bytes(Encoding.PEM), 0o644)
                made.append(name)
        roles_file = folder / "clients.toml"
        if not roles_file.exists():
            write_durably(roles_file, _roles(clients).encode(), 0o644)
    except OSError as error:
        raise invalid(folder, f"cannot be written ({error.strerror})", "无法写入") from None
    return made


def uri_names(certificate: x509.Certificate) -> list[str]:
    """Return the URIs among a certificate's names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _authority(
    folder: Path, trust_domain: str, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    certificate_file, key_file = folder / f"{AUTHORITY}.crt", folder / f"{AUTHORITY}.key"
    if certificate_file.exists() and key_file.exists():
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = read_key(key_file)
        if isinstance(key, ec.EllipticCurvePrivateKey) and now + _LEAF_LIFETIME < certificate.not_valid_after_utc:
            return certificate, key, False
    elif certificate_file.exists():
        raise TlsInvalid(
            "TLS_INVALID",
            f"{certificate_file} is there without its key: these certificates come from elsewhere, nothing is made here. "
            "Ask who made them, or choose another folder.",
            f"{certificate_file} 存在但没有对应私钥：证书来自别处，此处不再生成。",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} development CA")])
    certificate = (
        _builder(name, name, key, now, now + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_durably(key_file, _pem_of(key), 0o600)
    write_durably(certificate_file, certificate.public_bytes(Encoding.PEM), 0o644)
    return certificate, key, True


def _leaf(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    uri: str,
    name: str,
    hosts: Sequence[str] | None,
    now: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return a certificate and its key; `hosts` None: it may call, but not serve."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if hosts is not None:
        names += [_host(host) for host in dict.fromkeys(("localhost", "127.0.0.1", "::1", name, *hosts))]
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, authority.subject, key, now, now + _LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _lasts(file: Path, authority: x509.Certificate, now: datetime) -> bool:
    if not file.exists() or not file.with_suffix(".key").exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return certificate.issuer == authority.subject and now + _RENEWED_BEFORE_END < certificate.not_valid_after_utc


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _roles(clients: Mapping[str, str]) -> str:
    lines = ["# What client certificates may do 客户端证书的权限. Read again when it changes.", ""]
    for name, roles in clients.items():
        listed = ", ".join(f'"{role.strip()}"' for role in roles.split(","))
        lines += ["[[client]]", f'name = "{name}"', f"roles = [{listed}]", ""]
    return "\n".join(lines)
