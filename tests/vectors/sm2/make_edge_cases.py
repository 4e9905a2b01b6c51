"""Make edge_cases.json with a plain, slow SM2 that shares no code with the extension.

Run `python tests/vectors/sm2/make_edge_cases.py` to write it again; every number is fixed, so the file never changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeAlias

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
D = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
IDENTITY = b"1234567812345678"

Point: TypeAlias = tuple[int, int] | None


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def multiply(k: int, point: Point) -> Point:
    result: Point = None
    for bit in bin(k)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def sm3(data: bytes) -> bytes:
    return hashlib.new("sm3", data).digest()


def e_of(message: bytes, public: tuple[int, int], identity: bytes) -> int:
    curve = b"".join(map(word, (A, B, *G)))
    z_a = sm3((8 * len(identity)).to_bytes(2, "big") + identity + curve + word(public[0]) + word(public[1]))
    return int.from_bytes(sm3(z_a + message), "big")


def sign(message: bytes, identity: bytes, public: tuple[int, int], k: int) -> tuple[int, int]:
    point = multiply(k, G)
    assert point is not None
    r = (e_of(message, public, identity) + point[0]) % N
    return r, pow(1 + D, -1, N) * (k - r * D) % N


def der(r: int, s: int) -> bytes:
    def integer(number: int) -> bytes:
        body = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return b"\x02" + bytes([len(body)]) + body

    body = integer(r) + integer(s)
    return b"\x30" + bytes([len(body)]) + body


def signature_cases(public: tuple[int, int]) -> list[dict[str, str]]:
    cases: list[dict[str, str]] = []

    def case(comment: str, result: str, signature: bytes, message: bytes = b"pay", identity: bytes = IDENTITY) -> None:
        cases.append(
            {
                "comment": comment,
                "identity": identity.hex(),
                "msg": message.hex(),
                "sig": signature.hex(),
                "result": result,
            }
        )

    r, s = sign(b"pay", IDENTITY, public, 0xC0FFEE)
    good = word(r) + word(s)
    case("plain signature", "valid", good)
    for message in (b"", b"\x00", b"m" * 63, b"m" * 64, b"m" * 1000):
        case(
            f"message of {len(message)} bytes",
            "valid",
            b"".join(map(word, sign(message, IDENTITY, public, 7))),
            message,
        )
    for identity in (b"", b"\xff\x00\xfe", "银企".encode(), b"i" * 8191):
        numbers = sign(b"pay", identity, public, 9)
        case(f"identity of {len(identity)} bytes", "valid", b"".join(map(word, numbers)), identity=identity)
    for k in (1, 2, N - 1, N - 2, N >> 1, (N >> 1) + 1, 1 << 255):
        case(f"nonce {k:x}", "valid", b"".join(map(word, sign(b"pay", IDENTITY, public, k))))

    for name, number in (("0", 0), ("n", N), ("n + 1", N + 1), ("p", P), ("2^256 - 1", 2**256 - 1)):
        case(f"r = {name}", "invalid", word(number) + word(s))
        case(f"s = {name}", "invalid", word(r) + word(number))
    case("r = s = 0", "invalid", bytes(64))
    case("t = r + s = n", "invalid", word(r) + word(N - r))
    case("-s for s", "invalid", word(r) + word(N - s))
    case("-r for r", "invalid", word(N - r) + word(s))
    case("r and s exchanged", "invalid", word(s) + word(r))
    case("r = s = 1", "invalid", word(1) + word(1))
    case("another message", "invalid", good, b"paid")
    case("another identity", "invalid", good, identity=b"1234567812345679")
    case("empty identity for the default one", "invalid", good, identity=b"")
    case("empty", "invalid", b"")
    case("one byte short", "invalid", good[:-1])
    case("one byte long", "invalid", good + b"\x00")
    case("zero before", "invalid", b"\x00" + good)
    case("r alone", "invalid", good[:32])
    case("twice", "invalid", good + good)
    case("DER where raw r‖s is expected", "invalid", der(r, s))
    case("little-endian numbers", "invalid", word(r)[::-1] + word(s)[::-1])
    return cases


def key_cases(public: tuple[int, int]) -> list[dict[str, str]]:
    x, y = public
    on_twist = next(i for i in range(1, 99) if pow(i**3 + A * i + B, (P - 1) // 2, P) != 1)
    raw = word(x) + word(y)
    listed = [
        ("uncompressed", "valid", b"\x04" + raw),
        ("raw x‖y", "valid", raw),
        ("y + 1", "off the curve", b"\x04" + word(x) + word(y + 1)),
        ("x and y exchanged", "off the curve", b"\x04" + word(y) + word(x)),
        ("x without a point", "off the curve", b"\x04" + word(on_twist) + word(1)),
        ("zeros (infinity as some write it)", "off the curve", b"\x04" + bytes(64)),
        ("raw zeros", "off the curve", bytes(64)),
        ("x = p", "off the curve", b"\x04" + word(P) + word(y)),
        ("y = p", "off the curve", b"\x04" + word(x) + word(P)),
        ("y + p does not fit, all ones", "off the curve", b"\x04" + word(x) + b"\xff" * 32),
        (
            "P-256 generator",
            "off the curve",
            bytes.fromhex(
                "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            ),
        ),
        ("hybrid", "off the curve", bytes([6 + y % 2]) + raw),
        ("infinity, one byte", "length", b"\x00"),
        ("compressed", "length", bytes([2 + y % 2]) + word(x)),
        ("empty", "length", b""),
        ("one byte short", "length", b"\x04" + raw[:-2]),
        ("one byte long", "length", b"\x04" + raw + b"\x00"),
    ]
    return [{"comment": comment, "result": result, "key": key.hex()} for comment, result, key in listed]


def main() -> None:
    public = multiply(D, G)
    assert public is not None
    document = {
        "algorithm": "SM2 with SM3, curve sm2p256v1, signature raw r‖s",
        "public_key": "04" + word(public[0]).hex() + word(public[1]).hex(),
        "signatures": [{"tcId": i, **case} for i, case in enumerate(signature_cases(public), 1)],
        "public_keys": [{"tcId": i, **case} for i, case in enumerate(key_cases(public), 1)],
        "private_keys_out_of_range": [word(d).hex() for d in (0, N - 1, N, N + 1, P, 2**256 - 1)],
        "private_keys_at_the_edge": [word(d).hex() for d in (1, 2, N - 2)],
    }
    target = Path(__file__).with_name("edge_cases.json")
    target.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
