"""The key files of one bank profile: opened once, kept in memory, never logged.

Ours: an SM2 signing key (encrypted PKCS#8 PEM, or in a device) and the SM4 key shared with the bank, in a folder only
we may read.
For each other: files in the exchange directory. In production an operator brings key files and password; at the
first start without them they are made, so that the sandbox bank can be used at once. Which key is in use is no
file's matter but the journal's (key_ring.py).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

from yinqi.crypto import CryptoError, SigningKey, VerifyKey
from yinqi.gateway.key_checks import (
    check_cipher_key,
    check_credential,
    check_private_file,
    check_public_key,
    cipher_key_id,
    public_key_id,
)
from yinqi.gateway.key_set import BankKey, KeyOrigin, KeyPurpose
from yinqi.gateway.open_keys import BankUse, CipherUse, OpenKeys, OurKey, SigningUse
from yinqi.gateway.profile import Profile, SigningDevice
from yinqi.gateway.signing_device import DeviceKey, open_device
from yinqi.kernel.errors import FailedPrecondition, Unavailable, YinqiError
from yinqi.runtime.durable_files import write_durably

_log = structlog.get_logger(__name__)
_SM4_KEY_BYTES = 16
_DEVICE = "device:"
RandomBytes = Callable[[int], bytes]


class KeysInvalid(FailedPrecondition):
    """A key file is missing, damaged or not for this password. Nothing can be sent until it is put right."""


class BankKeys:
    """The open keys of one profile, from which each message takes those of its moment.

    Args:
        bank_key_file: where the bank leaves its first key; read when first needed, and again until it is there.
        check: refuses a bank's key that must not be used; returns its id.
    """

    def __init__(
        self,
        signing_key: OurKey,
        sm4_key: bytes,
        bank_key_file: Path,
        check: Callable[[VerifyKey], str] = public_key_id,
    ) -> None:
        signing = SigningUse(public_key_id(signing_key.public_key()), signing_key)
        self._keys = OpenKeys(signing, (CipherUse(cipher_key_id(sm4_key), sm4_key),), ())
        self._fault: YinqiError | None = None
        self._bank_key_file = bank_key_file
        self._check = check

    @property
    def signing_key(self) -> OurKey:
        """What signs now."""
        return self._keys.signing.key

    @property
    def sm4_key(self) -> bytes:
        """What seals now."""
        return self._keys.ciphers[0].key

    def replace(self, keys: OpenKeys) -> None:
        """Use these from the next message on."""
        self._keys, self._fault = keys, None

    def stop(self, fault: YinqiError) -> None:
        """Send nothing: `sending` raises this until there are keys again. What is on its way may still come home."""
        self._fault = fault

    def bank_key(self) -> VerifyKey:
        """Return the bank's public key in use; see `now`."""
        return self.now().bank[0].key

    def now(self) -> OpenKeys:
        """Return the keys of this moment.

        Raises:
            Unavailable: BANK_KEY_MISSING; the bank has not left it yet, or it is not a key. Nothing was sent.
            FailedPrecondition: KEY_WEAK; nothing was sent.
        """
        if not self._keys.bank:
            found = self.find_bank_key()
            keys = self._keys
            self._keys = OpenKeys(keys.signing, keys.ciphers, (found,), keys.retired)
        return self._keys

    def sending(self) -> OpenKeys:
        """Return the keys for a new message.

        Raises:
            Unavailable: as `now`; also KEY_EXPIRED. Nothing was sent.
        """
        if self._fault is not None:
            raise self._fault
        return self.now()

    def find_bank_key(self) -> BankUse:
        """Read the key that the bank left; see `now`."""
        try:
            key = VerifyKey.from_bytes(_read_hex(self._bank_key_file))
        except (OSError, ValueError, CryptoError) as error:
            raise Unavailable(
                "BANK_KEY_MISSING",
                f"The bank's public key is not in {self._bank_key_file} ({type(error).__name__}). Without it no "
                "answer can be verified, so nothing is sent. Start the bank, or put its key there.",
                f"未找到银行公钥 {self._bank_key_file}，无法验签，暂不发送。",
            ) from None
        return BankUse(self._check(key), key)


class OpenedKey(NamedTuple):
    """A key of ours, opened. Exactly one of `signer` and `cipher` is set."""

    key_id: str
    file: str
    origin: KeyOrigin
    signer: OurKey | None = None
    cipher: bytes = b""

    @property
    def public_key(self) -> str:
        """04‖x‖y in hexadecimal; "" for a symmetric key."""
        return "" if self.signer is None else self.signer.public_key().to_bytes().hex()


