"""Exceptions of the crypto package. The extension raises these very classes."""

from __future__ import annotations


class CryptoError(Exception):
    """Any failure of a cryptographic operation. Its text never contains secret bytes."""


class InvalidSignature(CryptoError):
    """The signature does not belong to this message, key and identity, or is malformed. Do not use the message."""


class InvalidKey(CryptoError):
    """A key of the right length that is no key (out of range, off the curve), or a key file that cannot be read."""


class DecryptionFailed(CryptoError):
    """Wrong key or password, or damaged ciphertext: deliberately one error for all causes."""


class InvalidLength(CryptoError, ValueError):
    """An argument of the wrong length; the text names it and the length expected. The caller's bug: do not retry."""


class UnknownAlgorithm(CryptoError, ValueError):
    """An algorithm by a name that is not known; the text names those that are. The caller's bug: do not retry."""


class DeviceError(CryptoError):
    """A device that holds a signing key did not do as asked. Nothing was given out. No text holds a PIN."""


class DeviceUnavailable(DeviceError):
    """No library, device or token, or the line to it is broken. Later may work."""


class WrongPin(DeviceError):
    """The PIN is wrong or locked. It is not tried again by itself: a device counts, and locks."""


class KeyNotFound(DeviceError):
    """The device has no such key, more than one, or one of another kind."""


class DeviceTimedOut(DeviceError):
    """No answer in time. The device may still be working; its late answer is thrown away."""


class DeviceFailed(DeviceError):
    """The device refused, or its signature does not verify with its own public key. People must look at it."""
