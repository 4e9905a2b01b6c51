"""One interface to signing keys: in memory, in a PKCS#11 token (SoftHSM 2), in an SDF device (our soft one)."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from yinqi import crypto
from yinqi.crypto import DEFAULT_IDENTITY, GeneralVerifyKey, Signer, SigningKey, VerifyKey

ROOT = Path(__file__).parents[3]
SOFTHSM = next(
    (p for p in (Path("/usr/lib/softhsm/libsofthsm2.so"), Path("/usr/lib64/pkcs11/libsofthsm2.so")) if p.exists()), None
)
SOFT_SDF = ROOT / "crypto_core" / "target" / "release" / "examples" / "libsoft_sdf.so"
GENERAL = ["ed25519", "ecdsa-p256-sha256", "ecdsa-p256-sha256-raw", "rsa-pkcs1-sha256", "rsa-pss-sha384"]
MESSAGES = [b"one", b"two", b""]
PIN = b"135790"


def verdicts(signer: Signer, messages: list[bytes], signatures: list[bytes]) -> list[bool]:
    if signer.algorithm == "sm2-sm3":
        return VerifyKey.from_spki(signer.public_key()).verify_many(messages, signatures)
    return GeneralVerifyKey.from_bytes(signer.algorithm, signer.public_key()).verify_many(messages, signatures)


# --- in memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sm2-sm3", *GENERAL])
def test_a_key_in_memory_signs_what_its_public_key_accepts(algorithm: str) -> None:
    if algorithm == "sm2-sm3":
        data = SigningKey.generate().to_pkcs8()
    else:
        data = crypto.GeneralSigningKey.generate(algorithm).to_pkcs8()
    signer = Signer.from_pkcs8(algorithm, data)
    assert (signer.algorithm, signer.backend, len(signer.key_id)) == (algorithm, "software", 16)
    assert verdicts(signer, MESSAGES, signer.sign_many(MESSAGES)) == [True] * 3
    assert verdicts(signer, [b"one"], [signer.sign(b"two")]) == [False]
    assert signer.sign_many([]) == []


def test_an_sm2_signer_and_its_key_are_the_same_key() -> None:
    key = SigningKey.generate()
    signer = Signer.from_key(key, "salary")
    assert signer.key_id == "salary"
    assert signer.public_key() == key.public_key().to_der()
    key.public_key().verify(b"m", signer.sign(b"m", b"who"), b"who")
    with pytest.raises(crypto.InvalidSignature):
        key.public_key().verify(b"m", signer.sign(b"m", b"who"), DEFAULT_IDENTITY)
    (signature,) = signer.sign_digests([b"\x07" * 32])
    key.public_key().verify_digest(b"\x07" * 32, signature)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_a_foreign_encrypted_key_signs_for_its_owner(tmp_path: Path) -> None:
    owner = rsa.generate_private_key(65537, 2048)
    plain = owner.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    options = ["-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "10000", "-passout", "pass:pw"]
    sealed = subprocess.run(["openssl", "pkcs8", *options], input=plain, capture_output=True, check=True).stdout
    signer = Signer.from_pkcs8("rsa-pss-sha256", sealed, b"pw")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    owner.public_key().verify(signer.sign(b"m"), b"m", pss, hashes.SHA256())
    with pytest.raises(crypto.InvalidKey, match="encrypted; give its password"):
        Signer.from_pkcs8("rsa-pss-sha256", sealed)
    with pytest.raises(crypto.InvalidKey, match="no encrypted PKCS#8"):
        Signer.from_pkcs8("rsa-pss-sha256", plain, b"pw")


def test_mistakes_are_named() -> None:
    signer = Signer.from_key(SigningKey.generate())
    with pytest.raises(crypto.InvalidLength, match=r"digests\[1\]: 32 bytes expected, got 31"):
        signer.sign_digests([b"\0" * 32, b"\0" * 31])
    with pytest.raises(TypeError, match=r"messages\[1\]"):
        signer.sign_many([b"a", "b"])  # type: ignore[list-item]
    with pytest.raises(crypto.UnknownAlgorithm, match="sm2-sm3"):
        Signer.from_pkcs8("sm9", b"")
    rsa_data = crypto.GeneralSigningKey.generate("ed25519").to_pkcs8()
    with pytest.raises(crypto.InvalidKey):
        Signer.from_pkcs8("sm2-sm3", rsa_data)
    ed25519 = Signer.from_pkcs8("ed25519", rsa_data)
    with pytest.raises(crypto.UnknownAlgorithm, match="signs messages, not digests"):
        ed25519.sign_digests([b"\0" * 32])
    with pytest.raises(crypto.InvalidLength, match="identity"):
        ed25519.sign(b"m", b"identity")


def test_a_signer_shows_no_secret_and_cannot_be_copied() -> None:
    signer = Signer.from_key(SigningKey.generate(), "salary")
    assert repr(signer) == "<Signer sm2-sm3 software salary>"
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="open the key again"):
            duplicate(signer)


# --- PKCS#11 --------------------------------------------------------------------------------------------------------


def softhsm(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SoftHSM token "yinqi" with a P-256 and an RSA key; the module's path."""
    if SOFTHSM is None:
        pytest.skip("needs SoftHSM 2 (Debian package softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n", "utf-8")
    environment = pytest.MonkeyPatch()
    environment.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    softhsm("--init-token", "--free", "--label", "yinqi", "--so-pin", "12345678", "--pin", PIN.decode())
    keys = {"01": ec.generate_private_key(ec.SECP256R1()), "02": rsa.generate_private_key(65537, 2048)}
    for number, key in keys.items():
        file = folder / f"{number}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        softhsm("--import", str(file), "--token", "yinqi", "--label", "payments", "--id", number, "--pin", PIN.decode())
    yield SOFTHSM
    environment.undo()


