"""SM2 in each tier, in every form of a batch, and encryption; compared with GmSSL, which shares no code with us."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gmssl_pyx
import pytest

from yinqi.crypto import (
    DecryptionFailed,
    InvalidKey,
    InvalidLength,
    InvalidSignature,
    PreparedVerifyKey,
    SigningKey,
    VerifyKey,
    force_tier,
    set_threads,
    signature_from_der,
    signature_to_der,
    sm3,
    tier,
)

COUNTS = [0, 1, 7, 8, 9, 63, 64, 65, 1000]


def available(name: str) -> bool:
    try:
        force_tier(name)
    except ValueError:
        return False
    finally:
        force_tier(None)
    return True


@pytest.fixture(params=["portable", "avx2", "avx512"])
def forced(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each tier that this machine has, forced."""
    if not available(request.param):
        pytest.skip("this processor has no such instructions")
    force_tier(request.param)
    yield request.param
    force_tier(None)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261122)


def test_a_forced_tier_is_active_and_an_unknown_one_is_refused(forced: str) -> None:
    assert tier() == forced
    with pytest.raises(ValueError, match="sse2"):
        force_tier("sse2")
    assert tier() == forced


@pytest.mark.parametrize("count", COUNTS)
def test_each_tier_reads_what_the_other_signed(forced: str, count: int) -> None:
    key = SigningKey.generate()
    messages = [b"line %d" % i for i in range(count)]
    signatures = key.sign_many(messages)
    damaged = [s if i % 3 else s[:63] + bytes([s[63] ^ 1]) for i, s in enumerate(signatures)]
    expected = [i % 3 != 0 for i in range(count)]
    prepared = key.public_key().prepare()
    for other in ("portable", forced):
        force_tier(other)
        assert prepared.verify_many(messages, signatures) == [True] * count
        assert key.public_key().verify_many(messages, damaged) == expected
        assert prepared.verify_many(messages, damaged) == expected


def test_gmssl_agrees_with_each_tier(forced: str, chance: random.Random) -> None:
    public, private = gmssl_pyx.sm2_key_generate()
    key = SigningKey.from_bytes(private)
    messages = [chance.randbytes(chance.randrange(300)) for _ in range(60)]
    for message, signature in zip(messages, key.sign_many(messages), strict=True):
        assert gmssl_pyx.sm2_verify(public, message, signature_to_der(signature))
    theirs = [signature_from_der(gmssl_pyx.sm2_sign(private, public, message)) for message in messages]
    assert all(VerifyKey.from_bytes(public).verify_many(messages, theirs))
    assert VerifyKey.from_bytes(public).verify_many(messages, theirs[1:] + theirs[:1]) == [False] * 60


