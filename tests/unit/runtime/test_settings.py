"""Settings: from the environment, with words for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from yinqi.runtime.settings import Settings, SettingsInvalid, child_environment, load_settings


def test_defaults_are_those_of_the_documentation() -> None:
    settings = load_settings()
    assert [settings.port_of(s) for s in ("payment", "account", "reconciliation", "monitoring", "gateway")] == [
        7101, 7102, 7103, 7104, 7105,
    ]  # fmt: skip
    assert (settings.port_of("sandbox_bank"), settings.port_of("console")) == (7106, 7180)
    assert settings.database_url_of("payment") == "sqlite:///var/payment.db"
    assert settings.address_of("gateway") == "127.0.0.1:7105"
    assert settings.message_bytes_max == 16 * 1024 * 1024
    assert not settings.tracing_enabled


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQI_VAR_DIR", "/data")
    monkeypatch.setenv("YINQI_PAYMENT_ADDRESS", "payment:7101")
    monkeypatch.setenv("YINQI_DATABASE_URL", "postgresql://yinqi@db/{service}")
    settings = load_settings()
    assert settings.var_dir == Path("/data")
    assert settings.address_of("payment") == "payment:7101"
    assert settings.database_url_of("account") == "postgresql://yinqi@db/account"


def test_the_standard_otel_variables_switch_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    assert load_settings().tracing_enabled
    assert (load_settings().otel_batch_size, load_settings().otel_batch_delay_ms) == (64, 100)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "128")
    assert load_settings().otel_batch_size == 128
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not load_settings().tracing_enabled


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("YINQI_PAYMENT_PORT", "seventy"),
        ("YINQI_PAYMENT_PORT", "70000"),
        ("YINQI_BATCH_LINES_MAX", "0"),
        ("YINQI_LOG_LEVEL", "LOUD"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid) as refused:
        load_settings()
    assert variable in refused.value.message
    assert value in refused.value.message
    assert [violation.field for violation in refused.value.violations] == [variable]


def test_a_service_may_have_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class GatewaySettings(Settings):
        keystore: str = "keys"

    monkeypatch.setenv("YINQI_KEYSTORE", "/run/keys")
    assert load_settings(GatewaySettings).keystore == "/run/keys"
    assert load_settings(GatewaySettings, keystore="given").keystore == "given"


def test_a_childs_environment_is_ours_with_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQI_LOG_LEVEL", "DEBUG")
    environment = child_environment({"YINQI_PAYMENT_PORT": "1"})
    assert (environment["YINQI_LOG_LEVEL"], environment["YINQI_PAYMENT_PORT"]) == ("DEBUG", "1")
