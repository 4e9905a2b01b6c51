"""SM2 keys and signatures through Python."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from yinqi.crypto import (
    DEFAULT_IDENTITY,
    CryptoError,
    InvalidKey,
    InvalidLength,
    InvalidSignature,
    SigningKey,
    VerifyKey,
    force_tier,
    signature_from_der,
)

Read = Callable[[str], Any]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def accepts(key: VerifyKey, message: bytes, signature: bytes, identity: bytes = DEFAULT_IDENTITY) -> bool:
    try:
        key.verify(message, signature, identity)
    except InvalidSignature:
        return False
    return True


def test_the_sample_of_the_standard_verifies_and_its_public_key_is_derived(read_vectors: Read) -> None:
    sample = read_vectors("sm2/gbt_32918_5.json")
    signing_key = SigningKey.from_bytes(bytes.fromhex(sample["private_key"]))
    assert signing_key.public_key().to_bytes().hex() == sample["public_key"]
    verify_key = VerifyKey.from_bytes(bytes.fromhex(sample["public_key"]))
    verify_key.verify(bytes.fromhex(sample["msg"]), bytes.fromhex(sample["sig"]))


def cases_of(document: Any, kind: str, encoding: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each case of the groups of a type, after the public key of its group."""
    groups = [one for one in document["testGroups"] if one["type"] == kind and one.get("encoding", "") == encoding]
    return ((group.get("publicKey", ""), case) for group in groups for case in group["tests"])


def test_each_edge_case_of_a_signature_gets_its_verdict_alone_and_in_a_batch(read_vectors: Read) -> None:
    document = read_vectors("sm2/edge_cases.json")
    verify_key = VerifyKey.from_bytes(bytes.fromhex(document["testGroups"][0]["publicKey"]))
    for _, case in [*cases_of(document, "Sm2Verify", "raw")] * 2:  # At last the key's table of multiples is in use.
        message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        identity = bytes.fromhex(case["identity"])
        expected = case["result"] == "valid"
        assert accepts(verify_key, message, signature, identity) is expected, case["comment"]
        assert verify_key.verify_many([message], [signature], identity) == [expected], case["comment"]


def test_each_edge_case_of_der_is_read_only_in_its_one_form(read_vectors: Read) -> None:
    seen = 0
    for public, case in cases_of(read_vectors("sm2/edge_cases.json"), "Sm2Verify", "der"):
        try:
            signature = signature_from_der(bytes.fromhex(case["sig"]))
        except InvalidSignature:
            assert case["result"] == "invalid", case["comment"]
        else:
            verdict = accepts(VerifyKey.from_bytes(bytes.fromhex(public)), bytes.fromhex(case["msg"]), signature)
            assert verdict is (case["result"] == "valid"), case["comment"]
        seen += 1
    assert seen > 25


@pytest.mark.parametrize("name", ["portable", "avx2", "avx512"])
def test_each_edge_case_of_a_digest_and_its_sums_gets_its_verdict_in_each_tier(read_vectors: Read, name: str) -> None:
    try:
        force_tier(name)
    except ValueError as error:
        pytest.skip(str(error))
    try:
        for public, case in cases_of(read_vectors("sm2/edge_cases.json"), "Sm2DigestVerify", "raw"):
            key = VerifyKey.from_bytes(bytes.fromhex(public))
            digest, signature = bytes.fromhex(case["digest"]), bytes.fromhex(case["sig"])
            for count in (1, 9, 65):  # Alone, beside other lanes, and with a table of the key.
                verdicts = key.verify_digests([digest] * count, [signature] * count)
                assert verdicts == [case["result"] == "valid"] * count, case["comment"]
            assert key.prepare().verify_digests([digest], [signature]) == [case["result"] == "valid"], case["comment"]
    finally:
        force_tier(None)


def test_public_keys_are_taken_only_when_they_are_points_of_the_curve(read_vectors: Read) -> None:
    for _, case in cases_of(read_vectors("sm2/edge_cases.json"), "Sm2PublicKey"):
        data = bytes.fromhex(case["key"])
        if case["result"] == "valid":
            assert VerifyKey.from_bytes(data).to_bytes()[-64:] == data[-64:]
        else:
            error = InvalidKey if len(data) == 65 or "OffCurve" in case["flags"] else InvalidLength
            with pytest.raises(error):
                VerifyKey.from_bytes(data)


def test_private_keys_are_taken_only_from_1_to_n_minus_2(read_vectors: Read) -> None:
    for _, case in cases_of(read_vectors("sm2/edge_cases.json"), "Sm2PrivateKey"):
        data = bytes.fromhex(case["key"])
        if case["result"] == "valid":
            at_the_edge = SigningKey.from_bytes(data)
            assert at_the_edge.to_bytes() == data
            at_the_edge.public_key().verify(b"m", at_the_edge.sign(b"m"))
        else:
            with pytest.raises(InvalidKey):
                SigningKey.from_bytes(data)
    for length in (0, 31, 33, 64):
        with pytest.raises(InvalidLength, match="32 bytes"):
            SigningKey.from_bytes(b"\x01" * length)


