"""Private keys sealed under a password."""

from __future__ import annotations

import base64
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from yinqi.crypto import (
    DecryptionFailed,
    GeneralSigningKey,
    InvalidKey,
    InvalidLength,
    SigningKey,
    UnknownAlgorithm,
    VerifyKey,
    ciphertext_from_der,
    ciphertext_to_der,
)

ITERATIONS = 10_000  # The least allowed; the default is meant to be slow.


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def pem(key: SigningKey) -> bytes:
    return key.to_encrypted_pem("密码 correct horse".encode(), ITERATIONS)


def test_a_sealed_key_opens_with_its_password(key: SigningKey, pem: bytes) -> None:
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    opened = SigningKey.from_encrypted_pem(pem, "密码 correct horse".encode())
    assert opened.to_bytes() == key.to_bytes()
    assert key.to_bytes() not in base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def test_two_seals_of_one_key_share_nothing(key: SigningKey, pem: bytes) -> None:
    again = key.to_encrypted_pem("密码 correct horse".encode(), ITERATIONS)
    assert again.splitlines()[3:] != pem.splitlines()[3:]


def test_a_wrong_password_and_damage_are_one_error(pem: bytes) -> None:
    lines = pem.splitlines(keepends=True)
    sealed = bytearray(base64.b64decode(b"".join(lines[1:-1])))
    sealed[-1] ^= 1
    damaged = (
        lines[0]
        + b"".join(base64.b64encode(bytes(sealed[i : i + 48])) + b"\n" for i in range(0, len(sealed), 48))
        + lines[-1]
    )
    for data, password in [(pem, b"wrong"), (damaged, "密码 correct horse".encode())]:
        with pytest.raises(DecryptionFailed):
            SigningKey.from_encrypted_pem(data, password)


def test_each_cut_and_each_changed_byte_is_refused_without_a_crash(key: SigningKey) -> None:
    pem = key.to_encrypted_pem(b"pw", ITERATIONS)
    lines = pem.splitlines()
    der = base64.b64decode(b"".join(lines[1:-1]))

    def as_pem(data: bytes) -> bytes:
        body = b"".join(base64.b64encode(data[i : i + 48]) + b"\n" for i in range(0, len(data), 48))
        return lines[0] + b"\n" + body + lines[-1] + b"\n"

    assert SigningKey.from_encrypted_pem(as_pem(der), b"pw").to_bytes() == key.to_bytes()
    headers = der[:110]
    for position in range(len(headers)):
        for change in (1, 0x80):
            changed = bytearray(der)
            changed[position] ^= change
            try:
                opened = SigningKey.from_encrypted_pem(as_pem(bytes(changed)), b"pw")
            except (InvalidKey, DecryptionFailed):
                continue
            assert opened.to_bytes() == key.to_bytes()
    for length in range(0, len(der), 7):
        with pytest.raises((InvalidKey, DecryptionFailed)):
            SigningKey.from_encrypted_pem(as_pem(der[:length]), b"pw")
    with pytest.raises(InvalidKey):
        SigningKey.from_encrypted_pem(as_pem(der + b"\x00"), b"pw")


@pytest.mark.parametrize(
    "text", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff" * 100]
)
def test_what_is_no_sealed_key_says_so(text: bytes) -> None:
    with pytest.raises(InvalidKey, match="ENCRYPTED PRIVATE KEY"):
        SigningKey.from_encrypted_pem(text, b"pw")


def test_weak_settings_are_refused(key: SigningKey) -> None:
    for iterations in (0, 1, 9_999, 10_000_001):
        with pytest.raises(InvalidKey, match="10000 to 10000000 allowed"):
            key.to_encrypted_pem(b"pw", iterations)
    with pytest.raises(InvalidLength, match="password"):
        key.to_encrypted_pem(b"", ITERATIONS)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("cipher", ["sm4-cbc", "aes-128-cbc", "aes-256-cbc"])
def test_keys_that_openssl_sealed_can_be_read(key: SigningKey, cipher: str, tmp_path: Path) -> None:
    def openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["openssl", *arguments], capture_output=True, check=False)

    plain, sealed = tmp_path / "plain.pem", tmp_path / "sealed.pem"
    made = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", str(plain))
    if made.returncode != 0:
        pytest.skip("this openssl has no SM2")
    options = ["-topk8", "-v2", cipher, "-v2prf", "hmacWithSHA256", "-iter", str(ITERATIONS), "-passout", "pass:pw"]
    assert openssl("pkcs8", *options, "-in", str(plain), "-out", str(sealed)).returncode == 0
    opened = SigningKey.from_encrypted_pem(sealed.read_bytes(), b"pw")
    text = openssl("pkey", "-in", str(plain), "-noout", "-text").stdout.decode()
    digits = "".join(text.split("priv:")[1].split("pub:")[0].split()).replace(":", "")
    assert opened.to_bytes().hex() == digits.rjust(64, "0")[-64:]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_a_key_that_openssl_sealed_weakly_is_refused_with_the_way_out(tmp_path: Path) -> None:
    plain, sealed = tmp_path / "plain.pem", tmp_path / "sealed.pem"
    commands = [
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", str(plain)],
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:pw", "-in", str(plain), "-out", str(sealed)],
    ]
    for command in commands:
        if subprocess.run(["openssl", *command], capture_output=True, check=False).returncode != 0:
            pytest.skip("this openssl has no SM2")
    with pytest.raises(InvalidKey, match=r"2048 PBKDF2 iterations.*seal it again with more"):
        SigningKey.from_encrypted_pem(sealed.read_bytes(), b"pw")


