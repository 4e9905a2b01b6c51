"""The policy in force: the newest version that two people signed and that was ever used here; never an older one."""

from __future__ import annotations

import contextlib
from pathlib import Path

from yinqi.orders.policy_file import (
    KEYS_FILE,
    POLICY_FILE,
    PolicyFiles,
    PolicyInvalid,
    SignedPolicy,
    load_policy,
    policy_files,
    wrong,
)
from yinqi.runtime.durable_files import Stamp, stamp_of, write_durably


class PolicyInForce:
    """Holds the policy of a directory, and takes up a new version while the service runs.

    Args:
        remembered: the file in which the highest version used is kept, so that a downgrade is refused after a restart too.
    Raises:
        PolicyInvalid: there is none that can be used; the message says why.
    """

    def __init__(self, directory: Path, remembered: Path) -> None:
        self._directory = directory
        self._remembered = remembered
        self._judged = self._seen = self._stamp()
        self._anchors = self._read_anchors()
        version, digest = self._recall()
        self._files = policy_files(directory)
        found = load_policy(directory, version_min=version)
        if digest:
            self._require_same(found, version, digest)
        self._remember(found, version)
        self._current = found

    @property
    def current(self) -> SignedPolicy:
        """The policy in force now. Take it once for one decision."""
        return self._current

    @property
    def files(self) -> PolicyFiles:
        """The policy in force as it was read, for those who prove it elsewhere."""
        return self._files

    def look(self) -> SignedPolicy | None:
        """Return the new policy if one has come into force, None if all is as before.

        Files are judged once two looks in a row find them unchanged, for people copy them in one by one.

        Raises:
            PolicyInvalid: what is there now cannot be used; the old policy stays in force. Said once per change.
        """
        stamp = self._stamp()
        is_still, self._seen = stamp == self._seen, stamp
        if stamp == self._judged or not is_still:
            return None
        self._judged = stamp
        return self._take_up()

    def _take_up(self) -> SignedPolicy | None:
        before = self._current.policy.version
        if self._read_anchors() != self._anchors:
            raise wrong(
                self._directory / KEYS_FILE,
                "was changed; whose signatures count is read at the start of a service only",
                "已变更；该文件仅在服务启动时读取",
            )
        files = policy_files(self._directory)
        found = load_policy(self._directory, version_min=before)
        self._require_same(found, before, self._current.digest)
        if found.digest == self._current.digest:
            return None
        self._remember(found, before)
        self._current, self._files = found, files
        return found

    def _require_same(self, found: SignedPolicy, version: int, digest: str) -> None:
        if found.policy.version == version and found.digest != digest:
            raise wrong(
                self._directory / POLICY_FILE,
                f"was changed, yet it still says version {version}; give a changed policy a higher version",
                f"内容已变更但版本仍为 {version}，请提高版本号",
            )

    def _recall(self) -> tuple[int, str]:
        version, digest = 0, ""
        with contextlib.suppress(FileNotFoundError):
            words = self._remembered.read_text("ascii").split()
            version, digest = int(words[0]), words[1] if len(words) > 1 else ""
        return version, digest

    def _remember(self, found: SignedPolicy, before: int) -> None:
        if found.policy.version <= before:
            return
        try:
            self._remembered.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._remembered, f"{found.policy.version} {found.digest}\n".encode(), 0o644)
        except OSError as error:
            raise wrong(self._remembered, error.strerror or "cannot be written", "无法写入") from None

    def _read_anchors(self) -> bytes:
        try:
            return (self._directory / KEYS_FILE).read_bytes()
        except OSError as error:
            raise wrong(self._directory / KEYS_FILE, error.strerror or "cannot be read", "无法读取") from None

    def _stamp(self) -> tuple[tuple[str, ...], Stamp]:
        files = sorted((*self._directory.glob("*.toml"), *self._directory.glob("*.sig")))
        return tuple(file.name for file in files), stamp_of(files)


__all__ = ["PolicyInForce", "PolicyInvalid"]
