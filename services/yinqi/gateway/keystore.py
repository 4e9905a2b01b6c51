"""The keys of one bank profile: opened once, kept in memory, never logged.

Ours: an SM2 signing key (encrypted PKCS#8 PEM, or in a device) and the SM4 key shared with the bank, in a folder only
we may read.
For each other: files in the exchange directory. In production an operator brings key files and password; at the
first start without them they are made, so that the sandbox bank can be used at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from yinqi.crypto import CryptoError, SigningKey, Signs, VerifyKey
from yinqi.gateway.profile import Profile, SigningDevice
from yinqi.gateway.signing_device import DeviceKey, open_device
from yinqi.kernel.errors import FailedPrecondition, Unavailable
from yinqi.runtime.durable_files import write_durably

_log = structlog.get_logger(__name__)
_SM4_KEY_BYTES = 16
RandomBytes = Callable[[int], bytes]


class KeysInvalid(FailedPrecondition):
    """A key file is missing, damaged or not for this password. Nothing can be sent until it is put right."""


class BankKeys:
    """The open keys of one profile.

    Args:
        bank_key_file: read when first needed, and again until it is there.
    """

    def __init__(self, signing_key: Signs, sm4_key: bytes, bank_key_file: Path) -> None:
        self.signing_key = signing_key
        self.sm4_key = sm4_key
        self._bank_key_file = bank_key_file
        self._bank_key: VerifyKey | None = None

    def bank_key(self) -> VerifyKey:
        """Return the bank's public key.

        Raises:
            Unavailable: BANK_KEY_MISSING; the bank has not left it yet, or it is not a key. Nothing was sent.
        """
        if self._bank_key is None:
            try:
                self._bank_key = VerifyKey.from_bytes(_read_hex(self._bank_key_file))
            except (OSError, ValueError, CryptoError) as error:
                raise Unavailable(
                    "BANK_KEY_MISSING",
                    f"The bank's public key is not in {self._bank_key_file} ({type(error).__name__}). Without it no "
                    "answer can be verified, so nothing is sent. Start the bank, or put its key there.",
                    f"未找到银行公钥 {self._bank_key_file}，无法验签，暂不发送。",
                ) from None
        return self._bank_key


def open_keys(profile: Profile, *, password: str = "", random_bytes: RandomBytes = secrets.token_bytes) -> BankKeys:
    """Open the profile's keys, making what is missing, and export our side's files for the bank.

    Args:
        password: of the signing key; "" reads it from the profile's password file.
    Raises:
        KeysInvalid: a file that is there cannot be used.
    """
    keys, user_id = profile.keys, profile.user_id
    directory, exchange = Path(keys.directory), Path(keys.exchange_directory)
    try:
        for folder in (directory, exchange):
            folder.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        signing_key = (
            _device_key(profile, keys.device) if keys.device else _key_from_file(profile, password, random_bytes)
        )
        sm4_key = _sm4_key(directory / keys.sm4_key_file.format(user_id=user_id), random_bytes)
        public_key = signing_key.public_key().to_bytes().hex()
        _export(exchange / keys.public_key_export.format(user_id=user_id), public_key, 0o644)
        _export(exchange / keys.sm4_key_export.format(user_id=user_id), sm4_key.hex(), 0o600)
    except OSError as error:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"Profile {profile.name}: {error.filename}: {error.strerror}. The gateway must own its key folder.",
            f"银行配置 {profile.name}：密钥文件无法读写。",
        ) from None
    return BankKeys(signing_key, sm4_key, exchange / keys.bank_public_key_file.format(user_id=user_id))


def _device_key(profile: Profile, device: SigningDevice) -> DeviceKey:
    file = Path(profile.keys.directory) / device.pin_file.format(user_id=profile.user_id)
    try:
        return open_device(device, file, profile.name)
    except CryptoError as error:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"Profile {profile.name}: the signing device cannot be used: {error}. Check keys.device of the profile, "
            f"the device, and the PIN in {file}; a wrong PIN counts at the device, so do not simply start again.",
            f"银行配置 {profile.name}：签名设备不可用，请检查设备、密钥号与 PIN 文件。",
        ) from None


def _key_from_file(profile: Profile, password: str, random_bytes: RandomBytes) -> SigningKey:
    keys, directory = profile.keys, Path(profile.keys.directory)
    secret = password or _password(directory / keys.password_file.format(user_id=profile.user_id), random_bytes)
    return _signing_key(directory / keys.signing_key_file.format(user_id=profile.user_id), secret)


def _password(file: Path, random_bytes: RandomBytes) -> str:
    if not file.exists():
        _log.warning("made a password for a signing key; keep a copy of it elsewhere", file=str(file))
        _write(file, random_bytes(24).hex().encode("ascii"), 0o600)
    password = file.read_text("utf-8").strip()
    if not password:
        raise KeysInvalid(
            "KEYS_INVALID", f"{file} is empty; it must hold the signing key's password.", "密钥口令为空。"
        )
    return password


def _signing_key(file: Path, password: str) -> SigningKey:
    secret = password.encode("utf-8")
    if not file.exists():
        _log.warning("made a signing key; the bank must be given its public key", file=str(file))
        _write(file, SigningKey.generate().to_encrypted_pem(secret), 0o600)
    try:
        return SigningKey.from_encrypted_pem(file.read_bytes(), secret)
    except CryptoError as error:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"{file} cannot be opened ({error}). Give the right password with YINQI_GATEWAY_KEY_PASSWORD, "
            "or restore the file from a backup.",
            f"签名密钥 {file} 无法打开，请检查口令或恢复备份。",
        ) from None


def _sm4_key(file: Path, random_bytes: RandomBytes) -> bytes:
    if not file.exists():
        _log.warning("made a symmetric key; the bank must be given it", file=str(file))
        _write(file, random_bytes(_SM4_KEY_BYTES).hex().encode("ascii"), 0o600)
    try:
        key = _read_hex(file)
    except ValueError:
        key = b""
    if len(key) != _SM4_KEY_BYTES:
        raise KeysInvalid("KEYS_INVALID", f"{file} must hold 32 hexadecimal digits.", f"对称密钥 {file} 格式错误。")
    return key


def _export(file: Path, text: str, mode: int) -> None:
    if not file.exists() or file.read_text("ascii", errors="replace").strip() != text:
        _write(file, text.encode("ascii"), mode)


def _read_hex(file: Path) -> bytes:
    return bytes.fromhex(file.read_text("ascii").strip())


def _write(file: Path, content: bytes, mode: int) -> None:
    write_durably(file, content + (b"" if content.endswith(b"\n") else b"\n"), mode)
