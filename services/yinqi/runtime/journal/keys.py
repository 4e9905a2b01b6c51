"""The key that signs a service's seals, and the public keys that check them."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import structlog

from yinqi.crypto import (
    CryptoError,
    GeneralSigningKey,
    GeneralVerifyKey,
    InvalidSignature,
    Signer,
    SigningKey,
    VerifyKey,
    sm3,
)
from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.durable_files import write_durably

_log = structlog.get_logger(__name__)
_KEY_ID_BYTES = 8
SM2 = "sm2-sm3"
ED25519 = "ed25519"


class JournalKeyInvalid(FailedPrecondition):
    """The key that signs the journal's seals is missing, damaged, or open to others."""


def key_id_of(public_key: bytes) -> str:
    """Return what seals call a key: the first 8 bytes of SM3 over its SubjectPublicKeyInfo (DER), in hexadecimal."""
    return sm3(public_key)[:_KEY_ID_BYTES].hex()


def open_signing_key(file: Path, algorithm: str, password: str, *, make: bool) -> Signer:
    """Open a PKCS#8 key; its public key is left beside it as `<name>.public.pem`.

    Args:
        algorithm: "sm2-sm3" or "ed25519".
        password: "" for a file that is not encrypted.
        make: make the key if there is none.
    Raises:
        JournalKeyInvalid: says what is wrong with the file.
    """
    try:
        if make and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _make(file, algorithm, password)
            _log.warning("made a key for the journal's seals; give auditors its public key", file=str(file))
        mode = file.stat().st_mode
        content = file.read_bytes()
    except OSError as error:
        raise _invalid(file, f"cannot be read ({error.strerror})", "无法读取") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _invalid(file, f"can be read by others; run `chmod 600 {file}`", "可被他人读取，请 chmod 600")
    secret = password.encode() or None
    try:
        public_key = Signer.from_pkcs8(algorithm, content, secret).public_key()
        signer = Signer.from_pkcs8(algorithm, content, secret, key_id_of(public_key))
    except CryptoError as error:
        raise _invalid(file, f"is no {algorithm} key for this password ({error})", "不是该口令下的有效密钥") from None
    _leave_public_key(file.with_suffix(".public.pem"), public_key)
    return signer


def _make(file: Path, algorithm: str, password: str) -> None:
    if password:
        if algorithm != SM2:
            raise _invalid(file, "is not there; only SM2 keys are made with a password", "不存在")
        content = SigningKey.generate().to_encrypted_pem(password.encode())
    else:
        made = SigningKey.generate() if algorithm == SM2 else GeneralSigningKey.generate(algorithm)
        content = _pem("PRIVATE KEY", made.to_pkcs8())
    write_durably(file, content, 0o600, replaces=False)


def _leave_public_key(file: Path, public_key: bytes) -> None:
    pem = _pem("PUBLIC KEY", public_key)
    try:
        if not file.exists() or file.read_bytes() != pem:
            file.write_bytes(pem)
    except OSError as error:  # A key on a volume that is only read is a good thing.
        _log.info("public key of the journal's seals not written", file=str(file), error=error.strerror)


def _pem(label: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).decode("ascii").replace("\n", "")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")


def _invalid(file: Path, words: str, words_zh: str) -> JournalKeyInvalid:
    return JournalKeyInvalid(
        "JOURNAL_KEY_INVALID",
        f"{file}, which signs the journal's seals, {words}. See YINQI_JOURNAL_KEY_FILE.",
        f"日志封条的签名密钥 {file} {words_zh}。",
    )


class PublicKey:
    """A public key that checks seals.

    Args:
        data: SubjectPublicKeyInfo of an SM2 or Ed25519 key, in PEM or DER.
    Raises:
        ValueError: it is neither.
    """

    def __init__(self, data: bytes) -> None:
        der = _der(data)
        self.key_id = key_id_of(der)
        self._key: VerifyKey | GeneralVerifyKey
        try:
            self._key, self.algorithm = VerifyKey.from_spki(der), SM2
        except CryptoError:
            try:
                self._key, self.algorithm = GeneralVerifyKey.from_bytes(ED25519, der), ED25519
            except CryptoError:
                raise ValueError("not a public key of SM2 or Ed25519 (SubjectPublicKeyInfo in PEM or DER)") from None

    def fits(self, text: bytes, signature: bytes) -> bool:
        """Return whether this key signed the text."""
        try:
            self._key.verify(text, signature)
        except InvalidSignature:
            return False
        return True


def _der(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----BEGIN PUBLIC KEY-----"):
        return data
    return base64.b64decode(b"".join(line for line in data.split(b"\n") if not line.startswith(b"-----")))
