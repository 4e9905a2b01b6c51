"""Evidence on `crypto_core`: time and memory do not follow secrets, and no parser panics.

Each part is a program of `crypto_core/tests/`, built and run by cargo.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CRATE = Path(__file__).resolve().parents[2] / "crypto_core"
SUPPRESSIONS = CRATE / "tests" / "secret_memory.supp"
SAMPLES = "1_000_000"
EXECUTIONS = "100_000"
_FOUND = 99
"""What valgrind ends with when it found an error."""


def timing(short: bool) -> None:
    """Print |t| of signing, key generation and SM4 in each tier (dudect)."""
    _run([str(program("constant_time")), *([] if short else ["--samples", SAMPLES])])


def memory(short: bool) -> None:
    """Run the portable tier under valgrind with secrets marked undefined; then the planted branch, which must be found."""
    if shutil.which("valgrind") is None:
        print("left out: valgrind is not installed (Debian package valgrind)")
        return
    clean, planted = (_memcheck(*arguments) for arguments in ([], ["planted"]))
    print(f"portable tier: {clean.stdout.strip()}\n{_summary(clean)}")
    print(f"planted branch: {planted.stdout.strip()}\n{_summary(planted)}")
    if clean.returncode:
        raise AssertionError(f"a branch or an address depends on a secret:\n{clean.stderr}")
    if planted.returncode != _FOUND:
        raise AssertionError("the planted branch was not found")


def parsers(short: bool) -> None:
    """Feed every parser with damaged files."""
    _run([str(program("parsers")), *([] if short else ["--executions", EXECUTIONS])])


def program(name: str) -> Path:
    """Build one program of `crypto_core/tests/` and return its path."""
    command = ["cargo", "test", "--release", "--no-run", "--test", name]
    built = subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=True)
    return CRATE / executable_of(built.stderr)


def executable_of(said: str) -> str:
    """Return the path that cargo named last: `Executable tests/NAME.rs (target/release/deps/NAME-HASH)`."""
    return said.rpartition("(")[2].partition(")")[0]


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=CRATE, check=True)


def _memcheck(*arguments: str) -> subprocess.CompletedProcess[str]:
    valgrind = ["valgrind", f"--error-exitcode={_FOUND}", f"--suppressions={SUPPRESSIONS}", "--num-callers=8", "-s"]
    command = [*valgrind, str(program("secret_memory")), *arguments]
    return subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=False)


def _summary(run: subprocess.CompletedProcess[str]) -> str:
    return next((line for line in run.stderr.splitlines() if "ERROR SUMMARY" in line), run.stderr)
