"""SM2, SM3 and SM4 through Python, ours and the peers that are installed, in one run: `python -m tests.bench.crypto`.

Batches of 1,024 messages of 256 bytes, SM3 included, one thread. Figures are operations (or bytes) per second of thread CPU
time: the median of the rounds, and the slowest and fastest round. Rounds of all candidates alternate, so that a disturbance
meets all of them; what takes a fraction of a millisecond is done several times in a round, as a busy service would. Two threads against one are measured by the clock on the wall, and mean something on a quiet machine only.

Digests and ciphers show cycles per byte as well: of the fastest round, by the processor's clock as a chain of additions beside
that round shows it. The clock changes with the neighbours and the hour; this figure hardly does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import gmssl_pyx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from yinqi import crypto

BATCH = 1_024
MESSAGE_LENGTH = 256
ROUNDS = 9
SINGLE_CALLS = 64
BATCHES = 8
PEER_CALLS = 16
SHORT_ROUNDS = 4
ONE_LENGTH = 1 << 20
KEY = bytes(range(16))
FLAGS = ("bmi2", "adx", "avx2", "avx512f", "avx512dq", "avx512ifma", "avx512vl", "gfni", "vaes", "vpclmulqdq")


class Clock:
    """The processor's clock: additions that wait for each other take one cycle each. x86-64 only."""

    # add rax, rcx 32 times; dec rdi; jnz to the beginning; ret
    CODE = b"\x48\x01\xc8" * 32 + b"\x48\xff\xcf" + b"\x75\x9b" + b"\xc3"
    TURNS = 2_000

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(self.CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(address)

    def cycles_per_second(self) -> float:
        """Cycles per second at this moment: the best of five times some 25 microseconds, for no disturbance makes it faster."""
        best = float("inf")
        for _ in range(5):
            started = time.thread_time()
            self._run(self.TURNS)
            best = min(best, time.thread_time() - started)
        return 32 * self.TURNS / best


@dataclass
class Candidate:
    """One thing to measure: `work` does `count` operations, or handles that many bytes, in the instructions of `tier`."""

    name: str
    count: int
    work: Callable[[], object]
    tier: str | None = None
    in_bytes: bool = False
    seconds: list[float] = field(default_factory=list)
    clocks: list[float] = field(default_factory=list)

    def run(self, clock: Clock | None) -> None:
        """Measure one round."""
        crypto.force_tier(self.tier)
        for _ in range(SHORT_ROUNDS if self.in_bytes else 1):
            started = time.thread_time()
            self.work()
            self.seconds.append(time.thread_time() - started)
            if self.in_bytes and clock:
                self.clocks.append(clock.cycles_per_second())

    def line(self) -> str:
        """Median and spread, with the time of one operation or in GB per second."""
        each = [seconds / self.count for seconds in self.seconds[1:]]
        middle = statistics.median(each)
        if self.in_bytes:
            rates = [1 / seconds / 1e9 for seconds in (middle, max(each), min(each))]
            fastest = min(zip(self.seconds, self.clocks, strict=False), default=None)
            cycles = f"   {fastest[0] * fastest[1] / self.count:.2f} cycles per byte" if fastest else ""
            return f"{self.name:<44}{rates[0]:>9.3f} GB/s {'':>12}   {rates[1]:>11.3f} … {rates[2]:.3f} GB/s{cycles}"
        return f"{self.name:<44}{1 / middle:>11,.0f}/s {middle * 1e6:>9.2f} us   {1 / max(each):>11,.0f} … {1 / min(each):,.0f}/s"


def tiers() -> list[str]:
    """The tiers of this processor."""
    found = []
    for name in ("portable", "avx2", "avx512"):
        try:
            crypto.force_tier(name)
        except ValueError:
            continue
        found.append(name)
    crypto.force_tier(None)
    return found


def ours(messages: list[bytes]) -> list[Candidate]:
    """Batches and single calls in each tier."""
    key = crypto.SigningKey.generate()
    public = key.public_key()
    signatures = key.sign_many(messages)
    message, signature = messages[0], signatures[0]
    found = []
    for tier in tiers():
        crypto.force_tier(tier)
        prepared = public.prepare()
        if not all(prepared.verify_many(messages, signatures)):
            raise SystemExit(f"tier {tier} refused a good signature")
        found += [
            Candidate(f"yinqi {tier}, sign, batch", BATCH, lambda: key.sign_many(messages), tier),
            Candidate(
                f"yinqi {tier}, verify, batch",
                BATCH,
                lambda prepared=prepared: prepared.verify_many(messages, signatures),  # type: ignore[misc]
                tier,
            ),
            Candidate(
                f"yinqi {tier}, sign, one call", SINGLE_CALLS, repeat(SINGLE_CALLS, lambda: key.sign(message)), tier
            ),
            Candidate(
                f"yinqi {tier}, verify, one call",
                SINGLE_CALLS,
                repeat(SINGLE_CALLS, lambda prepared=prepared: prepared.verify(message, signature)),
                tier,
            ),
        ]
    return found


def symmetric(messages: list[bytes]) -> list[Candidate]:
    """SM3 and SM4 in each tier, lists and buffers."""
    nonces = [i.to_bytes(12, "big") for i in range(BATCH)]
    ivs = [i.to_bytes(16, "big") for i in range(BATCH)]
    data, one = b"".join(messages), bytes(ONE_LENGTH)
    offsets = array("Q", range(0, len(data) + 1, MESSAGE_LENGTH))
    works: list[tuple[str, int, Callable[[], object]]] = [
        ("SM3, many", len(data), lambda: crypto.sm3_many(messages)),
        ("SM3, many in a buffer", len(data), lambda: crypto.sm3_buffer(data, offsets)),
        ("SM3, one of 1 MiB", len(one), lambda: crypto.sm3(one)),
        ("SM4-CBC, many", len(data), lambda: crypto.sm4_cbc_encrypt_many(KEY, ivs, messages)),
        (
            "SM4-CBC, many in a buffer",
            len(data),
            lambda: crypto.sm4_cbc_encrypt_buffer(KEY, b"".join(ivs), data, offsets),
        ),
        ("SM4-GCM, many", len(data), lambda: crypto.sm4_gcm_encrypt_many(KEY, nonces, messages)),
        (
            "SM4-GCM, many in a buffer",
            len(data),
            lambda: crypto.sm4_gcm_encrypt_buffer(KEY, b"".join(nonces), data, offsets),
        ),
        ("SM4-GCM, one of 1 MiB", len(one), lambda: crypto.sm4_gcm_encrypt(KEY, nonces[0], one)),
    ]
    return [
        Candidate(f"yinqi {tier}, {name}", BATCHES * count, repeat(BATCHES, work), tier, in_bytes=True)
        if "many" in name
        else Candidate(f"yinqi {tier}, {name}", count, work, tier, in_bytes=True)
        for tier in tiers()
        for name, count, work in works
    ]


def identifiers() -> list[Candidate]:
    """Check digits, a thousand identifiers in a list."""
    samples = {
        "IBAN": (crypto.check_iban, "DE89370400440532013000"),
        "USCC": (crypto.check_uscc, "91350100M000100Y43"),
        "bank card, Luhn": (crypto.check_bank_card_luhn, "6222021234567894567"),
        "CNAPS": (crypto.check_cnaps, "102100099996"),
    }
    return [
        Candidate(f"yinqi, {name}", BATCHES * BATCH, repeat(BATCHES, partial(check, [sample] * BATCH)))
        for name, (check, sample) in samples.items()
    ]


def symmetric_peers() -> list[Candidate]:
    """OpenSSL as `cryptography` brings it, on one long message."""
    one = bytes(ONE_LENGTH)

    def sm3() -> bytes:
        digest = hashes.Hash(hashes.SM3())
        digest.update(one)
        return digest.finalize()

    def encrypt(mode: modes.CBC | modes.GCM) -> bytes:
        encryptor = Cipher(SM4(KEY), mode).encryptor()
        return encryptor.update(one) + encryptor.finalize()

    return [
        Candidate("cryptography, SM3, one of 1 MiB", len(one), sm3, in_bytes=True),
        Candidate("cryptography, SM4-CBC, one of 1 MiB", len(one), lambda: encrypt(modes.CBC(KEY)), in_bytes=True),
        Candidate("cryptography, SM4-GCM, one of 1 MiB", len(one), lambda: encrypt(modes.GCM(KEY[:12])), in_bytes=True),
    ]


def two_threads(messages: list[bytes]) -> list[str]:
    """How much faster two threads are than one, for signing and verifying eight batches; best of the rounds each."""
    if len(os.sched_getaffinity(0)) < 2:
        return ["two threads against one: this process may use one processor only"]
    key = crypto.SigningKey.generate()
    prepared, many = key.public_key().prepare(), messages * 8
    signatures = key.sign_many(many)
    works: dict[str, Callable[[], object]] = {
        "sign": lambda: key.sign_many(many),
        "verify": lambda: prepared.verify_many(many, signatures),
    }
    lines = []
    for name, work in works.items():
        best = {1: float("inf"), 2: float("inf")}
        for _ in range(ROUNDS):
            for threads in best:
                crypto.set_threads(threads)
                started = time.perf_counter()
                work()
                best[threads] = min(best[threads], time.perf_counter() - started)
        lines.append(f"two threads against one, {name}: {best[1] / best[2]:.2f} times")
    return lines


def peers(messages: list[bytes]) -> list[Candidate]:
    """What others install as wheels or from source, one call at a time."""
    message = messages[0]
    public, private = gmssl_pyx.sm2_key_generate()
    signature = gmssl_pyx.sm2_sign(private, public, message)
    found = [
        Candidate(
            "gmssl-pyx, sign", PEER_CALLS, repeat(PEER_CALLS, lambda: gmssl_pyx.sm2_sign(private, public, message))
        ),
        Candidate(
            "gmssl-pyx, verify",
            PEER_CALLS,
            repeat(PEER_CALLS, lambda: gmssl_pyx.sm2_verify(public, message, signature)),
        ),
    ]
    try:
        from gmalglib.sm2 import SM2
    except ImportError:
        return found
    other = SM2(private, uid=crypto.DEFAULT_IDENTITY, pk=b"\x04" + public)
    theirs = other.sign(message)
    return [
        *found,
        Candidate("gmalglib, sign", PEER_CALLS, repeat(PEER_CALLS, lambda: other.sign(message))),
        Candidate("gmalglib, verify", PEER_CALLS, repeat(PEER_CALLS, lambda: other.verify(message, theirs))),
    ]


def repeat(count: int, call: Callable[..., object]) -> Callable[[], None]:
    """`count` calls, one after the other."""

    def work() -> None:
        for _ in range(count):
            call()

    return work


def processor() -> str:
    """The processor's name and those of its flags that matter here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return sys.platform
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    return f"{facts.get('model name', 'unknown')}; {' '.join(flag for flag in FLAGS if flag in flags)}"


def main() -> None:
    """Measure and print."""
    messages = [i.to_bytes(2, "big") * (MESSAGE_LENGTH // 2) for i in range(BATCH)]
    crypto.set_threads(1)
    print(f"processor: {processor()}\ntier chosen: {crypto.tier()}; one thread, {BATCH} × {MESSAGE_LENGTH} bytes")
    candidates = ours(messages) + peers(messages) + symmetric(messages) + symmetric_peers() + identifiers()
    clock = Clock() if platform.machine() == "x86_64" else None
    for _ in range(ROUNDS + 1):
        for candidate in candidates:
            candidate.run(clock)
    crypto.force_tier(None)
    print(f"{'':<44}{'median':>13} {'each':>12}   slowest … fastest of {ROUNDS}")
    for candidate in candidates:
        print(candidate.line())
    print("\n".join(two_threads(messages)))
    crypto.set_threads(None)


if __name__ == "__main__":
    main()
