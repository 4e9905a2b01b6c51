"""What no key of a bank profile may be: weak, published, or readable by others; said in words that tell what to do."""

from __future__ import annotations

import itertools
import os
import stat
from functools import lru_cache
from pathlib import Path

from yinqi.crypto import SigningKey, VerifyKey, sm3
from yinqi.kernel.errors import FailedPrecondition

_KEY_ID_BYTES = 8
_CIPHER_CONTEXT = b"yinqi/sm4-key-id/v1\x00"
_SMALL_SCALARS = 256
_VARIETY_MIN = 8  # of 16 random bytes at least so many differ, but for one key in 10^9

# Keys that everybody can read: the sample of GB/T 32918.5, that of the older test curve (used on this one by many), and
# those of a bank's public sample programs. By their ids; the keys themselves are nobody's business here.
_PUBLISHED = {
    "d94a2fcb88a63e82": "the sample of GB/T 32918.5",
    "954a41e915ed3406": "the sample of GB/T 32918.2",
    "3bf714d0be55379f": "a bank's sample program",
    "e2340aabeacb7ccd": "a bank's sample program",
    "6a5262cdc6d64dc6": "a bank's sample program",
    "ced9fff96bdc7d4d": "a bank's sample program",
    "6abb9ebdc5ad23aa": "a bank's sample program",
    "d8c32c28de500cb2": "the sample of GB/T 32907",
}
# The keys of this project's recorded exchanges: good enough for a sandbox, and for nothing else.
_SANDBOX_PUBLISHED = {"918b4744daaa3854", "fa15cb930f6b0765"}


class KeyWeak(FailedPrecondition):
    """A key that somebody else knows or can guess; it is not used."""


class KeyExposed(FailedPrecondition):
    """A key file that others than its owner can read, or that is not ours; it is not used."""


def public_key_id(key: VerifyKey) -> str:
    """Return what the journal calls an SM2 key: the first 8 bytes of SM3 over its SubjectPublicKeyInfo, hexadecimal."""
    return sm3(key.to_der())[:_KEY_ID_BYTES].hex()


def cipher_key_id(key: bytes) -> str:
    """Return what the journal calls an SM4 key: of a digest that says nothing of the key."""
    return sm3(_CIPHER_CONTEXT + key)[:_KEY_ID_BYTES].hex()


def check_public_key(key: VerifyKey, what: str, *, is_sandbox: bool) -> str:
    """Return the key's id.

    Args:
        what: names the key in the error, e.g. a file.
    Raises:
        KeyWeak: its private half is known or easily found.
    """
    if key.to_bytes()[1:33] in _guessable():
        raise _weak(what, "its private key is a small number", "其私钥为极小数值")
    key_id = public_key_id(key)
    _check_published(key_id, what, is_sandbox)
    return key_id


def check_cipher_key(key: bytes, what: str, *, is_sandbox: bool) -> str:
    """Return the id of an SM4 key.

    Raises:
        KeyWeak: it is published or no random one.
    """
    steps = {(after - before) % 256 for before, after in itertools.pairwise(key)}
    if len(set(key)) < _VARIETY_MIN or len(steps) == 1 or key.isdigit():
        raise _weak(what, "it is a pattern, not random", "该密钥有规律、并非随机")
    key_id = cipher_key_id(key)
    _check_published(key_id, what, is_sandbox)
    return key_id


def check_private_file(file: Path) -> None:
    """Return if only we can read the file.

    Raises:
        KeyExposed: names the command that helps. OSError: there is none.
    """
    found = file.stat()
    if found.st_uid != os.geteuid():
        raise _exposed(
            file,
            f"belongs to user {found.st_uid}, not to the gateway's ({os.geteuid()}); chown it",
            "属主不是前置机用户",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise _open_to_others(file)


def check_credential(file: Path) -> None:
    """Return if only we can read a password's file; a mounted credential may be root's and our group's.

    Raises:
        KeyExposed: names the command that helps. OSError: there is none.
    """
    found = file.stat()
    is_mounted = found.st_uid == 0 and found.st_uid != os.geteuid()
    if not is_mounted:
        check_private_file(file)
    elif stat.S_IMODE(found.st_mode) & 0o007:
        raise _open_to_others(file)


def _check_published(key_id: str, what: str, is_sandbox: bool) -> None:
    if key_id in _PUBLISHED:
        raise _weak(what, f"it is published ({_PUBLISHED[key_id]})", "该密钥为公开的样例密钥")
    if key_id in _SANDBOX_PUBLISHED and not is_sandbox:
        raise _weak(what, "it is published with this project, for sandboxes", "该密钥为本项目公开的沙箱密钥")


@lru_cache(maxsize=1)
def _guessable() -> frozenset[bytes]:
    """The x coordinates of d·G for every small d; n − d has the same ones."""
    return frozenset(
        SigningKey.from_bytes(d.to_bytes(32, "big")).public_key().to_bytes()[1:33] for d in range(1, _SMALL_SCALARS)
    )


def _weak(what: str, words: str, words_zh: str) -> KeyWeak:
    return KeyWeak(
        "KEY_WEAK",
        f"{what}: {words}, so anybody could sign or read in its place. Make a new key with `yinqi keys create`, and ask "
        "the bank for a new one if it is the bank's.",
        f"{what}：{words_zh}，请用 `yinqi keys create` 生成新密钥。",
    )


def _open_to_others(file: Path) -> KeyExposed:
    return _exposed(file, f"can be read by others; run `chmod 600 {file}`", "可被他人读取，请 chmod 600")


def _exposed(file: Path, words: str, words_zh: str) -> KeyExposed:
    return KeyExposed(
        "KEY_EXPOSED",
        f"{file} {words}. If others may have read it, put a new key in its place (docs/security.md).",
        f"{file} {words_zh}；如可能已泄露，请更换密钥。",
    )