def open_token(module: Path, algorithm: str, number: int, pin: bytes = PIN) -> Signer:
    return Signer.open_pkcs11(algorithm, module=module, token="yinqi", pin=pin, label="payments", id=bytes([number]))


def test_a_wrong_pin_is_said_and_stays_secret(token: Path) -> None:
    # First of all: once a session is logged in, the module does not look at PINs any more.
    with pytest.raises(crypto.WrongPin, match="the PIN is wrong") as caught:
        open_token(token, "ecdsa-p256-sha256", 1, b"000111")
    assert "000111" not in str(caught.value)
    assert "token=yinqi;object=payments;id=%01" in str(caught.value)


@pytest.mark.parametrize("algorithm", [name for name in GENERAL if name != "ed25519"])
def test_a_token_signs_what_its_public_key_accepts(token: Path, algorithm: str) -> None:
    signer = open_token(token, algorithm, 1 if "p256" in algorithm else 2)
    assert (signer.algorithm, signer.backend) == (algorithm, "pkcs11")
    many = [bytes([i]) * i for i in range(40)]
    assert verdicts(signer, many, signer.sign_many(many)) == [True] * 40
    assert signer.key_id.startswith("pkcs11:token=yinqi;object=payments;id=%0")
    assert PIN.decode() not in repr(signer)


def test_what_is_not_there_is_named(token: Path) -> None:
    with pytest.raises(crypto.KeyNotFound, match="2 keys fit; give label and id together"):
        Signer.open_pkcs11("rsa-pss-sha256", module=token, token="yinqi", pin=PIN, label="payments")
    with pytest.raises(crypto.KeyNotFound, match="has no such"):
        Signer.open_pkcs11("rsa-pss-sha256", module=token, token="yinqi", pin=PIN, label="salaries")
    with pytest.raises(crypto.KeyNotFound, match="not of the kind"):
        open_token(token, "rsa-pss-sha256", 1)
    with pytest.raises(crypto.KeyNotFound, match="say which key"):
        Signer.open_pkcs11("rsa-pss-sha256", module=token, token="yinqi", pin=PIN)
    with pytest.raises(crypto.DeviceUnavailable, match="present: yinqi"):
        Signer.open_pkcs11("rsa-pss-sha256", module=token, token="other", pin=PIN, label="payments")
    with pytest.raises(crypto.DeviceUnavailable, match=r"/nowhere\.so cannot be loaded"):
        Signer.open_pkcs11("rsa-pss-sha256", module="/nowhere.so", token="yinqi", pin=PIN, label="payments")
    with pytest.raises(crypto.UnknownAlgorithm):
        open_token(token, "ed25519", 1)


