"""SM3 and HMAC-SM3 through Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from yinqi.crypto import hmac_sm3, sm3, sm3_many


def test_the_samples_of_the_standard(read_vectors: Callable[[str], Any]) -> None:
    for case in read_vectors("sm3/gbt_32905.json")["tests"]:
        assert sm3(bytes.fromhex(case["msg"])).hex() == case["digest"], case["comment"]


def test_every_length_around_block_edges_agrees_with_another_implementation() -> None:
    def expected(data: bytes) -> bytes:
        digest = hashes.Hash(hashes.SM3())
        digest.update(data)
        return digest.finalize()

    items = [bytes(i * 7 % 256 for i in range(length)) for length in [*range(300), 1023, 1024, 65_537]]
    digests = sm3_many(items)
    assert digests == [expected(item) for item in items]
    assert [sm3(item) for item in items] == digests
    assert sm3(bytearray(items[100])) == digests[100]


def test_an_empty_batch_is_an_empty_answer() -> None:
    assert sm3_many([]) == []


def test_a_batch_names_the_item_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"data\[1\]"):
        sm3_many([b"a", 1])  # type: ignore[list-item]


def test_hmac_follows_rfc_2104_for_short_whole_and_long_keys() -> None:
    for length in (0, 1, 32, 63, 64, 65, 200):
        key = bytes(range(length))
        block = (sm3(key) if length > 64 else key).ljust(64, b"\x00")
        inner = sm3(bytes(byte ^ 0x36 for byte in block) + b"message")
        assert hmac_sm3(key, b"message") == sm3(bytes(byte ^ 0x5C for byte in block) + inner)
