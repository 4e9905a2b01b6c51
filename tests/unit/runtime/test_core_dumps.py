"""A service that dies leaves no memory in a file."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import os, resource
from yinqi.runtime.core_dumps import forbid_core_dumps
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
forbid = {forbid}
assert not forbid or forbid_core_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
os.abort()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux promises it")
def test_an_aborted_process_leaves_no_core(tmp_path: Path) -> None:
    services = Path(__file__).parents[3] / "services"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(forbid=True)],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(services)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGABRT, done.stderr
    assert done.stdout.strip() == "0"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes cores as this test looks for them")
def test_where_it_is_not_forbidden_this_machine_does_write_one(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text("ascii").strip()
    if pattern.startswith("|") or "/" in pattern or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip(f"this machine puts cores elsewhere, or none may be written: {pattern}")
    services = Path(__file__).parents[3] / "services"
    subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(forbid=False)],
        cwd=tmp_path, capture_output=True, check=False, env={"PYTHONPATH": str(services)},
    )  # fmt: skip
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("core")]