def test_an_open_device_does_not_cross_a_fork(token: Path) -> None:
    signer = open_token(token, "ecdsa-p256-sha256", 1)
    child = os.fork()
    if child == 0:
        try:
            signer.sign(b"m")
        except crypto.DeviceUnavailable as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert signer.sign(b"m")


# --- SDF ------------------------------------------------------------------------------------------------------------

SM2_KEY = SigningKey.generate()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a soft SDF device with SM2_KEY as number 1."""
    if not SOFT_SDF.exists():
        pytest.skip("needs the soft SDF library: cargo build --release --example soft_sdf in crypto_core")
    monkeypatch.setenv("SOFT_SDF_DIR", str(tmp_path))
    (tmp_path / "1.key").write_text(SM2_KEY.to_bytes().hex(), "ascii")
    (tmp_path / "pin").write_bytes(PIN)
    return tmp_path


@pytest.fixture
def open_device(device: Path) -> Callable[..., Signer]:
    def open_it(key_index: int = 1, pin: bytes = PIN, timeout_ms: int = 60_000) -> Signer:
        return Signer.open_sdf(library=SOFT_SDF, key_index=key_index, pin=pin, timeout_ms=timeout_ms)

    return open_it


def test_an_sdf_device_signs_with_its_sm2_key(open_device: Callable[..., Signer]) -> None:
    signer = open_device()
    assert (signer.algorithm, signer.backend, signer.key_id) == ("sm2-sm3", "sdf", "sdf:index=1")
    assert signer.public_key() == SM2_KEY.public_key().to_der()
    messages = [bytes([i]) for i in range(200)]
    signatures = signer.sign_many(messages, b"user0000")
    assert all(SM2_KEY.public_key().verify_many(messages, signatures, b"user0000"))


def test_a_lost_session_is_opened_again_once(open_device: Callable[..., Signer], device: Path) -> None:
    signer = open_device()
    (device / "reboot").touch()
    assert verdicts(signer, MESSAGES, signer.sign_many(MESSAGES)) == [True] * 3
    assert (device / "opened").read_bytes() == b".."


def test_a_device_that_is_away_says_so_and_serves_again_when_it_is_back(
    open_device: Callable[..., Signer], device: Path
) -> None:
    signer = open_device()
    (device / "away").touch()
    for _ in range(2):
        with pytest.raises(crypto.DeviceUnavailable, match=r"check it and the line to it \(SDF_.*: 0x01000003\)"):
            signer.sign(b"m")
    with pytest.raises(crypto.DeviceUnavailable):
        open_device()
    (device / "away").unlink()
    assert verdicts(signer, [b"m"], [signer.sign(b"m")]) == [True]


def test_a_wrong_pin_is_tried_once_only(open_device: Callable[..., Signer], device: Path) -> None:
    with pytest.raises(crypto.WrongPin) as caught:
        open_device(pin=b"000111")
    assert "000111" not in str(caught.value)
    signer = open_device()
    (device / "pin").write_bytes(b"changed")
    (device / "reboot").touch()
    tried = (device / "pins").stat().st_size
    for _ in range(3):
        with pytest.raises(crypto.WrongPin):
            signer.sign(b"m")
    assert (device / "pins").stat().st_size == tried + 1


def test_a_missing_key_is_not_a_wrong_pin(open_device: Callable[..., Signer]) -> None:
    with pytest.raises(crypto.KeyNotFound, match="sdf:index=9"):
        open_device(key_index=9)
    with pytest.raises(crypto.DeviceUnavailable, match="cannot be loaded"):
        Signer.open_sdf(library="/nowhere.so", key_index=1, pin=PIN)


def test_a_wrong_signature_never_leaves(open_device: Callable[..., Signer], device: Path) -> None:
    signer = open_device()
    (device / "broken").touch()
    with pytest.raises(crypto.DeviceFailed, match="item 0 does not verify"):
        signer.sign_many(MESSAGES)


def test_nobody_waits_for_a_device_that_hangs(open_device: Callable[..., Signer], device: Path) -> None:
    signer = open_device(timeout_ms=3_000)
    (device / "slow").touch()
    with pytest.raises(crypto.DeviceTimedOut, match="within 3000 ms"):
        signer.sign(b"m")
    for timeout_ms in (0, 600_001):
        with pytest.raises(crypto.InvalidLength, match="timeout"):
            open_device(timeout_ms=timeout_ms)
