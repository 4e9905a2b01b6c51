"""Keys: made once, kept private, opened once, and refused in words when they do not fit."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from yinqi.crypto import SigningKey, VerifyKey
from yinqi.gateway.key_set import KeyPurpose
from yinqi.gateway.keystore import BankKeys, KeyFolder, KeysInvalid, open_keys
from yinqi.gateway.profile import Profile
from yinqi.kernel.errors import Unavailable

# A key file that opens quickly; the one the gateway makes takes half a second on purpose.
QUICK = SigningKey.generate().to_encrypted_pem(b"secret", 10_000)


@pytest.fixture
def its(profile: Profile, tmp_path: Path) -> Profile:
    keys = profile.keys.model_copy(
        update={"directory": str(tmp_path / "keys"), "exchange_directory": str(tmp_path / "exchange")}
    )
    (tmp_path / "keys").mkdir()
    return profile.model_copy(update={"keys": keys})


def written(file: Path, content: bytes) -> Path:
    """A file as only its owner may read it."""
    file.write_bytes(content)
    file.chmod(0o600)
    return file


def test_the_first_start_makes_keys_that_only_we_can_read_and_the_next_one_keeps_them(
    its: Profile, tmp_path: Path
) -> None:
    first = open_keys(its)
    second = open_keys(its)
    assert first.sm4_key == second.sm4_key
    assert first.signing_key.public_key().to_bytes() == second.signing_key.public_key().to_bytes()
    for name in ("signing_key.pem", "password", "sm4_key.hex"):
        assert stat.S_IMODE((tmp_path / "keys" / f"U123456789.{name}").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "keys" / "U123456789.signing_key.pem").read_bytes()
    exported = (tmp_path / "exchange" / "U123456789.public_key.hex").read_text().strip()
    assert exported == first.signing_key.public_key().to_bytes().hex()
    shared = tmp_path / "exchange" / "U123456789.sm4_key.hex"
    assert shared.read_text().strip() == first.sm4_key.hex()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o600


def test_a_password_from_a_named_file_opens_the_key(its: Profile, tmp_path: Path) -> None:
    written(tmp_path / "keys" / "U123456789.signing_key.pem", QUICK)
    password = written(tmp_path / "credential", b"secret\n")
    assert KeyFolder(its, password_file=password).first(KeyPurpose.SIGNING).signer is not None
    assert not (tmp_path / "keys" / "U123456789.password").exists()
    password.write_bytes(b"wrong")
    with pytest.raises(KeysInvalid, match="YINQI_GATEWAY_KEY_PASSWORD_FILE"):
        KeyFolder(its, password_file=password).first(KeyPurpose.SIGNING)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("signing_key.pem", b"not a key", "cannot be opened"),
        ("sm4_key.hex", b"00ff", "32 hexadecimal digits"),
        ("sm4_key.hex", "密".encode(), "32 hexadecimal digits"),
        ("password", b" \n", "is empty"),
    ],
)
def test_a_damaged_file_is_named_and_never_replaced(
    its: Profile, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    written(tmp_path / "keys" / "U123456789.signing_key.pem", QUICK)
    written(tmp_path / "keys" / "U123456789.password", b"secret")
    file = written(tmp_path / "keys" / f"U123456789.{name}", content)
    with pytest.raises(KeysInvalid, match=says):
        open_keys(its)
    assert file.read_bytes() == content


def test_the_banks_key_is_awaited_and_then_kept(tmp_path: Path) -> None:
    file = tmp_path / "bank_public_key.hex"
    keys = BankKeys(SigningKey.generate(), bytes(16), file)
    for content in (None, "", "zz", "04" + "00" * 64):
        if content is not None:
            file.write_text(content)
        with pytest.raises(Unavailable, match="nothing is sent"):
            keys.bank_key()
    file.write_text(SigningKey.generate().public_key().to_bytes().hex() + "\n")
    found = keys.bank_key()
    assert isinstance(found, VerifyKey)
    file.unlink()
    assert keys.bank_key() is found
