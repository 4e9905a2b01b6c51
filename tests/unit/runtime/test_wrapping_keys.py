"""Key-encryption keys in files: which are used, and which are refused in words."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from yinqi.runtime.wrapping_keys import WrappingKeyInvalid, WrappingKeys


def test_the_newest_key_wraps_and_the_older_ones_still_unwrap(tmp_path: Path):
    keys = WrappingKeys(tmp_path / "kek")
    first, second = keys.create(secrets.token_bytes), keys.create(secrets.token_bytes, "aes-256-gcm")
    assert [file.name for file in (first, second)] == ["0001.kek", "0002.kek"]
    assert first.stat().st_mode & 0o777 == 0o600
    old, new = keys.read()
    assert old.open(old.seal(b"secret", b"row"), b"row") == b"secret"
    assert len({old.key_id, new.key_id}) == 2


def test_a_key_that_others_may_read_is_refused(tmp_path: Path):
    file = WrappingKeys(tmp_path).create(secrets.token_bytes)
    file.chmod(0o644)
    with pytest.raises(WrappingKeyInvalid, match="chmod 600"):
        WrappingKeys(tmp_path).read()


@pytest.mark.parametrize("content", ["00" * 16, "000102030405060708090a0b0c0d0e0f", "ab" * 15, "not hexadecimal", ""])
def test_a_key_that_is_no_random_one_is_refused(tmp_path: Path, content: str):
    file = tmp_path / "0001.kek"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(WrappingKeyInvalid, match=r"0001\.kek"):
        WrappingKeys(tmp_path).read()


def test_a_folder_without_keys_says_what_to_do(tmp_path: Path):
    with pytest.raises(WrappingKeyInvalid, match="yinqi data create-key"):
        WrappingKeys(tmp_path / "nothing").read()
