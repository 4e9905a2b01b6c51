"""A signing key that never leaves its device: an SDF server or card (签名服务器、密码卡, GM/T 0018) named by a bank profile."""

from __future__ import annotations

from pathlib import Path

from yinqi.crypto import DeviceError, InvalidLength, Signer, VerifyKey
from yinqi.gateway.profile import SigningDevice
from yinqi.kernel.errors import Unavailable

_PIN_LENGTH_MAX = 256


class DeviceKey:
    """An SM2 key in a device; signs as a `SigningKey` does (`yinqi.crypto.Signs`)."""

    def __init__(self, signer: Signer, profile_name: str) -> None:
        self._signer = signer
        self._profile_name = profile_name

    def public_key(self) -> VerifyKey:
        """Return the public half, read from the device when it was opened."""
        return VerifyKey.from_spki(self._signer.public_key())

    def sign(self, message: bytes, identity: bytes | None = None, /) -> bytes:
        """Return the raw signature r‖s, 64 bytes; waits for the device, at most the profile's `timeout_ms`.

        Raises:
            Unavailable: SIGNING_DEVICE_UNAVAILABLE; nothing was signed, so nothing was sent.
        """
        try:
            return self._signer.sign(message, identity)
        except DeviceError as error:
            raise Unavailable(
                "SIGNING_DEVICE_UNAVAILABLE",
                f"Profile {self._profile_name}: the signing device gave no signature ({error}). Nothing was sent.",
                f"银行配置 {self._profile_name}：签名设备未能签名，未发送。",
            ) from None


def open_device(device: SigningDevice, pin_file: Path, profile_name: str) -> DeviceKey:
    """Open the device with the PIN of `pin_file`.

    Raises:
        DeviceError: WrongPin, KeyNotFound, DeviceUnavailable …; the PIN was tried once at most.
        InvalidLength: the PIN's file is empty. OSError: it cannot be read.
    """
    pin = _read_pin(pin_file)
    try:
        signer = Signer.open_sdf(
            library=device.vendor_library, key_index=device.key_index, pin=pin, timeout_ms=device.timeout_ms
        )
    finally:
        pin[:] = bytes(len(pin))
    return DeviceKey(signer, profile_name)


def _read_pin(file: Path) -> bytearray:
    """Read the first line into memory that can be wiped."""
    pin = bytearray(_PIN_LENGTH_MAX)
    with file.open("rb", buffering=0) as opened:
        del pin[opened.readinto(pin) or 0 :]
    while pin and pin[-1] in b"\r\n":
        pin.pop()
    if not pin:
        raise InvalidLength(f"{file} is empty; it must hold the PIN of the device's key")
    return pin
