"""What no bank key may be: weak, published, readable by others. The gateway does not start with one, and says what to do."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from yinqi.crypto import SigningKey, VerifyKey
from yinqi.gateway.key_checks import KeyExposed, KeyWeak, check_cipher_key, check_credential, check_public_key
from yinqi.gateway.key_set import KeyEvent, KeyEventKind, KeyPurpose, key_set_of
from yinqi.gateway.keystore import BankKeys, KeyFolder, KeysInvalid
from yinqi.gateway.profile import Profile

N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
SAMPLE = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8  # GB/T 32918.5


def public(d: int) -> VerifyKey:
    return SigningKey.from_bytes(d.to_bytes(32, "big")).public_key()


@pytest.fixture
def its(profile: Profile, tmp_path: Path) -> Profile:
    keys = profile.keys.model_copy(
        update={"directory": str(tmp_path / "keys"), "exchange_directory": str(tmp_path / "exchange")}
    )
    (tmp_path / "keys").mkdir()
    return profile.model_copy(update={"keys": keys})


def key_file(folder: Path, d: int, mode: int) -> Path:
    file = folder / "U123456789.signing_key.pem"
    file.write_bytes(SigningKey.from_bytes(d.to_bytes(32, "big")).to_encrypted_pem(b"secret", 10_000))
    file.chmod(mode)
    return file


@pytest.mark.parametrize("d", [1, 2, 255, N - 2, SAMPLE])
def test_a_key_that_everybody_can_find_is_refused_even_at_a_sandbox(d: int) -> None:
    with pytest.raises(KeyWeak, match="yinqi keys create"):
        check_public_key(public(d), "key.pem", is_sandbox=True)


@pytest.mark.parametrize("key", [bytes(16), bytes(range(16)), b"1234567890123456", b"VuAzSWQhsoNqzn0K"])
def test_a_symmetric_key_with_a_pattern_or_of_a_sample_is_refused(key: bytes) -> None:
    with pytest.raises(KeyWeak):
        check_cipher_key(key, "key.hex", is_sandbox=True)


def test_a_key_of_this_projects_recordings_is_good_for_a_sandbox_only() -> None:
    recorded = Path(__file__).parent / "recorded" / "exchanges.json"
    text = recorded.read_text("utf-8")
    point = text[text.index('"bank_public_key": "') + len('"bank_public_key": "') :][:130]
    key = VerifyKey.from_bytes(bytes.fromhex(point))
    assert len(check_public_key(key, "the bank's", is_sandbox=True)) == 16
    with pytest.raises(KeyWeak, match="for sandboxes"):
        check_public_key(key, "the bank's", is_sandbox=False)


def test_random_keys_pass() -> None:
    check_public_key(SigningKey.generate().public_key(), "key.pem", is_sandbox=False)
    check_cipher_key(bytes.fromhex("8f1c55a0d97b3e62440fa1b8c6d2e397"), "key.hex", is_sandbox=False)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_helps(its: Profile, mode: int) -> None:
    file = key_file(Path(its.keys.directory), int.from_bytes(os.urandom(31), "big") + 1_000, mode)
    with pytest.raises(KeyExposed, match=f"chmod 600 {file}"):
        KeyFolder(its, password="secret").first(KeyPurpose.SIGNING)


def test_a_file_that_is_not_in_use_must_be_ours_alone_too(its: Profile) -> None:
    file = Path(its.keys.directory) / "next.signing_key.pem.password"
    file.write_bytes(b"secret")
    file.chmod(0o644)
    with pytest.raises(KeyExposed, match=f"chmod 600 {file}"):
        KeyFolder(its).prepare()


def test_a_weak_key_file_and_one_of_another_owner_are_refused(its: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file(Path(its.keys.directory), 1, 0o600)
    folder = KeyFolder(its, password="secret")
    with pytest.raises(KeyWeak, match="small number"):
        folder.first(KeyPurpose.SIGNING)
    monkeypatch.setattr("os.geteuid", lambda: 4_242)
    with pytest.raises(KeyExposed, match="chown"):
        folder.first(KeyPurpose.SIGNING)


def test_a_mounted_credential_may_be_roots_but_no_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"secret")
    file.chmod(0o644)
    with pytest.raises(KeyExposed, match="chmod 600"):
        check_credential(file)
    file.chmod(0o600)
    check_credential(file)
    if os.geteuid() == 0:  # a file of root's, as kubelet mounts it for a process that is not
        file.chmod(0o440)
        monkeypatch.setattr("os.geteuid", lambda: 4_242)
        check_credential(file)


def test_a_weak_key_that_the_bank_leaves_is_never_believed(its: Profile) -> None:
    folder = KeyFolder(its)
    folder.prepare()
    folder.bank_key_file.write_text(public(1).to_bytes().hex())
    keys = BankKeys(SigningKey.generate(), bytes(16), folder.bank_key_file, folder.check_bank_key)
    with pytest.raises(KeyWeak, match="ask the bank"):
        keys.now()


def test_a_file_that_holds_another_key_than_the_journal_says_is_refused(its: Profile) -> None:
    file = key_file(Path(its.keys.directory), int.from_bytes(os.urandom(31), "big") + 1_000, 0o600)
    at = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    adopted = KeyEvent(its.name, "0" * 16, KeyPurpose.SIGNING, KeyEventKind.ADOPTED, "gateway", at, file=file.name)
    (known,) = key_set_of([adopted])
    with pytest.raises(KeysInvalid, match="Put the file back"):
        KeyFolder(its, password="secret").open_known(known)
