"""Makes chain.json: the journal's chain by docs/audit.md alone, with GmSSL's SM3; shares no code with the project."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from gmssl_pyx import sm3_hash

STREAM = "payment.payment_events"
ROWS = [
    {"sequence": 1, "occurred_at": 1795376461132363, "actor": "worker", "from_status": None, "to_status": "RECEIVED"},
    {"sequence": 2, "occurred_at": 1795376461132364, "actor": "张三 \"甲\"\\乙\n\t\u0001\u007f\u2028😀", "from_status": "", "to_status": "é"},
    {"sequence": 9, "occurred_at": -1, "is_final": True, "is_open": False, "content": {"bytes": "00ff"}, "units": 9223372036854775807},
]  # fmt: skip


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def main() -> None:
    chain = sm3_hash(b"yinqi.journal.start.v1\n" + STREAM.encode())
    start, links = chain, []
    for position, row in enumerate(ROWS, 1):
        text = canonical(row)
        digest = sm3_hash(b"yinqi.journal.row.v1\n" + STREAM.encode() + b"\n" + text)
        chain = sm3_hash(b"yinqi.journal.link.v1\n" + chain + struct.pack(">qq", position, row["sequence"]) + digest)
        links.append(
            {"row": row, "canonical": text.decode(), "digest": digest.hex(), "position": position, "hash": chain.hex()}
        )
    seal = {
        "algorithm": "sm2-sm3",
        "first_position": 1,
        "hash": chain.hex(),
        "key_id": "0011223344556677",
        "position": len(ROWS),
        "previous_hash": start.hex(),
        "sealed_at": "2026-11-22T19:00:00.000001Z",
        "sequence": ROWS[-1]["sequence"],
        "stream": STREAM,
    }
    text = "yinqi.journal.seal.v1\n" + canonical(seal).decode()
    found = {"stream": STREAM, "start": start.hex(), "links": links, "seal": seal, "signed_text": text}
    target = Path(__file__).with_name("chain.json")
    target.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
