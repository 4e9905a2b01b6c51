"""Key-encryption keys: files outside the databases that wrap the data keys inside (docs/data-at-rest.md)."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from yinqi.crypto import EnvelopeKey, sm3
from yinqi.kernel.errors import FailedPrecondition
from yinqi.kernel.ids import RandomBytes
from yinqi.runtime.durable_files import write_durably

_SUFFIX = ".kek"
_ALGORITHMS = {16: "sm4-gcm", 32: "aes-256-gcm"}  # by the key's length in bytes
_KEY_ID_CONTEXT, _KEY_ID_BYTES = b"yinqi/key-encryption-key-id/v1\x00", 8
_VARIETY_MIN = 8  # of 16 random bytes at least so many differ, but for one key in 10^9


class WrappingKeyInvalid(FailedPrecondition):
    """A key-encryption key is missing, damaged, weak, or open to others. Nothing can be sealed or opened without it."""


class WrappingKeys:
    """The key-encryption keys of one folder: `<name>.kek`, hexadecimal, 16 (SM4) or 32 bytes (AES).

    The last by name wraps; the others unwrap what they wrapped before. The folder is read when it is asked, so that a key
    may come and go while services run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> list[EnvelopeKey]:
        """Return the keys in the order of their names, at least one; the last is the one that wraps.

        Raises:
            WrappingKeyInvalid: names the file and what to do.
        """
        keys = [_read(file) for file in self._files()]
        if not keys:
            raise WrappingKeyInvalid(
                "WRAPPING_KEY_MISSING",
                f"{self.folder} holds no key-encryption key (*{_SUFFIX}), so sealed data cannot be read. Put it back, or "
                "make the first one with `yinqi data create-key`. See YINQI_SEALING_KEYS_DIR.",
                f"{self.folder} 中没有密钥加密密钥（*{_SUFFIX}），请恢复密钥文件，或用 `yinqi data create-key` 创建首个密钥。",
            )
        return keys

    def create(self, random_bytes: RandomBytes, algorithm: str = "sm4-gcm") -> Path:
        """Make the next key and return its file; from now on it wraps.

        Raises:
            WrappingKeyInvalid: it cannot be written.
        """
        length = next(length for length, name in _ALGORITHMS.items() if name == algorithm)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            numbers = [int(file.stem) for file in self._files() if file.stem.isdecimal()]
            file = self.folder / f"{max(numbers, default=0) + 1:04d}{_SUFFIX}"
            write_durably(file, random_bytes(length).hex().encode("ascii"), 0o600, replaces=False)
        except OSError as error:
            raise _invalid(self.folder, f"cannot be written ({error.strerror})", "无法写入") from None
        return file

    def _files(self) -> Sequence[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"))


def _read(file: Path) -> EnvelopeKey:
    try:
        _check_permissions(file)
        key = bytes.fromhex(file.read_text("ascii").strip())
        algorithm = _ALGORITHMS[len(key)]
    except OSError as error:
        raise _invalid(file, f"cannot be read ({error.strerror})", "无法读取") from None
    except (ValueError, KeyError):
        raise _invalid(file, "must hold 16 or 32 bytes, in hexadecimal", "须为 16 或 32 字节的十六进制") from None
    steps = {(after - before) % 256 for before, after in itertools.pairwise(key)}
    if len(set(key)) < _VARIETY_MIN or len(steps) == 1:
        raise _invalid(file, "is a pattern, not random; make one with `yinqi data create-key`", "有规律、并非随机")
    return EnvelopeKey(algorithm, sm3(_KEY_ID_CONTEXT + key)[:_KEY_ID_BYTES], key)


def _check_permissions(file: Path) -> None:
    found = file.stat()
    is_mounted = found.st_uid == 0 and os.geteuid() != 0  # a credential mounted by root, for our group
    if stat.S_IMODE(found.st_mode) & (0o007 if is_mounted else 0o077):
        raise _invalid(file, f"can be read by others; run `chmod 600 {file}`", "可被他人读取，请 chmod 600")


def _invalid(path: Path, words: str, words_zh: str) -> WrappingKeyInvalid:
    return WrappingKeyInvalid(
        "WRAPPING_KEY_INVALID", f"The key-encryption key {path} {words}.", f"密钥加密密钥 {path} {words_zh}。"
    )
