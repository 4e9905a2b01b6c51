"""Sealed envelopes for data at rest."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from yinqi.crypto import DecryptionFailed, EnvelopeKey, InvalidLength, UnknownAlgorithm, envelope_key_id

LENGTHS = {"sm4-gcm": 16, "aes-256-gcm": 32}


@pytest.fixture(params=LENGTHS)
def key(request: pytest.FixtureRequest) -> EnvelopeKey:
    return EnvelopeKey(request.param, b"2026-11", bytes(range(LENGTHS[request.param])))


def test_what_was_sealed_opens_with_the_same_key_and_associated_data(key: EnvelopeKey) -> None:
    texts = [bytes([i]) * (i * 7) for i in range(65)]
    aads = [b"table/column/%d" % i for i in range(65)]
    sealed = key.seal_many(texts, aads)
    assert key.open_many(sealed, aads) == texts
    assert key.open(sealed[3], aads[3]) == texts[3]
    assert key.open_many(sealed, aads[1:] + aads[:1]) == [None] * 65
    assert key.open(key.seal(b"")) == b""
    assert {envelope_key_id(envelope) for envelope in sealed} == {key.key_id} == {b"2026-11"}


def test_two_envelopes_of_one_text_differ(key: EnvelopeKey) -> None:
    assert len(set(key.seal_many([b"text"] * 100))) == 100


def test_the_form_is_the_one_documented() -> None:
    secret = bytes(range(32))
    sealed = EnvelopeKey("aes-256-gcm", b"id", secret).seal(b"text", b"aad")
    header, nonce, body = sealed[:5], sealed[5:17], sealed[17:]
    assert header == b"\x01\x02\x02id"
    assert AESGCM(secret).decrypt(nonce, body, header + b"aad") == b"text"


def test_every_damage_is_the_same_error(key: EnvelopeKey) -> None:
    sealed = key.seal(b"text", b"aad")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    cut = [sealed[:i] for i in range(len(sealed))]
    wrong = [*changed, *cut, sealed + b"\x00"]
    texts = set()
    for envelope in wrong:
        with pytest.raises(DecryptionFailed) as caught:
            key.open(envelope, b"aad")
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert key.open_many([*wrong, sealed], [b"aad"] * (len(wrong) + 1)) == [*[None] * len(wrong), b"text"]


def test_a_text_that_is_no_envelope_names_no_key() -> None:
    for text in (b"", b"\x01", b"\x02\x01\x01k" + bytes(28), b"\x01\x03\x01k" + bytes(28), b"\x01\x01\x00" + bytes(28)):
        with pytest.raises(DecryptionFailed):
            envelope_key_id(text)
    assert envelope_key_id(b"\x01\x01\x01k" + bytes(28)) == b"k"


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UnknownAlgorithm, match="sm4-gcm or aes-256-gcm expected"):
        EnvelopeKey("sm4", b"k", bytes(16))
    with pytest.raises(InvalidLength, match="SM4 key: 16 bytes expected, got 32"):
        EnvelopeKey("sm4-gcm", b"k", bytes(32))
    with pytest.raises(InvalidLength, match="key id: 1 to 64 bytes expected, got 0"):
        EnvelopeKey("sm4-gcm", b"", bytes(16))
    key = EnvelopeKey("sm4-gcm", b"k", bytes(16))
    with pytest.raises(InvalidLength, match=r"aads: as many as texts \(2\) expected, got 1"):
        key.seal_many([b"", b""], [b""])


def test_a_key_is_neither_copied_nor_pickled(key: EnvelopeKey) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
