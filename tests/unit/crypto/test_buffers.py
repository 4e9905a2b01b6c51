"""Batches as one buffer and offsets give what lists of texts give."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest

from yinqi import crypto

KEY = bytes(range(16))
GCMS: dict[
    str,
    tuple[
        bytes,
        Callable[..., list[bytes]],
        Callable[..., tuple[bytes, list[int]]],
        Callable[..., tuple[bytes, list[int], bytes]],
    ],
] = {
    "sm4": (KEY, crypto.sm4_gcm_encrypt_many, crypto.sm4_gcm_encrypt_buffer, crypto.sm4_gcm_decrypt_buffer),
    "aes": (
        KEY * 2,
        crypto.aes_256_gcm_encrypt_many,
        crypto.aes_256_gcm_encrypt_buffer,
        crypto.aes_256_gcm_decrypt_buffer,
    ),
}
COUNTS = [0, 1, 7, 8, 9, 63, 64, 65, 1000]


def texts_of(count: int) -> list[bytes]:
    chance = random.Random(count)
    return [chance.randbytes(chance.choice([0, 1, 15, 16, 17, 256, 700])) for _ in range(count)]


def offsets_of(texts: list[bytes]) -> list[int]:
    return list(accumulate((len(text) for text in texts), initial=0))


def cut(data: bytes, offsets: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(offsets)]


@pytest.mark.parametrize("count", COUNTS)
def test_sm3_of_a_buffer_is_sm3_of_its_messages(count: int) -> None:
    texts = texts_of(count)
    assert crypto.sm3_buffer(b"".join(texts), offsets_of(texts)) == b"".join(crypto.sm3_many(texts))


@pytest.mark.parametrize("count", COUNTS)
def test_codes_of_a_buffer_are_the_codes_of_its_messages(count: int) -> None:
    texts = texts_of(count)
    data, offsets = b"".join(texts), offsets_of(texts)
    assert crypto.hmac_sm3_buffer(KEY, data, offsets) == b"".join(crypto.hmac_sm3_many(KEY, texts))
    for name in ("sha256", "sha384", "sha512"):
        codes = b"".join(crypto.hmac_sha2_many(name, KEY, texts))
        assert crypto.hmac_sha2_buffer(name, KEY, data, offsets) == codes


@pytest.mark.parametrize("count", COUNTS)
def test_cbc_of_a_buffer_is_cbc_of_its_texts_and_refuses_the_same(count: int) -> None:
    texts = texts_of(count)
    ivs = [i.to_bytes(16, "big") for i in range(count)]
    data, offsets = crypto.sm4_cbc_encrypt_buffer(KEY, b"".join(ivs), b"".join(texts), offsets_of(texts))
    sealed = crypto.sm4_cbc_encrypt_many(KEY, ivs, texts)
    assert cut(data, offsets) == sealed
    sealed[count // 2 : count // 2 + 1] = [b"short"] * min(count, 1)
    data, offsets, verdicts = crypto.sm4_cbc_decrypt_buffer(KEY, b"".join(ivs), b"".join(sealed), offsets_of(sealed))
    opened = crypto.sm4_cbc_decrypt_many(KEY, ivs, sealed)
    assert [bool(verdict) for verdict in verdicts] == [text is not None for text in opened]
    assert cut(data, offsets) == [text or b"" for text in opened]
    assert opened.count(None) == min(count, 1)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", GCMS)
def test_gcm_of_a_buffer_is_gcm_of_its_texts_and_refuses_the_same(kind: str, count: int) -> None:
    key, encrypt_many, encrypt, decrypt = GCMS[kind]
    texts = texts_of(count)
    nonces = [i.to_bytes(12, "big") for i in range(count)]
    aads = [bytes(i % 40) for i in range(count)]
    sealed, offsets = encrypt(key, b"".join(nonces), b"".join(texts), offsets_of(texts), aads)
    assert cut(sealed, offsets) == encrypt_many(key, nonces, texts, aads)
    assert decrypt(key, b"".join(nonces), sealed, offsets, aads) == (
        b"".join(texts),
        offsets_of(texts),
        b"\x01" * count,
    )
    if count == 0:
        return
    damaged = bytearray(sealed)
    damaged[offsets[count // 2]] ^= 1
    opened, offsets, verdicts = decrypt(key, b"".join(nonces), bytes(damaged), offsets, aads)
    assert verdicts == b"\x01" * (count // 2) + b"\x00" + b"\x01" * (count - count // 2 - 1)
    texts[count // 2] = b""
    assert cut(opened, offsets) == texts


def unsigned(offsets: list[int]) -> array[int]:
    return array("Q", offsets)


def signed(offsets: list[int]) -> array[int]:
    return array("q", offsets)


@pytest.mark.parametrize("form", [list, tuple, unsigned, signed])
def test_offsets_are_a_list_or_an_array(form: Callable[[list[int]], array[int]]) -> None:
    texts = [b"one", b"", b"three"]
    assert crypto.sm3_buffer(b"".join(texts), form(offsets_of(texts))) == b"".join(crypto.sm3_many(texts))


@pytest.mark.parametrize(("offsets", "place"), [([0, 2, 1], 2), ([0, 4], 1), ([4, 5], 0), ([-1, 2], 0), ([0, -1], 1)])
@pytest.mark.parametrize("form", [list, signed])
def test_offsets_that_fall_or_leave_the_data_are_refused_with_their_place(
    form: Callable[[list[int]], array[int]], offsets: list[int], place: int
) -> None:
    with pytest.raises(crypto.InvalidLength, match=rf"offsets\[{place}\]"):
        crypto.sm3_buffer(b"abc", form(offsets))


@pytest.mark.parametrize("offsets", [[0, 1.5], [0, "1"], [0, None], "01", 7])
def test_offsets_of_other_types_are_refused(offsets: object) -> None:
    with pytest.raises(TypeError):
        crypto.sm3_buffer(b"abc", offsets)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        crypto.sm3_buffer(b"abc", [0, 1 << 64])


def test_what_does_not_fit_together_is_refused_with_its_place() -> None:
    with pytest.raises(crypto.InvalidLength, match="nonces: 12 bytes for each of 2 texts expected, got 13"):
        crypto.sm4_gcm_encrypt_buffer(KEY, bytes(13), b"ab", [0, 1, 2])
    with pytest.raises(crypto.InvalidLength, match="ivs: 16 bytes for each of 1 texts expected, got 32"):
        crypto.sm4_cbc_encrypt_buffer(KEY, bytes(32), b"ab", [0, 2])
    with pytest.raises(crypto.InvalidLength, match=r"offsets: one more than there are items"):
        crypto.sm4_cbc_decrypt_buffer(KEY, b"", b"", [])