def test_keys_at_the_edges_of_their_range_sign_in_each_tier(forced: str) -> None:
    n = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
    for d in (1, 2, 3, n // 2, n - 3, n - 2, 30 * 2**252 - n, 2**255, 2**64 - 1):
        key = SigningKey.from_bytes(d.to_bytes(32, "big"))
        messages = [bytes([i]) for i in range(30)]
        signatures = key.sign_many(messages)
        assert all(key.public_key().verify_many(messages, signatures))
        assert gmssl_pyx.sm2_verify(key.public_key().to_bytes()[1:], messages[7], signature_to_der(signatures[7]))


def test_a_prepared_key_is_the_same_key(forced: str) -> None:
    key = SigningKey.generate()
    prepared = key.public_key().prepare()
    assert isinstance(prepared, PreparedVerifyKey)
    assert isinstance(prepared, VerifyKey)
    assert prepared.to_bytes() == key.public_key().to_bytes()
    prepared.verify(b"m", key.sign(b"m"))
    with pytest.raises(InvalidSignature):
        prepared.verify(b"other", key.sign(b"m"))


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_answers_keep_their_order_however_many_threads_work(threads: int | None) -> None:
    key = SigningKey.generate()
    messages = [b"%d" % i for i in range(777)]
    set_threads(threads)
    try:
        signatures = key.sign_many(messages)
        signatures[400] = signatures[401]
        assert key.public_key().verify_many(messages, signatures) == [i != 400 for i in range(777)]
    finally:
        set_threads(None)
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


def test_digests_can_be_signed_and_verified_as_they_are(forced: str) -> None:
    key = SigningKey.generate()
    digests = [sm3(b"%d" % i) for i in range(20)] + [bytes(32), b"\xff" * 32]
    signatures = key.sign_digests(digests)
    assert all(key.public_key().verify_digests(digests, signatures))
    key.public_key().verify_digest(digests[0], key.sign_digest(digests[0]))
    with pytest.raises(InvalidSignature):
        key.public_key().verify_digest(digests[1], signatures[0])
    with pytest.raises(InvalidLength, match=r"digests\[1\]: 32 bytes expected, got 31"):
        key.sign_digests([bytes(32), bytes(31)])
    with pytest.raises(InvalidLength, match=r"one per digest \(1\)"):
        key.public_key().verify_digests([bytes(32)], [])


def test_one_buffer_with_offsets_is_a_batch(forced: str) -> None:
    key = SigningKey.generate()
    messages = [b"x" * i for i in range(70)]
    offsets = [0]
    for message in messages:
        offsets.append(offsets[-1] + len(message))
    data = b"".join(messages)
    signatures = key.sign_buffer(data, offsets)
    assert len(signatures) == 64 * 70
    assert key.public_key().verify_buffer(data, offsets, signatures) == b"\x01" * 70
    key.public_key().verify(messages[9], signatures[9 * 64 : 10 * 64])
    changed = signatures[:65] + bytes([signatures[65] ^ 1]) + signatures[66:]
    assert key.public_key().verify_buffer(data, offsets, changed) == b"\x01\x00" + b"\x01" * 68
    assert key.sign_buffer(b"", [0]) == b""
    for wrong in ([], [0, 5, 3], [0, len(data) + 1]):
        with pytest.raises(InvalidLength, match="offsets"):
            key.sign_buffer(data, wrong)
    with pytest.raises(InvalidLength, match="multiple of 64"):
        key.public_key().verify_buffer(data, offsets, signatures[:-1])
    with pytest.raises(InvalidLength, match="one per message"):
        key.public_key().verify_buffer(data, offsets, signatures[:-64])


def test_only_the_shortest_der_is_read(chance: random.Random) -> None:
    for _ in range(200):
        raw = (
            chance.randbytes(32 - (zeros := chance.randrange(32))).rjust(32, b"\x00") + bytes(zeros) + bytes(32 - zeros)
        )
        der = signature_to_der(raw)
        assert signature_from_der(der) == raw
        for wrong in (der[:-1], der + b"\x00", b"\x30\x81" + der[1:], der[:1] + bytes([der[1] ^ 1]) + der[2:]):
            with pytest.raises(InvalidSignature):
                signature_from_der(wrong)
    with pytest.raises(InvalidLength):
        signature_to_der(bytes(63))


def read_gmssl_ciphertext(der: bytes) -> bytes:
    """SEQUENCE { x, y INTEGER, C3, C2 OCTET STRING } of GM/T 0009 as C1 ‖ C3 ‖ C2; lengths below 128 only."""
    parts, rest = [], der[2:]
    while rest:
        parts.append(rest[2 : 2 + rest[1]])
        rest = rest[2 + rest[1] :]
    x, y = (number.lstrip(b"\x00").rjust(32, b"\x00") for number in parts[:2])
    return b"\x04" + x + y + parts[2] + parts[3]


def test_gmssl_s_ciphertexts_are_opened(forced: str, chance: random.Random) -> None:
    for length in (1, 2, 9, 16):
        public, private = gmssl_pyx.sm2_key_generate()
        plaintext = chance.randbytes(length)
        sealed = read_gmssl_ciphertext(gmssl_pyx.sm2_encrypt(public, plaintext))
        assert SigningKey.from_bytes(private).decrypt(sealed) == plaintext


def test_a_ciphertext_opens_with_its_key_in_either_order(forced: str) -> None:
    key = SigningKey.generate()
    sealed = key.public_key().encrypt(b"payroll")
    assert key.decrypt(sealed) == b"payroll"
    c1, c3, c2 = sealed[:65], sealed[65:97], sealed[97:]
    assert key.decrypt(c1 + c2 + c3, "C1C2C3") == b"payroll"
    assert key.decrypt(key.public_key().encrypt(b"x", "C1C2C3"), "C1C2C3") == b"x"
    for wrong in (b"", sealed[:97], b"\x04" + bytes(64) + c3 + c2, sealed[:-1], b"\x02" + sealed[1:]):
        with pytest.raises(DecryptionFailed):
            key.decrypt(wrong)
    with pytest.raises(InvalidLength):
        key.public_key().encrypt(b"")
    with pytest.raises(ValueError, match="C1C3C2"):
        key.decrypt(sealed, "C3C2C1")  # type: ignore[arg-type]


def test_a_point_off_the_curve_is_no_key_and_no_ciphertext() -> None:
    key = SigningKey.generate()
    data = bytearray(key.public_key().to_bytes())
    data[64] ^= 1
    with pytest.raises(InvalidKey):
        VerifyKey.from_bytes(data)
    sealed = key.public_key().encrypt(b"m")
    with pytest.raises(DecryptionFailed):
        key.decrypt(bytes(data) + sealed[65:])
