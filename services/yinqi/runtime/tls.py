"""Certificates and keys of TLS: read, checked in words, watched; and what channels are opened with."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.durable_files import Stamp, stamp_of
from yinqi.runtime.settings import Settings

OFF = "off"
MUTUAL = "mutual"
CLIENT = "client"  # the certificate that our own commands show
CONSOLE = "console"
_RSA_BITS_MIN = 2048
_LOOPBACK = ("127.", "localhost", "::1", "[::1]")
_MAKE = "`yinqi certs create` makes certificates for development"
_MAKE_ZH = "开发环境可用 `yinqi certs create` 生成"


class TlsInvalid(FailedPrecondition):
    """A certificate or key of TLS is missing, too old, open to others or too weak; nothing is served or called with it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where one program's certificate is."""

    certificate: Path
    key: Path
    authorities: Path
    revocation_lists: Path | None

    def stamp(self) -> Stamp:
        """Return what changes when one of the files does."""
        return stamp_of((self.certificate, self.key, self.authorities, self.revocation_lists))


@dataclass(frozen=True, slots=True)
class Material:
    """The contents of the files, PEM, checked."""

    certificate: bytes
    key: bytes
    authorities: bytes
    revocation_lists: bytes


def files_of(settings: Settings, name: str) -> TlsFiles:
    """Return the files of a service, of the console or of our own commands ("client")."""
    return TlsFiles(
        settings.tls_file(settings.tls_certificate_file, name),
        settings.tls_file(settings.tls_key_file, name),
        settings.tls_file(settings.tls_ca_file, name),
        settings.tls_file(settings.tls_crl_file, name) if settings.tls_crl_file else None,
    )


def read(files: TlsFiles, clock: Clock | None = None) -> Material:
    """Read and check the files.

    Raises:
        TlsInvalid: names the file, what is wrong with it and what to do.
    """
    authorities = _contents(files.authorities, "YINQI_TLS_CA_FILE")
    _certificates(files.authorities, authorities)
    content = _contents(files.certificate, "YINQI_TLS_CERTIFICATE_FILE")
    leaf = _certificates(files.certificate, content)[0]
    check_dates(files.certificate, leaf, (clock or SystemClock()).now())
    key = read_key(files.key)
    if _spki(key) != leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise invalid(files.key, f"is not the key of {files.certificate}", f"与证书 {files.certificate} 不匹配")
    lists = _contents(files.revocation_lists, "YINQI_TLS_CRL_FILE") if files.revocation_lists else b""
    if lists and not lists.lstrip().startswith(b"-----BEGIN X509 CRL-----"):
        raise invalid(files.revocation_lists, "is no revocation list in PEM", "不是 PEM 格式的吊销列表")
    return Material(content, _contents(files.key, ""), authorities, lists)


def read_key(
    file: Path,
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    """Return a private key that is strong enough and that only its owner and group may read.

    Raises:
        TlsInvalid: it is open to others, encrypted, weak, or no key.
    """
    content = _contents(file, "YINQI_TLS_KEY_FILE")
    # The group may: on Kubernetes that is how a pod's user reads a mounted Secret.
    if file.stat().st_mode & stat.S_IRWXO:
        raise invalid(
            file, f"can be read by everybody on this machine; run `chmod 600 {file}`", "人人可读，请 chmod 600"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise invalid(file, "is encrypted; TLS keys are protected by the folder's owner", "已加密，不能使用") from None
    except ValueError:
        raise invalid(file, "is no private key in PEM", "不是 PEM 格式的私钥") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _RSA_BITS_MIN:
            raise invalid(
                file,
                f"is too weak: RSA with {key.key_size} bits, at least {_RSA_BITS_MIN} are needed; better P-256",
                f"强度不足：RSA {key.key_size} 位，至少 {_RSA_BITS_MIN} 位",
            )
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise invalid(file, "is of a kind not taken here; use P-256, P-384, Ed25519 or RSA", "算法不受支持")


def check_dates(file: Path, certificate: x509.Certificate, now: datetime) -> None:
    """Return if the certificate is valid now.

    Raises:
        TlsInvalid: it has expired or is not valid yet; names the date.
    """
    if now > certificate.not_valid_after_utc:
        until = certificate.not_valid_after_utc
        raise invalid(file, f"expired on {until:%Y-%m-%d %H:%M} UTC; renew it", f"已于 {until:%Y-%m-%d %H:%M} UTC 过期")
    if now < certificate.not_valid_before_utc:
        since = certificate.not_valid_before_utc
        raise invalid(
            file,
            f"is valid only from {since:%Y-%m-%d %H:%M} UTC; is this machine's clock right?",
            f"自 {since:%Y-%m-%d %H:%M} UTC 起才有效，请检查系统时间",
        )


def invalid(file: Path | None, words: str, words_zh: str) -> TlsInvalid:
    """Return the error for a file of TLS."""
    return TlsInvalid("TLS_INVALID", f"{file} {words}.", f"TLS 文件 {file} {words_zh}。", metadata={"file": str(file)})


def require_loopback_without_tls(settings: Settings, service: str, host: str) -> None:
    """Return unless plain text would be served to other machines.

    Raises:
        TlsInvalid: says what to set.
    """
    if settings.tls_mode == OFF and not host.startswith(_LOOPBACK):
        raise TlsInvalid(
            "TLS_OFF_OUTSIDE",
            f"{service} would serve plain text on {host}: YINQI_TLS_MODE=off is for this machine's own addresses only. "
            f"Set YINQI_TLS_MODE=mutual and bring certificates ({_MAKE}), or YINQI_HOST=127.0.0.1.",
            f"{service} 将在 {host} 上提供明文服务：YINQI_TLS_MODE=off 仅限本机地址。请改用 mutual 并配置证书。",
        )


def channel_credentials(settings: Settings, name: str) -> grpc.ChannelCredentials | None:
    """Return what to open a channel with as `name`; None for plain text.

    Raises:
        TlsInvalid: see `read`.
    """
    if settings.tls_mode == OFF:
        return None
    files = files_of(settings, name)
    if settings.tls_mode != MUTUAL and not files.certificate.exists():
        authorities = _contents(files.authorities, "YINQI_TLS_CA_FILE")
        return grpc.ssl_channel_credentials(root_certificates=authorities)
    material = read(files)
    return grpc.ssl_channel_credentials(material.authorities, material.key, material.certificate)


def channel_to(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, Any]] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Return a channel that adds nothing to calls; `credentials` None: plain text."""
    # Sisters are never behind the machine's web proxy.
    options = [*options, ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptors)


def _contents(file: Path, variable: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        words = f"cannot be read ({error.strerror})"
        raise invalid(file, f"{words}; {_MAKE}, {variable} names another file", f"无法读取；{_MAKE_ZH}") from None


def _certificates(file: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise invalid(file, "holds no certificate in PEM", "不含 PEM 格式的证书") from None


def _spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