class KeyFolder:
    """Opens, makes and checks the key files of one profile.

    Args:
        password_file: of the signing keys; None: the profile's own in the key folder, made at the first start.
        password: for tests, instead of a file.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        password_file: Path | None = None,
        password: str = "",
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._profile = profile
        self._password_file = password_file
        self._given = password
        self._random_bytes = random_bytes
        self.directory, self.exchange = Path(profile.keys.directory), Path(profile.keys.exchange_directory)

    def prepare(self) -> None:
        """Make the folders; close ours to everybody else, and look at each file in it, in use or not.

        Raises:
            KeysInvalid: it is not ours. KeyExposed: others may read a file of ours.
        """
        with self._in_words():
            for folder in (self.directory, self.exchange):
                folder.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            for file in sorted(self.directory.iterdir()):
                if file.suffix in (".pem", ".hex"):
                    check_private_file(file)
                elif file.suffix in (".password", ".pin"):
                    check_credential(file)

    def first(self, purpose: KeyPurpose) -> OpenedKey:
        """Open the first key of ours, under the profile's names; made if there is none.

        Raises:
            KeysInvalid, KeyWeak, KeyExposed: a file that is there cannot be used.
        """
        keys = self._profile.keys
        if purpose is KeyPurpose.SIGNING and keys.device is not None:
            return self.open(purpose, f"{_DEVICE}{keys.device.key_index}")
        name = self._named(keys.signing_key_file if purpose is KeyPurpose.SIGNING else keys.sm4_key_file)
        if not (self.directory / name).exists():
            return self.make(purpose, name)
        return self.open(purpose, name)

    def make(self, purpose: KeyPurpose, name: str = "") -> OpenedKey:
        """Make a key, kept in a file of its own.

        Raises:
            KeysInvalid: it cannot be written, or the profile's keys are made on its device.
        """
        with self._in_words():
            if purpose is KeyPurpose.CIPHER:
                cipher = self._random_bytes(_SM4_KEY_BYTES)
                key_id = cipher_key_id(cipher)
                name = name or self._named(f"{{user_id}}.{key_id}.sm4_key.hex")
                _write(self.directory / name, cipher.hex().encode("ascii"), 0o600)
            else:
                signer = SigningKey.generate()
                key_id = public_key_id(signer.public_key())
                name = name or self._named(f"{{user_id}}.{key_id}.signing_key.pem")
                _write(self.directory / name, signer.to_encrypted_pem(self._password(name).encode("utf-8")), 0o600)
        _log.warning("made a key; the bank must be given it", purpose=purpose, key_id=key_id, file=name)
        return self.open(purpose, name)._replace(origin=KeyOrigin.CREATED)

    def open(self, purpose: KeyPurpose, name: str) -> OpenedKey:
        """Open a key of ours.

        Args:
            name: of a file in the key folder, or "device:<index>".
        Raises:
            KeysInvalid, KeyWeak, KeyExposed: it cannot be used; says what to do.
        """
        is_sandbox = self._profile.sandbox
        if name.startswith(_DEVICE):
            device_key = self._device_key(name)
            key_id = check_public_key(device_key.public_key(), f"The device's key ({name})", is_sandbox=is_sandbox)
            return OpenedKey(key_id, name, KeyOrigin.DEVICE, device_key)
        file = self.directory / name
        with self._in_words():
            check_private_file(file)
            if purpose is KeyPurpose.CIPHER:
                cipher = _sm4_key(file)
                return OpenedKey(
                    check_cipher_key(cipher, str(file), is_sandbox=is_sandbox), name, KeyOrigin.IMPORTED, cipher=cipher
                )
            signer = _signing_key(file, self._password(name))
        key_id = check_public_key(signer.public_key(), str(file), is_sandbox=is_sandbox)
        return OpenedKey(key_id, name, KeyOrigin.IMPORTED, signer)

    def open_known(self, key: BankKey) -> OpenedKey:
        """Open a key of ours that the journal knows.

        Raises:
            KeysInvalid …: as `open`; also if the file holds another key than the journal says.
        """
        opened = self.open(key.purpose, key.file)
        if opened.key_id != key.key_id:
            raise KeysInvalid(
                "KEYS_INVALID",
                f"{key.file} of profile {self._profile.name} holds key {opened.key_id}, but the key in use is "
                f"{key.key_id}. Put the file back from a backup; a new key comes in by `yinqi keys import` and two people.",
                f"银行配置 {self._profile.name}：{key.file} 不是在用密钥 {key.key_id}，请恢复备份；新密钥须经导入与双人启用。",
            )
        return opened

    def check_bank_key(self, key: VerifyKey) -> str:
        """Return the id of a key of the bank's; raises `KeyWeak`."""
        what = f"The bank's key of profile {self._profile.name}"
        return check_public_key(key, what, is_sandbox=self._profile.sandbox)

    @property
    def bank_key_file(self) -> Path:
        """Where the bank leaves its first key."""
        return self.exchange / self._named(self._profile.keys.bank_public_key_file)

    def export(self, public_keys: Iterable[str], ciphers: Iterable[bytes]) -> None:
        """Leave for the bank what it must accept from us: a key per line, the one in use first."""
        keys = self._profile.keys
        with self._in_words():
            _export(self.exchange / self._named(keys.public_key_export), "\n".join(public_keys), 0o644)
            _export(self.exchange / self._named(keys.sm4_key_export), "\n".join(one.hex() for one in ciphers), 0o600)

    def _device_key(self, name: str) -> DeviceKey:
        device, index = self._profile.keys.device, name.removeprefix(_DEVICE)
        if device is None or not index.isdecimal():
            raise KeysInvalid(
                "KEYS_INVALID",
                f"Profile {self._profile.name} has no device for key {name}; see keys.device of the profile.",
                f"银行配置 {self._profile.name} 未配置签名设备。",
            )
        return _device_key(self._profile, device.model_copy(update={"key_index": int(index)}))

    def _password(self, name: str) -> str:
        """Return the password of a signing key: its own beside it, or that of all."""
        if self._given:
            return self._given
        own = self.directory / f"{name}.password"
        if own.exists():
            return _read_password(own)
        if self._password_file is not None:
            return _read_password(self._password_file)
        file = self.directory / self._named(self._profile.keys.password_file)
        if not file.exists():
            _log.warning("made a password for a signing key; keep a copy of it elsewhere", file=str(file))
            _write(file, self._random_bytes(24).hex().encode("ascii"), 0o600)
        return _read_password(file)

    def _named(self, template: str) -> str:
        return template.format(user_id=self._profile.user_id)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeysInvalid(
                "KEYS_INVALID",
                f"Profile {self._profile.name}: {error.filename}: {error.strerror}. The gateway must own its key folder.",
                f"银行配置 {self._profile.name}：密钥文件无法读写。",
            ) from None