# --- other forms ----------------------------------------------------------------------------------------------------


def test_a_plain_key_file_is_read_but_never_taken_for_a_protected_one(key: SigningKey) -> None:
    der = key.to_pkcs8()
    body = base64.encodebytes(der)
    pem = b"-----BEGIN PRIVATE KEY-----\n" + body.replace(b"\n", b"") + b"\n-----END PRIVATE KEY-----\n"
    assert SigningKey.from_pkcs8(der).to_bytes() == key.to_bytes()
    with pytest.raises(InvalidKey, match="no encrypted PKCS#8"):
        SigningKey.from_pkcs8(der, b"pw")
    with pytest.raises(InvalidKey):  # lines of RFC 7468 have 64 characters
        SigningKey.from_pkcs8(pem)


@pytest.mark.parametrize("cipher", ["sm4-cbc", "aes-256-cbc"])
def test_a_key_is_sealed_by_either_suite(key: SigningKey, cipher: Literal["sm4-cbc", "aes-256-cbc"]) -> None:
    pem = key.to_encrypted_pem(b"pw", ITERATIONS, cipher)
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    for data in (pem, der):
        assert SigningKey.from_pkcs8(data, b"pw").to_bytes() == key.to_bytes()
        with pytest.raises(InvalidKey, match="give its password"):
            SigningKey.from_pkcs8(data)
        with pytest.raises(DecryptionFailed):
            SigningKey.from_pkcs8(data, b"other")
    with pytest.raises(UnknownAlgorithm, match="sm4-cbc or aes-256-cbc"):
        key.to_encrypted_pem(b"pw", ITERATIONS, "des")  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_reads_what_we_write(key: SigningKey) -> None:
    pem = key.to_encrypted_pem(b"pw", ITERATIONS, "aes-256-cbc")
    command = ["openssl", "pkey", "-passin", "pass:pw", "-pubout"]
    read = subprocess.run(command, input=pem, capture_output=True, check=False)
    if b"unknown group" in read.stderr.lower():
        pytest.skip("this openssl has no SM2")
    assert read.stdout == key.public_key().to_pem()


def test_a_public_key_file_is_read_in_both_forms(key: SigningKey) -> None:
    public = key.public_key()
    assert public.to_pem().startswith(b"-----BEGIN PUBLIC KEY-----\n")
    for data in (public.to_pem(), public.to_der()):
        assert VerifyKey.from_spki(data).to_bytes() == public.to_bytes()
    p256 = GeneralSigningKey.generate("ecdsa-p256-sha256").public_key().to_der()
    for wrong in (p256, public.to_der() + b"\0", public.to_der()[:-1], b"", key.to_pkcs8()):
        with pytest.raises(InvalidKey):
            VerifyKey.from_spki(wrong)


def test_a_key_says_whether_its_memory_is_locked(key: SigningKey) -> None:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert isinstance(key.is_memory_locked, bool)
    if limit == resource.RLIM_INFINITY:
        assert key.is_memory_locked


def test_a_key_works_where_locking_is_forbidden() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "import os; os.geteuid() == 0 and os.setuid(65534)\n"
        "k = SigningKey.generate(); k.public_key().verify(b'm', k.sign(b'm')); print(k.is_memory_locked)\n"
    )
    command = [sys.executable, "-c", "from yinqi.crypto import SigningKey\n" + program]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert done.stdout == b"False\n"


def test_ciphertexts_have_the_form_of_gm_t_0009(key: SigningKey) -> None:
    sealed = key.public_key().encrypt(b"text")
    der = ciphertext_to_der(sealed)
    assert der[0] == 0x30
    assert ciphertext_from_der(der) == sealed
    assert key.decrypt(ciphertext_from_der(der)) == b"text"
    for wrong in (b"", der[:-1], der + b"\0", sealed):
        with pytest.raises(DecryptionFailed):
            ciphertext_from_der(wrong)
    with pytest.raises(InvalidLength):
        ciphertext_to_der(sealed[:97])
