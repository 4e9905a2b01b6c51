"""Seeded rubbish for the gateway's doors: what a broken bank, a broken line or an attacker may send.

`python -m tests.property.gateway.malformed --count 100000 --seed 1` prints a table; the tests take a few thousand.
Answers and notices are mutated on the wire, under the Base64 and under the cipher (an attacker who knows the symmetric
key); some are cut, giant, in another encoding, signed by another key, nested or doubled.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from yinqi import gateway as gateway_package
from yinqi.crypto import SigningKey, sm4_cbc_decrypt, sm4_cbc_encrypt
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.adapters.cdc.envelope import PLACEHOLDER, canonical
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.ports import AnswerUnusable, BankRefused, NoticeRefused, Outgoing, WireAnswer
from yinqi.gateway.profile import load_profile
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds

RECORDED = json.loads(
    (Path(__file__).parents[2] / "unit" / "gateway" / "recorded" / "exchanges.json").read_text("utf-8")
)
IDENTITY = b"U123456789000000"
SM4_KEY = bytes.fromhex(RECORDED["keys"]["sm4_key"])
NOW = datetime.fromisoformat(RECORDED["recorded_at"])
STRANGER = SigningKey.generate()
OUR_BANK = SigningKey.generate()  # signs notices: none was recorded
GIANT_BYTES = 2_000_000


@dataclass
class Outcome:
    """What became of all messages. `believed` were the bank's own, unharmed; `wrongly_believed` must be empty."""

    counts: Counter[str] = field(default_factory=Counter)
    wrongly_believed: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Door:
    """One way in: a good message, its plain text, and what tries to read a message."""

    name: str
    good: bytes
    plain: bytes
    wrap: Callable[[bytes], bytes]
    read: Callable[[bytes], bytes]


def doors(folder: Path) -> list[Door]:
    """Return the gateway's doors: an answer per function, and notices."""
    return [*_answer_doors(folder), _notice_door(folder)]


def _dialect(folder: Path, bank_key: str, **changes: Any) -> CdcDialect:
    file = folder / f"{bank_key[:16]}.hex"
    file.write_text(bank_key)
    profile = load_profile(
        Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml",
        {"sandbox_bank_address": "127.0.0.1:1", "var_dir": "/v", "keys_dir": "/k", "exchange_dir": "/x"},
    ).model_copy(update=changes)
    keys = BankKeys(SigningKey.generate(), SM4_KEY, file)
    return CdcDialect(profile, keys, FixedClock(NOW), TimeOrderedIds(FixedClock(NOW)))


def _answer_doors(folder: Path) -> Iterator[Door]:
    dialect = _dialect(folder, RECORDED["keys"]["bank_public_key"])
    for exchange in RECORDED["exchanges"]:
        wire = exchange["answer"].encode()
        plain = sm4_cbc_decrypt(SM4_KEY, IDENTITY, base64.b64decode(wire))
        head = json.loads(plain)["response"]["head"]
        outgoing = Outgoing(head["funcode"], head["reqid"], b"", b"")

        def read(content: bytes, outgoing: Outgoing = outgoing) -> bytes:
            return dialect.open(outgoing, WireAnswer(200, content)).plain

        yield Door(head["funcode"], wire, plain, base64.b64encode, read)


def _notice_door(folder: Path) -> Door:
    record = {"yurRef": "YQ1", "reqNbr": "0000000001", "dbtAcc": "755915678910001", "ccyNbr": "10", "trsAmt": "1.00",
              "crtAcc": "62", "reqSts": "FIN", "rtnFlg": "S", "errCod": "SUC0000", "trxDat": "20261122"}  # fmt: skip
    head = {"funcode": "BBNOTICE", "notnbr": "000000000000001", "nottim": "20261122140501123", "nottyp": "YQN02030",
            "userid": "U123456789"}  # fmt: skip
    local = NOW + timedelta(hours=8)
    message: dict[str, Any] = {
        "notice": {"body": {"bbnoticez1": [record]}, "head": head},
        "signature": {"sigdat": PLACEHOLDER, "sigtim": f"{local:%Y%m%d%H%M%S}"},
    }
    signed = OUR_BANK.sign(canonical(message), IDENTITY)
    message["signature"]["sigdat"] = base64.b64encode(signed).decode()
    plain = canonical(message)
    dialect = _dialect(folder, OUR_BANK.public_key().to_bytes().hex())

    def wrap(cipher: bytes) -> bytes:
        data = base64.b64encode(cipher).replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
        return b"UID=U123456789&FUNCODE=BBNOTICE&ALG=SM&DATA=" + data

    return Door(
        "BBNOTICE",
        wrap(sm4_cbc_encrypt(SM4_KEY, IDENTITY, plain)),
        plain,
        wrap,
        lambda content: dialect.open_notice(content).plain,
    )


