"""Key files: only for their owner, for both algorithms, and never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from yinqi.orders.keys import (
    DECISION_CONTEXT,
    ORDER_CONTEXT,
    Algorithm,
    KeyFileInvalid,
    PrivateKey,
    Signed,
    verify_all,
)

CONTEXT = b"test\x00"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_saved_key_signs_as_before(algorithm: Algorithm, tmp_path: Path) -> None:
    key = PrivateKey.generate("erp", algorithm)
    key.save(tmp_path / "erp.key")
    loaded = PrivateKey.load(tmp_path / "erp.key", "erp")
    assert loaded.algorithm is algorithm
    assert verify_all(CONTEXT, [loaded.sign(CONTEXT, b"order")], {"erp": key.public_key()}) == [True]


def test_a_password_protects_an_sm2_key(tmp_path: Path) -> None:
    key = PrivateKey.generate("li.si")
    key.save(tmp_path / "li.si.key", "correct horse")
    assert PrivateKey.load(tmp_path / "li.si.key", "li.si", "correct horse").public_key() == key.public_key()
    with pytest.raises(KeyFileInvalid, match="password is wrong"):
        PrivateKey.load(tmp_path / "li.si.key", "li.si", "wrong horse")
    with pytest.raises(KeyFileInvalid, match="SM2 keys only"):
        PrivateKey.generate("erp", Algorithm.ED25519).save(tmp_path / "erp.key", "correct horse")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    PrivateKey.generate("erp").save(tmp_path / "erp.key")
    (tmp_path / "erp.key").chmod(0o640)
    with pytest.raises(KeyFileInvalid, match="chmod 600"):
        PrivateKey.load(tmp_path / "erp.key", "erp")


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    PrivateKey.generate("erp").save(tmp_path / "erp.key")
    with pytest.raises(KeyFileInvalid):
        PrivateKey.generate("erp").save(tmp_path / "erp.key")
    with pytest.raises(KeyFileInvalid):
        PrivateKey.load(tmp_path / "missing.key", "erp")


def test_unknown_keys_and_short_signatures_are_false() -> None:
    key = PrivateKey.generate("erp")
    signed = key.sign(CONTEXT, b"order")
    others = [
        signed._replace(key_id="nobody"),
        signed._replace(signature=signed.signature[:-1]),
        Signed(b"", "erp", b""),
    ]
    assert verify_all(CONTEXT, [signed, *others], {"erp": key.public_key()}) == [True, False, False, False]


def test_a_signature_is_good_for_one_purpose_and_by_the_keys_own_algorithm() -> None:
    for algorithm, other in ((Algorithm.SM2, Algorithm.ED25519), (Algorithm.ED25519, Algorithm.SM2)):
        key, stranger = PrivateKey.generate("li", algorithm), PrivateKey.generate("li", other)
        order = key.sign(ORDER_CONTEXT, b"content")
        known = {"li": key.public_key()}
        assert verify_all(ORDER_CONTEXT, [order], known) == [True]
        assert verify_all(DECISION_CONTEXT, [order], known) == [False], "an order's signature is no decision"
        assert verify_all(ORDER_CONTEXT, [stranger.sign(ORDER_CONTEXT, b"content")], known) == [False], (
            "no message names one"
        )