def test_a_change_of_any_byte_of_a_signature_or_message_is_refused(key: SigningKey) -> None:
    message = b"pay 100.00 CNY to 6222020000000000000"
    signature = key.sign(message)
    assert len(signature) == 64
    verify_key = key.public_key()
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1 << (position % 8)
        assert not accepts(verify_key, message, bytes(changed)), position
    for position in range(len(message)):
        altered = bytearray(message)
        altered[position] ^= 1
        assert not accepts(verify_key, bytes(altered), signature), position
    verify_key.verify(message, signature)


def test_a_refusal_is_one_exception_whatever_is_wrong(key: SigningKey) -> None:
    texts = set()
    for signature in (b"", bytes(64), b"\xff" * 64, key.sign(b"other"), bytes(65)):
        with pytest.raises(InvalidSignature) as caught:
            key.public_key().verify(b"m", signature)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_the_identity_is_part_of_what_is_signed(key: SigningKey) -> None:
    signature = key.sign(b"m", b"ALICE123@YAHOO.COM")
    key.public_key().verify(b"m", signature, b"ALICE123@YAHOO.COM")
    assert not accepts(key.public_key(), b"m", signature)
    assert not accepts(key.public_key(), b"m", signature, b"ALICE123@YAHOO.COM\x00")
    assert accepts(key.public_key(), b"m", key.sign(b"m"), DEFAULT_IDENTITY)
    key.public_key().verify(b"m", key.sign(b"m", b""), b"")


def test_an_identity_that_is_too_long_is_the_caller_s_mistake(key: SigningKey) -> None:
    with pytest.raises(InvalidLength, match="8191"):
        key.sign(b"m", b"i" * 8192)
    with pytest.raises(ValueError, match="8191"):
        key.public_key().verify(b"m", bytes(64), b"i" * 8192)


@pytest.mark.parametrize("count", [0, 1, 7, 63, 64, 65, 200])
def test_a_batch_answers_in_order_and_one_bad_item_does_not_touch_the_others(key: SigningKey, count: int) -> None:
    messages = [b"line %d" % i for i in range(count)]
    signatures = key.sign_many(messages)
    bad = set(range(3, count, 5))
    damaged = [b"\x00" * (i % 70) if i in bad else signature for i, signature in enumerate(signatures)]
    assert key.public_key().verify_many(messages, damaged) == [i not in bad for i in range(count)]


def test_a_batch_names_the_item_of_the_wrong_type(key: SigningKey) -> None:
    with pytest.raises(TypeError, match=r"messages\[2\]: bytes expected, got <class 'str'>"):
        key.sign_many([b"a", b"b", "c"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"signatures\[1\]"):
        key.public_key().verify_many([b"a", b"b"], [bytes(64), None])  # type: ignore[list-item]
    with pytest.raises(InvalidLength, match=r"one per message \(2\) expected, got 1"):
        key.public_key().verify_many([b"a", b"b"], [bytes(64)])


def test_no_two_signatures_share_a_nonce(key: SigningKey) -> None:
    signatures = key.sign_many([b"same"] * 300) + [key.sign(b"same") for _ in range(20)]
    assert len({signature[:32] for signature in signatures}) == 320


def test_a_private_key_cannot_be_pickled_copied_or_printed(key: SigningKey) -> None:
    secret = key.to_bytes().hex()
    assert secret not in repr(key)
    assert secret not in str(key)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leak(key)
    with pytest.raises(TypeError):
        SigningKey()


def test_every_error_is_a_crypto_error_and_can_travel_between_processes() -> None:
    for kind in (InvalidKey, InvalidSignature, InvalidLength):
        assert issubclass(kind, CryptoError)
        assert isinstance(pickle.loads(pickle.dumps(kind("text"))), kind)
    assert issubclass(InvalidLength, ValueError)


def test_threads_sign_and_verify_with_the_same_keys(key: SigningKey) -> None:
    verify_key = VerifyKey.from_bytes(key.public_key().to_bytes())
    verdicts: list[bool] = []

    def work(number: int) -> None:
        messages = [b"%d/%d" % (number, i) for i in range(40)]
        verdicts.extend(verify_key.verify_many(messages, key.sign_many(messages)))
        verdicts.append(accepts(verify_key, b"m", key.sign(b"m")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * (8 * 41)


def test_other_threads_run_while_a_batch_is_signed(key: SigningKey) -> None:
    finished = threading.Event()
    worker = threading.Thread(target=lambda: (key.sign_many([b"m"] * 4_000), finished.set()))
    worker.start()
    steps = 0
    while not finished.is_set():
        steps += 1
    worker.join()
    assert steps > 10
