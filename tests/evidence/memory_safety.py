"""Evidence on the memory of `crypto_core`: its tests under AddressSanitizer, and its parsers under libFuzzer.

Both are flags of the compiler that are not stable yet. RUSTC_BOOTSTRAP lets the stable compiler take them, for these programs only:
what is shipped is built without. Each is left out, with the reason, where it cannot run.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.evidence.crypto import CRATE, executable_of, program

HOST = "x86_64-unknown-linux-gnu"
SECONDS, SECONDS_SHORT = 60, 2
COVERAGE = (
    "-Cpasses=sancov-module",
    *(
        f"-Cllvm-args=-sanitizer-coverage-{what}"
        for what in ("level=4", "inline-8bit-counters", "pc-table", "trace-compares")
    ),
)
# Left out under the sanitizer: it answers mlock itself, so nothing is locked; and a hundred thousand cases of other people's
# arithmetic add hours, but no memory access that smaller tests of each tier do not have.
LEFT_OUT = ("what_is_locked_shows", "sm2::differential", "ciphertexts_are_those_of_another")
PLANTED = "planted_read_beyond_the_end"


def sanitizer(short: bool) -> None:
    """Run the tests of the crate, all tiers, under AddressSanitizer; then the planted read, which must be found."""
    if reason := _missing():
        print(f"left out: {reason}")
        return
    build = ["cargo", "test", "--release", "--lib", "--no-run", "--target", HOST]
    tests = CRATE / executable_of(_built(build, CRATE, "target/asan", ["-Zsanitizer=address"]))
    skipped = [word for name in LEFT_OUT for word in ("--skip", name)]
    run = subprocess.run([tests, *skipped], cwd=CRATE, capture_output=True, text=True, check=False)
    print(next((line for line in run.stdout.splitlines() if line.startswith("test result")), run.stdout[-2000:]))
    if run.returncode:
        raise AssertionError(f"a test failed under AddressSanitizer:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    planted = subprocess.run(
        [tests, "--ignored", PLANTED, "--nocapture"], cwd=CRATE, capture_output=True, text=True, check=False
    )
    found = next((line for line in planted.stderr.splitlines() if "ERROR: AddressSanitizer" in line), "")
    print(f"planted read: {found.partition('ERROR: ')[2].partition(' on address')[0] or 'not found'}")
    if not found:
        raise AssertionError("the planted read beyond the end was not found")


def fuzz(short: bool) -> None:
    """Feed each parser with what libFuzzer thinks of, under AddressSanitizer, from the same seeds as `parsers`."""
    if reason := _missing():
        print(f"left out: {reason}")
        return
    build = ["cargo", "build", "--release", "--target", HOST]
    _built(build, CRATE / "fuzz", "target", ["-Zsanitizer=address", *COVERAGE, "-Ccodegen-units=1", "--cfg", "fuzzing"])
    fuzzer = CRATE / "fuzz" / "target" / HOST / "release" / "fuzz"
    seconds = SECONDS_SHORT if short else SECONDS
    print(f"{'parser':<44} {'seconds':>7} {'inputs':>12} {'edges':>7} {'corpus':>7}")
    with tempfile.TemporaryDirectory() as folder:
        listed = subprocess.run(
            [program("parsers"), "--corpus", folder], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for line in listed:
            number, _, name = line.partition(" ")
            print(f"{name:<44} {seconds:>7} {_fuzz_one(fuzzer, number, Path(folder) / number, seconds)}", flush=True)


def _fuzz_one(fuzzer: Path, number: str, corpus: Path, seconds: int) -> str:
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    run = subprocess.run(
        ["env", f"PARSER={number}", fuzzer, corpus, *options, f"-artifact_prefix={corpus.parent}/"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode:
        raise AssertionError(f"parser {number} broke:\n{run.stderr[-4000:]}")
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", run.stderr)
    covered = re.findall(r"cov: (\d+)", run.stderr)
    return f"{int(executed[-1]):>12,} {covered[-1] if covered else '?':>7} {len(list(corpus.iterdir())):>7}"


def _built(command: list[str], folder: Path, target: str, flags: list[str]) -> str:
    settings = ["RUSTC_BOOTSTRAP=1", f"RUSTFLAGS={' '.join(flags)}", f"CARGO_TARGET_DIR={folder / target}"]
    run = subprocess.run(["env", *settings, *command], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise AssertionError(f"{' '.join(command)} did not build:\n{run.stderr[-3000:]}")
    return run.stderr


def _missing() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"needs x86-64 Linux, this is {platform.machine()} {sys.platform}"
    libraries = subprocess.run(["rustc", "--print", "target-libdir"], capture_output=True, text=True, check=True).stdout
    if not list(Path(libraries.strip()).glob("librustc*_rt.asan.a")):
        return "this Rust has no AddressSanitizer runtime"
    return ""
