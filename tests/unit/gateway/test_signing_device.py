"""A profile may name a device that holds the signing key; the soft SDF device of crypto_core stands for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from yinqi.crypto import SigningKey
from yinqi.gateway.keystore import KeysInvalid, open_keys
from yinqi.gateway.profile import Profile, SigningDevice
from yinqi.kernel.errors import Unavailable

SOFT_SDF = Path(__file__).parents[3] / "crypto_core" / "target" / "release" / "examples" / "libsoft_sdf.so"
KEY = SigningKey.generate()
PIN = b"135790"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a soft SDF device with KEY as number 1."""
    if not SOFT_SDF.exists():
        pytest.skip("needs the soft SDF library: cargo build --release --example soft_sdf in crypto_core")
    folder = tmp_path / "device"
    folder.mkdir()
    monkeypatch.setenv("SOFT_SDF_DIR", str(folder))
    (folder / "1.key").write_text(KEY.to_bytes().hex(), "ascii")
    (folder / "pin").write_bytes(PIN)
    return folder


@pytest.fixture
def its(profile: Profile, tmp_path: Path) -> Profile:
    """The profile with key number 1 of the device, and the PIN in its file."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "U123456789.pin").write_bytes(PIN + b"\n")
    (tmp_path / "keys" / "U123456789.pin").chmod(0o600)
    keys = profile.keys.model_copy(
        update={
            "directory": str(tmp_path / "keys"),
            "exchange_directory": str(tmp_path / "exchange"),
            "device": SigningDevice(library=str(SOFT_SDF), key_index=1, timeout_ms=60_000),
        }
    )
    return profile.model_copy(update={"keys": keys})


def test_the_device_signs_its_public_key_goes_to_the_bank_and_no_key_file_is_made(
    its: Profile, device: Path, tmp_path: Path
) -> None:
    keys = open_keys(its)
    KEY.public_key().verify(b"message", keys.signing_key.sign(b"message", b"U123456789000000"), b"U123456789000000")
    exported = (tmp_path / "exchange" / "U123456789.public_key.hex").read_text().strip()
    assert exported == KEY.public_key().to_bytes().hex()
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == ["U123456789.pin", "U123456789.sm4_key.hex"]


def test_a_device_that_is_away_is_unavailable_and_serves_again_when_it_is_back(its: Profile, device: Path) -> None:
    keys = open_keys(its)
    (device / "away").touch()
    with pytest.raises(Unavailable, match="Nothing was sent") as caught:
        keys.signing_key.sign(b"message")
    assert caught.value.reason == "SIGNING_DEVICE_UNAVAILABLE"
    (device / "away").unlink()
    KEY.public_key().verify(b"message", keys.signing_key.sign(b"message"))


def test_a_device_that_cannot_be_opened_is_refused_in_words_and_its_pin_stays_secret(
    its: Profile, device: Path, tmp_path: Path
) -> None:
    pin_file = tmp_path / "keys" / "U123456789.pin"
    pin_file.write_bytes(b"000111")
    with pytest.raises(KeysInvalid, match="the PIN is wrong") as caught:
        open_keys(its)
    assert "000111" not in caught.value.message
    assert (device / "pins").stat().st_size == 1
    pin_file.write_bytes(b"\n")
    with pytest.raises(KeysInvalid, match="is empty"):
        open_keys(its)
    pin_file.unlink()
    with pytest.raises(KeysInvalid, match=r"U123456789\.pin"):
        open_keys(its)
    assert (device / "pins").stat().st_size == 1


def test_pkcs_11_is_refused_because_it_has_no_sm2() -> None:
    with pytest.raises(ValidationError, match=r'PKCS#11 has no SM2.*"sdf" is allowed'):
        SigningDevice.model_validate({"kind": "pkcs11", "library": "/module.so", "key_index": 1})
