"""Make edge_cases.json, in Wycheproof's form, with a plain, slow SM2 that shares no code with the extension.

Run `python tests/vectors/sm2/make_edge_cases.py` to write it again; every number is fixed, so the file never changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeAlias

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
Case: TypeAlias = dict[str, Any]

NOTES = {
    "Valid": "plain signatures, and ones at the edges of messages, identities and nonces",
    "Range": "r or s is 0, n or above, or r + s = n (GB/T 32918.2, clause 7.1)",
    "Arithmetic": "negated, exchanged or reversed numbers, digests at the edge of n, sums that double or vanish",
    "LargeX": "the x coordinate lies between n and p, so that it is not its own remainder modulo n",
    "Mismatch": "another message or another identity",
    "Length": "not 64 bytes, or not the length of a key",
    "DerEncoding": "SEQUENCE { r INTEGER, s INTEGER } in any but its one shortest form (GM/T 0009)",
    "OffCurve": "no point of the curve, coordinates not below p included",
    "Compressed": "a form of a point that is not read",
    "KeyRange": "a private key outside 1 to n - 2, or at the edge of it",
}


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
    body = integer(r) + integer(s)
    return b"\x30" + bytes([len(body)]) + body


def integer(number: int) -> bytes:
    body = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(body)]) + body


def raw(r: int, s: int) -> bytes:
    return word(r) + word(s)


class Cases:
    """Cases of one group, in order."""

    def __init__(self) -> None:
        self.listed: list[Case] = []

    def add(self, flag: str, comment: str, result: str, **values: bytes) -> None:
        assert flag in NOTES
        self.listed.append(
            {
                "comment": comment,
                "flags": [flag],
                **{name: value.hex() for name, value in values.items()},
                "result": result,
            }
        )


def message_cases(public: tuple[int, int]) -> list[Case]:
    cases = Cases()

    def case(
        flag: str, comment: str, result: str, sig: bytes, message: bytes = b"pay", identity: bytes = IDENTITY
    ) -> None:
        cases.add(flag, comment, result, identity=identity, msg=message, sig=sig)

    r, s = sign(b"pay", IDENTITY, public, 0xC0FFEE)
    good = raw(r, s)
    case("Valid", "plain signature", "valid", good)
    for message in (b"", b"\x00", b"m" * 63, b"m" * 64, b"m" * 1000):
        numbers = sign(message, IDENTITY, public, 7)
        case("Valid", f"message of {len(message)} bytes", "valid", raw(*numbers), message)
    for identity in (b"", b"\xff\x00\xfe", "银企".encode(), b"i" * 8191):
        numbers = sign(b"pay", identity, public, 9)
        case("Valid", f"identity of {len(identity)} bytes", "valid", raw(*numbers), identity=identity)
    for k in (1, 2, N - 1, N - 2, N >> 1, (N >> 1) + 1, 1 << 255):
        case("Valid", f"nonce {k:x}", "valid", raw(*sign(b"pay", IDENTITY, public, k)))

    for name, number in (("0", 0), ("n", N), ("n + 1", N + 1), ("p", P), ("2^256 - 1", 2**256 - 1)):
        case("Range", f"r = {name}", "invalid", raw(number, s))
        case("Range", f"s = {name}", "invalid", raw(r, number))
    case("Range", "r = s = 0", "invalid", bytes(64))
    case("Range", "t = r + s = n", "invalid", raw(r, N - r))
    case("Arithmetic", "-s for s", "invalid", raw(r, N - s))
    case("Arithmetic", "-r for r", "invalid", raw(N - r, s))
    case("Arithmetic", "r and s exchanged", "invalid", raw(s, r))
    case("Arithmetic", "r = s = 1", "invalid", raw(1, 1))
    case("Arithmetic", "little-endian numbers", "invalid", word(r)[::-1] + word(s)[::-1])
    case("Mismatch", "another message", "invalid", good, b"paid")
    case("Mismatch", "another identity", "invalid", good, identity=b"1234567812345679")
    case("Mismatch", "empty identity for the default one", "invalid", good, identity=b"")
    case("Length", "empty", "invalid", b"")
    case("Length", "one byte short", "invalid", good[:-1])
    case("Length", "one byte long", "invalid", good + b"\x00")
    case("Length", "zero before", "invalid", b"\x00" + good)
    case("Length", "r alone", "invalid", good[:32])
    case("Length", "twice", "invalid", good + good)
    case("DerEncoding", "DER where raw r‖s is expected", "invalid", der(r, s))
    return cases.listed


def der_cases(public: tuple[int, int]) -> list[Case]:
    cases = Cases()

    def case(comment: str, result: str, sig: bytes) -> None:
        cases.add("DerEncoding", comment, result, identity=IDENTITY, msg=b"pay", sig=sig)

    r, s = sign(b"pay", IDENTITY, public, 0xC0FFEE)
    one, two = integer(r), integer(s)

    def sequence(body: bytes) -> bytes:
        return b"\x30" + bytes([len(body)]) + body

    case("plain", "valid", sequence(one + two))
    seen = set()
    for k in range(1, 2_000):  # Numbers with a zero byte in front, and with their highest bit set, need other lengths.
        numbers = sign(b"pay", IDENTITY, public, k)
        lengths = tuple(len(integer(number)) for number in numbers)
        if lengths not in seen and min(lengths) < 35:
            seen.add(lengths)
            case(f"INTEGERs of {lengths[0] - 2} and {lengths[1] - 2} bytes", "valid", der(*numbers))
        if len(seen) == 3:
            break
    wrong = {
        "empty": b"",
        "tag alone": b"\x30",
        "empty sequence": b"\x30\x00",
        "raw r‖s where DER is expected": raw(r, s),
        "needless zero before r": sequence(b"\x02" + bytes([one[1] + 1]) + b"\x00" + one[2:] + two),
        "needless zero before s": sequence(one + b"\x02" + bytes([two[1] + 1]) + b"\x00" + two[2:]),
        "r without the zero that keeps it positive": sequence(b"\x02\x20" + word(r | 1 << 255) + two),
        "negative s": sequence(one + b"\x02\x20" + word(s | 1 << 255)),
        "empty INTEGER for r": sequence(b"\x02\x00" + two),
        "r of 34 bytes": sequence(b"\x02\x22\x01" + bytes(33) + two),
        "length of the sequence in the long form": b"\x30\x81" + bytes([len(one + two)]) + one + two,
        "length of the sequence in two bytes": b"\x30\x82\x00" + bytes([len(one + two)]) + one + two,
        "length of r in the long form": sequence(b"\x02\x81" + one[1:] + two),
        "indefinite length": b"\x30\x80" + one + two + b"\x00\x00",
        "length too large": b"\x30" + bytes([len(one + two) + 1]) + one + two,
        "length too small": b"\x30" + bytes([len(one + two) - 1]) + one + two,
        "length of r beyond the end": sequence(b"\x02\x7f" + one[2:] + two),
        "trailing byte": sequence(one + two) + b"\x00",
        "trailing byte inside the sequence": sequence(one + two + b"\x00"),
        "a third INTEGER": sequence(one + two + b"\x02\x01\x01"),
        "s missing": sequence(one),
        "SET for SEQUENCE": b"\x31" + sequence(one + two)[1:],
        "OCTET STRING for INTEGER": sequence(b"\x04" + one[1:] + two),
        "one byte short": sequence(one + two)[:-1],
        "r = 0": sequence(b"\x02\x01\x00" + two),
        "s = n": der(r, N),
    }
    for comment, sig in wrong.items():
        case(comment, "invalid", sig)
    return cases.listed


def digest_groups(public: tuple[int, int]) -> list[Case]:
    """Signatures of digests. Where a sum must come out as wished, the key is computed from it: P = (R - s·G) / t."""

    def group(point: Point, flag: str, comment: str, result: str, e: int, r: int, s: int) -> Case:
        assert point is not None
        cases = Cases()
        cases.add(flag, comment, result, digest=word(e), sig=raw(r, s))
        return {"type": "Sm2DigestVerify", "publicKey": uncompressed(point), "encoding": "raw", "tests": cases.listed}

    def with_sum(wished: Point, s: int, t: int) -> Point:
        return multiply(pow(t, -1, N), add(wished, negated(multiply(s, G))))

    groups = []
    for e in (0, 1, N - 1, N, N + 1, 2**256 - 1):
        k = 0xDECADE
        r = (e + abscissa(k)) % N
        s = pow(1 + D, -1, N) * (k - r * D) % N
        groups.append(group(public, "Arithmetic", f"digest {e:x}", "valid", e, r, s))
    s, t = 0xABCDEF, 0x123456789
    for least in (N, P - 1000):
        large = point_from(least)
        r = (t - s) % N
        e = (r - large[0]) % N
        point = with_sum(large, s, t)
        groups.append(group(point, "LargeX", f"x = {large[0]:x}, above n", "valid", e, r, s))
        groups.append(group(point, "LargeX", "the same with another digest", "invalid", e + 1, r, s))
    for d in (1, 2, 3):
        key = multiply(d, G)
        s = t * d % N
        r, double = (t - s) % N, abscissa(2 * s % N)
        groups.append(group(key, "Arithmetic", f"s·G = t·P, d = {d}", "valid", (r - double) % N, r, s))
        s = -t * d % N
        r = (t - s) % N
        groups.append(group(key, "Arithmetic", f"s·G + t·P is infinite, e = r, d = {d}", "invalid", r, r, s))
    return [one for one in groups if one["tests"][0]["sig"][:64] != word(0).hex()]


def abscissa(k: int) -> int:
    point = multiply(k, G)
    assert point is not None
    return point[0]


def negated(point: Point) -> Point:
    return None if point is None else (point[0], -point[1] % P)


def point_from(least: int) -> tuple[int, int]:
    """Return the point with the smallest x from `least` on; p is 3 modulo 4."""
    for x in range(least, P):
        square = (x**3 + A * x + B) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return x, y
    raise ValueError(least)


def uncompressed(point: tuple[int, int]) -> str:
    return "04" + raw(*point).hex()


def key_cases(public: tuple[int, int]) -> list[Case]:
    x, y = public
    on_twist = next(i for i in range(1, 99) if pow(i**3 + A * i + B, (P - 1) // 2, P) != 1)
    plain = raw(x, y)
    listed = [
        ("Valid", "uncompressed", "valid", b"\x04" + plain),
        ("Valid", "raw x‖y", "valid", plain),
        ("OffCurve", "y + 1", "invalid", b"\x04" + word(x) + word(y + 1)),
        ("OffCurve", "x and y exchanged", "invalid", b"\x04" + word(y) + word(x)),
        ("OffCurve", "x without a point", "invalid", b"\x04" + word(on_twist) + word(1)),
        ("OffCurve", "zeros (infinity as some write it)", "invalid", b"\x04" + bytes(64)),
        ("OffCurve", "raw zeros", "invalid", bytes(64)),
        ("OffCurve", "x = p", "invalid", b"\x04" + word(P) + word(y)),
        ("OffCurve", "y = p", "invalid", b"\x04" + word(x) + word(P)),
        ("OffCurve", "y + p does not fit, all ones", "invalid", b"\x04" + word(x) + b"\xff" * 32),
        (
            "OffCurve",
            "P-256 generator",
            "invalid",
            bytes.fromhex(
                "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            ),
        ),
        ("Compressed", "hybrid", "invalid", bytes([6 + y % 2]) + plain),
        ("Compressed", "compressed", "invalid", bytes([2 + y % 2]) + word(x)),
        ("Length", "infinity, one byte", "invalid", b"\x00"),
        ("Length", "empty", "invalid", b""),
        ("Length", "one byte short", "invalid", b"\x04" + plain[:-2]),
        ("Length", "one byte long", "invalid", b"\x04" + plain + b"\x00"),
    ]
    cases = Cases()
    for flag, comment, result, key in listed:
        cases.add(flag, comment, result, key=key)
    return cases.listed


def private_key_cases() -> list[Case]:
    cases = Cases()
    for name, d in (("1", 1), ("2", 2), ("n - 2", N - 2)):
        cases.add("KeyRange", f"d = {name}", "valid", key=word(d))
    for name, d in (("0", 0), ("n - 1", N - 1), ("n", N), ("n + 1", N + 1), ("p", P), ("2^256 - 1", 2**256 - 1)):
        cases.add("KeyRange", f"d = {name}", "invalid", key=word(d))
    return cases.listed


def main() -> None:
    public = multiply(D, G)
    assert public is not None
    key = {"publicKey": uncompressed(public)}
    groups: list[Case] = [
        {"type": "Sm2Verify", **key, "encoding": "raw", "tests": message_cases(public)},
        {"type": "Sm2Verify", **key, "encoding": "der", "tests": der_cases(public)},
        *digest_groups(public),
        {"type": "Sm2PublicKey", "tests": key_cases(public)},
        {"type": "Sm2PrivateKey", "tests": private_key_cases()},
    ]
    tests = [test for group in groups for test in group["tests"]]
    for number, test in enumerate(tests, 1):
        test["tcId"] = number
    document = {
        "algorithm": "SM2",
        "header": [
            "SM2 on sm2p256v1 with SM3 (GB/T 32918.2, .5). All numbers in hexadecimal, big-endian.",
            "Sm2Verify: msg under identity; Sm2DigestVerify: digest is e = SM3(Z_A || msg), taken modulo n.",
            "Sm2PublicKey, Sm2PrivateKey: whether key may be read as one.",
        ],
        "notes": {flag: {"description": text} for flag, text in NOTES.items()},
        "numberOfTests": len(tests),
        "testGroups": groups,
    }
    target = Path(__file__).with_name("edge_cases.json")
    target.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