def open_keys(profile: Profile, *, password: str = "", random_bytes: RandomBytes = secrets.token_bytes) -> BankKeys:
    """Open the profile's first keys, making what is missing, and export our side's files for the bank.

    Args:
        password: of the signing key; "" reads it from the profile's password file.
    Raises:
        KeysInvalid, KeyWeak, KeyExposed: a file that is there cannot be used.
    """
    folder = KeyFolder(profile, password=password, random_bytes=random_bytes)
    folder.prepare()
    signing, cipher = folder.first(KeyPurpose.SIGNING), folder.first(KeyPurpose.CIPHER)
    folder.export([signing.public_key], [cipher.cipher])
    return keys_of(signing, cipher, folder)


def keys_of(signing: OpenedKey, cipher: OpenedKey, folder: KeyFolder) -> BankKeys:
    """Return a profile's keys, one of each kind; the bank's is still to be found."""
    if signing.signer is None:
        raise ValueError("a signing key is needed")
    return BankKeys(signing.signer, cipher.cipher, folder.bank_key_file, folder.check_bank_key)


def _device_key(profile: Profile, device: SigningDevice) -> DeviceKey:
    file = Path(profile.keys.directory) / device.pin_file.format(user_id=profile.user_id)
    try:
        check_credential(file)
        return open_device(device, file, profile.name)
    except (CryptoError, OSError) as error:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"Profile {profile.name}: the signing device cannot be used: {error}. Check keys.device of the profile, "
            f"the device, and the PIN in {file}; a wrong PIN counts at the device, so do not simply start again.",
            f"银行配置 {profile.name}：签名设备不可用，请检查设备、密钥号与 PIN 文件。",
        ) from None


def _read_password(file: Path) -> str:
    check_credential(file)
    password = file.read_text("utf-8").strip()
    if not password:
        raise KeysInvalid(
            "KEYS_INVALID", f"{file} is empty; it must hold the signing key's password.", "密钥口令为空。"
        )
    return password


def _signing_key(file: Path, password: str) -> SigningKey:
    try:
        return SigningKey.from_encrypted_pem(file.read_bytes(), password.encode("utf-8"))
    except CryptoError as error:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"{file} cannot be opened ({error}). It must be an encrypted PKCS#8 PEM of an SM2 key. Put the right password "
            f"in {file.name}.password beside it or in the file of YINQI_GATEWAY_KEY_PASSWORD_FILE, or restore the key "
            "from a backup.",
            f"签名密钥 {file} 无法打开，请检查口令或恢复备份。",
        ) from None


def _sm4_key(file: Path) -> bytes:
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
