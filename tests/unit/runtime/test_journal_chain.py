"""The chain's form: the vectors that others may check their readers with, and what a seal holds together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from yinqi.crypto import GeneralSigningKey, Signer, SigningKey
from yinqi.runtime.journal.chain import (
    Head,
    Seal,
    SealMalformed,
    canonical,
    microseconds,
    row_digests,
    seal_of,
    seal_rows,
)
from yinqi.runtime.journal.keys import JournalKeyInvalid, PublicKey, key_id_of, open_signing_key
from yinqi.runtime.journal.verify import Copies, Receipt, verify

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/journal/chain.json").read_text("utf-8"))
STREAM = VECTORS["stream"]


def signer(key: SigningKey) -> Signer:
    return Signer.from_key(key, key_id_of(Signer.from_key(key).public_key()))


def sealed(rows: int = 3, key: SigningKey | None = None, head: Head | None = None) -> Seal:
    texts = [(n, canonical({"sequence": n})) for n in range(1, rows + 1)]
    return seal_rows(STREAM, head or Head.start(STREAM), texts, ["sequence"], 1, signer(key or SigningKey.generate()))


def test_rows_digests_and_hashes_are_those_of_the_vectors() -> None:
    head = Head.start(STREAM)
    assert head.hash.hex() == VECTORS["start"]
    for link in VECTORS["links"]:
        text = canonical(link["row"])
        assert text.decode() == link["canonical"]
        (digest,) = row_digests(STREAM, [text])
        assert digest.hex() == link["digest"]
        head = head.then(link["row"]["sequence"], digest)
        assert (head.position, head.hash.hex()) == (link["position"], link["hash"])


def test_what_a_seal_signs_is_the_text_of_the_vectors() -> None:
    rows = [(link["row"]["sequence"], link["canonical"].encode()) for link in VECTORS["links"]]
    at = microseconds(VECTORS["seal"]["sealed_at"])
    seal = seal_rows(STREAM, Head.start(STREAM), rows, ["sequence"], at, signer(SigningKey.generate()))
    seal = replace(seal, key_id=VECTORS["seal"]["key_id"])
    assert seal.signed_text().decode() == VECTORS["signed_text"]
    assert seal.adds_up()


def test_a_seal_is_the_same_after_it_was_written_and_read() -> None:
    seal = sealed()
    assert seal_of(json.loads(seal.as_line())) == seal
    assert seal_of(seal.as_json()) == replace(seal, entries=b"", columns=())


@pytest.mark.parametrize("field", ["hash", "previous_hash", "position", "entries", "sequence"])
def test_a_seal_with_another_field_does_not_add_up(field: str) -> None:
    seal = sealed()
    other = {
        "hash": b"\0" * 32,
        "previous_hash": b"\0" * 32,
        "position": 4,
        "entries": seal.entries[40:],
        "sequence": 9,
    }
    assert not replace(seal, **{field: other[field]}).adds_up()


@pytest.mark.parametrize("change", [{"hash": "00"}, {"position": "3"}, {"position": True}, {"entries": "AAAA"}])
def test_what_is_no_seal_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SealMalformed):
        seal_of({**json.loads(sealed().as_line()), **change})


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sm2-sm3", "ed25519"])
def test_a_made_key_is_ours_alone_and_its_public_key_checks_seals(tmp_path: Path, algorithm: str) -> None:
    file = tmp_path / "keys/payment.key"
    key = open_signing_key(file, algorithm, "", make=True)
    assert file.stat().st_mode & 0o777 == 0o600
    again = open_signing_key(file, algorithm, "", make=True)
    public_key = PublicKey((tmp_path / "keys/payment.public.pem").read_bytes())
    assert key.key_id == again.key_id == public_key.key_id
    assert public_key.fits(b"text", again.sign(b"text"))
    assert not public_key.fits(b"other", again.sign(b"text"))


def test_a_key_that_others_can_read_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "payment.key"
    open_signing_key(file, "sm2-sm3", "", make=True)
    file.chmod(0o640)
    with pytest.raises(JournalKeyInvalid, match="chmod 600"):
        open_signing_key(file, "sm2-sm3", "", make=True)


def test_a_named_key_is_never_made_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "payment.key"
    with pytest.raises(JournalKeyInvalid, match="cannot be read"):
        open_signing_key(file, "sm2-sm3", "", make=False)
    file.write_bytes(GeneralSigningKey.generate("ed25519").to_pkcs8())
    file.chmod(0o600)
    with pytest.raises(JournalKeyInvalid, match="no sm2-sm3 key"):
        open_signing_key(file, "sm2-sm3", "", make=False)


# --- copies and receipts --------------------------------------------------------------------------------------------


def test_a_copy_is_used_only_if_it_is_genuine() -> None:
    ours, theirs = SigningKey.generate(), SigningKey.generate()
    key = PublicKey(Signer.from_key(ours).public_key())
    good, forged = sealed(key=ours), sealed(key=theirs)
    bent = replace(good, entries=good.entries[:-1] + b"\0")
    cut = good.as_line()[:200]
    copies = Copies([key])
    copies.add("copy", [cut + b"\n", forged.as_line(), bent.as_line(), good.as_line()])
    assert [fault.place for fault in copies.faults] == ["copy line 2", "copy line 3"]
    assert copies.end(STREAM) == 3
    assert [copies.row(STREAM, n) for n in (1, 2, 3, 4)] == [*good.rows(), None]
    assert not verify([], copies=copies).is_good


def test_a_receipt_is_read_as_people_type_it() -> None:
    digits = "ab" * 32
    grouped = " ".join(digits[i : i + 4] for i in range(0, 64, 4)).upper()
    assert Receipt.of(f"{STREAM}:10,000:{grouped}") == Receipt(STREAM, 10_000, digits)
    for wrong in (
        "",
        STREAM,
        f"{STREAM}:x:{digits}",
        f"{STREAM}:1:{digits[:31]}",
        f"{STREAM}:1:{digits}0",
        ":1:" + digits,
    ):
        with pytest.raises(ValueError, match="receipt reads"):
            Receipt.of(wrong)