def rubbish(door: Door, chance: random.Random) -> bytes:
    """Return one malformed message."""
    roll = chance.random()
    if roll < 0.30:
        return _mutated(door.good, chance)
    if roll < 0.50:
        return door.wrap(_mutated(sm4_cbc_encrypt(SM4_KEY, IDENTITY, door.plain), chance))
    if roll < 0.95:
        return door.wrap(sm4_cbc_encrypt(SM4_KEY, IDENTITY, _spoilt(door.plain, chance)))
    if roll < 0.9995:
        return chance.randbytes(chance.randrange(300))
    return door.wrap(chance.randbytes(GIANT_BYTES))


def _mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.choice(("flip", "cut", "insert", "double")):
            case "flip" if at < len(data):
                data[at] ^= chance.randrange(1, 256)
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = chance.randbytes(chance.randint(1, 20))
            case _:
                data += data[at : at + 200]
    return bytes(data)


def _spoilt(plain: bytes, chance: random.Random) -> bytes:
    """Change the message under the cipher; the signature cannot fit any more, or was never the bank's."""
    match chance.choice(("bytes", "value", "twin", "deep", "encoding", "stranger", "top", "number")):
        case "value":
            return plain.replace(b'"FIN"', b'"BNK"', 1).replace(b"SUC0000", b"SUC0001", 1)
        case "twin":
            return b'{"signature":{},' + plain[1:]
        case "deep":
            return b"[" * chance.randint(10, 100_000) + plain
        case "encoding":
            text = plain.decode("utf-8")
            return text.encode(chance.choice(("utf-16", "gb18030", "utf-32", "utf-8-sig"))) + b"\x00"
        case "stranger":
            message = json.loads(plain)
            message["signature"]["sigdat"] = PLACEHOLDER
            forged = STRANGER.sign(canonical(message), IDENTITY)
            message["signature"]["sigdat"] = base64.b64encode(forged).decode()
            return canonical(message)
        case "top":
            return plain.replace(b'"response"', b'"notice"', 1) if b'"response"' in plain else plain[:-1]
        case "number":
            return plain.replace(b'"sigtim":"', b'"sigtim":1e999999,"x":"', 1)
        case _:
            return _mutated(plain, chance)


def run(count: int, seed: int, folder: Path, only: str = "") -> Outcome:
    """Send `count` malformed messages from a seed to all doors, or to the one of that function."""
    chance = random.Random(seed)
    ways = [door for door in doors(folder) if only in ("", door.name)]
    outcome = Outcome()
    for index in range(count):
        door = ways[index % len(ways)]
        content = rubbish(door, chance)
        try:
            plain = door.read(content)
        except (AnswerUnusable, NoticeRefused) as refused:
            outcome.counts[refused.reason] += 1
        except BankRefused:
            outcome.counts["BANK_REFUSED"] += 1
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            outcome.crashes.append(f"{door.name} #{index}: {type(error).__name__}: {error}"[:200])
        else:
            # Bits of the Base64 or the form may be spare: then it is the bank's message, to the last byte.
            outcome.counts["believed, unharmed"] += 1
            if json.loads(plain) != json.loads(door.plain):
                outcome.wrongly_believed.append(f"{door.name} #{index}")
    return outcome


def main() -> int:
    """Print the table; 1 if anything was believed wrongly or crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(2_000, 0, Path(folder))  # warm: what stays after this is growth
        before = psutil.Process().memory_info().rss
        outcome = run(chosen.count, chosen.seed, Path(folder))
        grown = psutil.Process().memory_info().rss - before
    print(f"{chosen.count} malformed messages at the gateway's doors, seed {chosen.seed}")
    for reason, count in outcome.counts.most_common():
        print(f"  {reason:24} {count:>8}")
    print(f"  crashes {len(outcome.crashes)}, wrongly believed {len(outcome.wrongly_believed)}")
    print(f"  memory grew by {grown / 1024 / 1024:.1f} MiB")
    for line in (outcome.crashes + outcome.wrongly_believed)[:20]:
        print(f"  {line}")
    return 1 if outcome.crashes or outcome.wrongly_believed else 0


if __name__ == "__main__":
    sys.exit(main())
