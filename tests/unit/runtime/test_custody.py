"""Only the gateway may be handed bank keys; every other service refuses to start with one, in words."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from yinqi.crypto import SigningKey
from yinqi.runtime.custody import BankKeyMisplaced, check_custody
from yinqi.runtime.settings import Settings, load_settings

OTHERS = ["payment", "account", "reconciliation", "monitoring"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(Settings, var_dir=tmp_path)


@pytest.mark.parametrize("service", OTHERS)
@pytest.mark.parametrize("variable", ["YINQI_GATEWAY_KEYS_DIR", "YINQI_GATEWAY_KEY_PASSWORD_FILE"])
def test_a_service_with_a_bank_key_setting_does_not_start(
    service: str,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert importlib.import_module(f"yinqi.{service}.main").run() == 78
    told = capfd.readouterr().err
    assert f"The {service} service was given {variable}" in told
    assert "take it out" in told


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_setting_that_leads_to_bank_keys_is_found(tmp_path: Path, is_folder: bool) -> None:
    file = tmp_path / "secrets" / "U123456789.signing_key.pem"
    file.parent.mkdir()
    file.write_bytes(SigningKey.generate().to_encrypted_pem(b"secret", 10_000))
    named = {"journal_checkpoint_dirs": f"/nowhere,{file.parent}"} if is_folder else {"journal_key_file": str(file)}
    settings = load_settings(Settings, var_dir=tmp_path, **named)
    with pytest.raises(BankKeyMisplaced, match="leads to bank keys"):
        check_custody("payment", settings)
    check_custody("gateway", settings)


def test_a_password_in_the_environment_is_refused_by_the_gateway(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_custody("payment", settings)
    monkeypatch.setenv("YINQI_GATEWAY_KEY_PASSWORD", "secret")
    for service in ["gateway", *OTHERS]:
        with pytest.raises(BankKeyMisplaced) as caught:
            check_custody(service, settings)
        assert "secret" not in caught.value.message
