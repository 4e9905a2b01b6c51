"""The secrets of people's one-time codes: one sealed file of the payment service, read anew whenever a code is checked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

from yinqi.crypto import CryptoError, EnvelopeKey
from yinqi.kernel.errors import FailedPrecondition
from yinqi.kernel.ids import RandomBytes
from yinqi.payment.one_time_codes import DIGITS, STEP_S
from yinqi.runtime.durable_files import write_durably

SECRET_BYTES = 20  # as long as the HMAC, RFC 4226, 4
_KEY_BYTES = 16
_ALGORITHM, _KEY_ID = "sm4-gcm", b"one-time-codes"
_AAD = b"yinqi/one-time-codes/v1"
_OTHERS_MAY = 0o077


class CodeSecretsInvalid(FailedPrecondition):
    """The file of secrets, or its key, is missing, damaged, or open to others. No code can be checked."""


class CodeSecrets:
    """The secrets by person.

    Args:
        file: sealed; may be backed up.
        key_file: what seals it, 16 bytes; only its owner may read it. Keep it away from the backups of `file`.
    """

    def __init__(self, file: Path, key_file: Path) -> None:
        self._file = file
        self._key_file = key_file

    def secret_of(self, person: str) -> bytes | None:
        """Return a person's secret, None if he has none.

        Raises:
            CodeSecretsInvalid: see there.
        """
        return self._read().get(person) if self._file.exists() else None

    def enrol(self, person: str, random_bytes: RandomBytes) -> bytes:
        """Give a person a new secret in place of any he had; return it, to be shown once.

        Raises:
            CodeSecretsInvalid: see there.
        """
        found = self._read() if self._file.exists() else {}
        secret = random_bytes(SECRET_BYTES)
        kept = {name: base64.b32encode(one).decode() for name, one in (found | {person: secret}).items()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if not self._key_file.exists():
                write_durably(self._key_file, random_bytes(_KEY_BYTES), 0o600, replaces=False)
            write_durably(self._file, self._key().seal(json.dumps(kept).encode(), _AAD), 0o600)
        except OSError as error:
            raise _invalid(self._file, error.strerror or "cannot be written", "无法写入") from None
        return secret

    def _read(self) -> dict[str, bytes]:
        try:
            kept = json.loads(self._key().open(self._file.read_bytes(), _AAD))
            return {person: base64.b32decode(secret) for person, secret in kept.items()}
        except OSError as error:
            raise _invalid(self._file, error.strerror or "cannot be read", "无法读取") from None
        except (CryptoError, ValueError):
            raise _invalid(self._file, "was changed, or sealed with another key", "已损坏或密钥不符") from None

    def _key(self) -> EnvelopeKey:
        try:
            if self._key_file.stat().st_mode & _OTHERS_MAY:
                raise _invalid(self._key_file, "others than its owner may read it; chmod 600 it", "其他用户可读")
            return EnvelopeKey(_ALGORITHM, _KEY_ID, self._key_file.read_bytes())
        except OSError as error:
            raise _invalid(self._key_file, error.strerror or "cannot be read", "无法读取") from None
        except CryptoError:
            raise _invalid(self._key_file, f"must hold {_KEY_BYTES} bytes", "长度不符") from None


def enrolment_uri(person: str, company: str, secret: bytes) -> str:
    """Return what an authenticator app takes, typed or as a QR code (Key URI Format)."""
    label = quote(f"{company}:{person}", safe="")
    return (
        f"otpauth://totp/{label}?secret={base64.b32encode(secret).decode()}&issuer={quote(company, safe='')}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP_S}"
    )


def _invalid(file: Path, words: str, words_zh: str) -> CodeSecretsInvalid:
    return CodeSecretsInvalid("ONE_TIME_CODES_UNREADABLE", f"{file}: {words}.", f"{file}：{words_zh}。")
