"""The exchange directory: who wrote which key file, reread when it changes (contract §2 Keys)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from yinqi.sandbox_bank import sm
from yinqi.sandbox_bank.errors import ControlRefused, GatewayError

_USER_ID = re.compile(r"[0-9A-Za-z]{1,16}")


@dataclass(frozen=True, slots=True)
class UserKeys:
    """What the bank accepts of one user: public points and shared SM4 keys, one per line of their files.

    The first of each is the one in use; the others are those before or after it, while the user changes them.
    """

    public_keys: tuple[bytes, ...]
    sm4_keys: tuple[bytes, ...]

    @property
    def sm4_key(self) -> bytes:
        """What seals where no request says otherwise."""
        return self.sm4_keys[0]


class KeyRing:
    """The bank's own key pair and the users' keys, all as hex files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._users: dict[str, tuple[tuple[int, int], UserKeys]] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self._own_stamp, self._own = 0, (b"", b"")
        self.own_pair()

    def own_pair(self) -> tuple[bytes, bytes]:
        """The bank's private key and public point, read again when the private file changed."""
        private_file = self._directory / "bank_private_key.hex"
        stamp = private_file.stat().st_mtime_ns if private_file.exists() else self._own_stamp
        if stamp == 0 or stamp != self._own_stamp:
            self._own = self._own_keys()
            self._own_stamp = private_file.stat().st_mtime_ns
        return self._own

    def of_user(self, user_id: str) -> UserKeys:
        """The user's keys, read again when a file changed.

        Raises:
            GatewayError: USR0001 not a user id; KEY0001 a key file is missing or not a key.
        """
        if not _USER_ID.fullmatch(user_id):
            raise GatewayError("USR0001", "user id unknown 用户不存在", prefix="ErrMsg:")
        public_file = self._directory / f"{user_id}.public_key.hex"
        sm4_file = self._directory / f"{user_id}.sm4_key.hex"
        try:
            stamp = (public_file.stat().st_mtime_ns, sm4_file.stat().st_mtime_ns)
            known = self._users.get(user_id)
            if known and known[0] == stamp:
                return known[1]
            keys = UserKeys(_read_lines(public_file), _read_lines(sm4_file))
        except (OSError, ValueError):
            raise GatewayError("KEY0001", "keys of this user are not installed yet 用户密钥未安装") from None
        if not all(map(sm.is_public_key, keys.public_keys)) or any(len(key) != 16 for key in keys.sm4_keys):
            raise GatewayError("KEY0001", "installed keys of this user are not valid 用户密钥无效")
        self._users[user_id] = (stamp, keys)
        return keys

    def _own_keys(self) -> tuple[bytes, bytes]:
        private_file, public_file = self._directory / "bank_private_key.hex", self._directory / "bank_public_key.hex"
        if not private_file.exists():
            private_key, public_key = sm.generate_key_pair()
            # The private file last: it says that both are there.
            _write_once(public_file, public_key.hex(), mode=0o644)
            _write_once(private_file, private_key.hex(), mode=0o600)
        if not public_file.exists():
            raise ControlRefused(
                f"{public_file} is missing beside bank_private_key.hex. Put it back, or remove both for a new pair. "
                "银行公钥文件缺失，请恢复，或同时删除私钥文件以重新生成"
            )
        return _read_hex(private_file), _read_hex(public_file)


def _read_hex(path: Path) -> bytes:
    return bytes.fromhex(path.read_text("ascii").strip())


def _read_lines(path: Path) -> tuple[bytes, ...]:
    lines = path.read_text("ascii").split()
    if not lines:
        raise ValueError(f"{path} is empty")
    return tuple(bytes.fromhex(line) for line in lines)


def _write_once(path: Path, text: str, *, mode: int) -> None:
    """Replace the file in one step, so that a reader never sees half a key."""
    draft = path.with_name(path.name + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
