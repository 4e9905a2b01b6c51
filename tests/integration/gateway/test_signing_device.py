"""Payments signed by a device reach the sandbox bank; while the device is away nothing is sent, and nothing is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.crypto import SigningKey

SOFT_SDF = Path(__file__).parents[3] / "crypto_core" / "target" / "release" / "examples" / "libsoft_sdf.so"


async def test_a_device_signs_for_the_bank_and_while_it_is_away_nothing_is_sent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_gateway: Callable[..., Any],
    sandbox_bank_runner: Callable[[Path, str], Any],
) -> None:
    if not SOFT_SDF.exists():
        pytest.skip("needs the soft SDF library: cargo build --release --example soft_sdf in crypto_core")
    device, keys = tmp_path / "device", tmp_path / "exchange" / "company"
    for folder in (device, keys):
        folder.mkdir(parents=True)
    monkeypatch.setenv("SOFT_SDF_DIR", str(device))
    (device / "7.key").write_text(SigningKey.generate().to_bytes().hex(), "ascii")
    (device / "pin").write_bytes(b"135790")
    (keys / "U123456789.pin").write_bytes(b"135790")
    (keys / "U123456789.pin").chmod(0o600)
    table = f'[keys.device]\nkind = "sdf"\nlibrary = "{SOFT_SDF}"\nkey_index = 7\ntimeout_ms = 60000\n\n[batch]'
    with sandbox_bank_runner(tmp_path, "") as bank:
        async with run_gateway(bank.address, profile={"[batch]": table}) as gateway:
            first, second = gateway.submission(), gateway.submission()
            (report,) = await gateway.submit(first)
            assert report.status == gateway_pb2.BANK_STATUS_PROCESSING
            (device / "away").touch()
            (report,) = await gateway.submit(second)
            assert report.status == gateway_pb2.BANK_STATUS_NOT_SENT
            assert report.reason_code == "SIGNING_DEVICE_UNAVAILABLE"
            (device / "away").unlink()
            (report,) = await gateway.submit(second)
            assert report.status == gateway_pb2.BANK_STATUS_PROCESSING
