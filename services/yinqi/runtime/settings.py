"""Settings: the only place that reads the environment.

Every variable begins with `YINQI_`, apart from the standard `OTEL_*` names. A service that needs more
derives its own class: `class PaymentSettings(Settings): ...` and calls `load_settings(PaymentSettings)`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from yinqi.kernel.errors import FieldViolation, InvalidRequest

MEBIBYTE = 1024 * 1024
PORTS_DEFAULT: Mapping[str, int] = {
    "payment": 7101,
    "account": 7102,
    "reconciliation": 7103,
    "monitoring": 7104,
    "gateway": 7105,
    "sandbox_bank": 7106,
    "console": 7180,
}
GRPC_SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway")
Port = Annotated[int, Field(ge=0, le=65535)]  # 0 lets the system choose; tests use it.


class SettingsInvalid(InvalidRequest):
    """One or more settings are wrong; the message names each variable and says what is allowed."""


_DATABASE_URL = "sqlite:///{var_dir}/{service}.db"
_CREDENTIALS = re.compile(r"://[^@/]*@")


def _short_digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


class Settings(BaseSettings):
    """What an operator may set. Names of variables: `YINQI_` + the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="YINQI_", extra="ignore", frozen=True, populate_by_name=True)

    var_dir: Path = Path("var")
    host: str = "127.0.0.1"
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: str = Field("json", pattern="^(json|console)$")

    payment_port: Port = 7101
    account_port: Port = 7102
    reconciliation_port: Port = 7103
    monitoring_port: Port = 7104
    gateway_port: Port = 7105
    sandbox_bank_port: Port = 7106  # HTTP
    console_port: Port = 7180  # HTTP

    # Where the sisters are, as host:port. Empty: this host and the port above.
    payment_address: str = ""
    account_address: str = ""
    reconciliation_address: str = ""
    monitoring_address: str = ""
    gateway_address: str = ""
    sandbox_bank_address: str = ""

    # A template: {service} and {var_dir} are filled in.
    database_url: str = _DATABASE_URL
    database_writers: int = Field(4, ge=1, le=64)  # PostgreSQL only; SQLite has one.
    migrate_at_start: bool = True

    message_bytes_max: int = Field(16 * MEBIBYTE, ge=1024)
    batch_lines_max: int = Field(10_000, ge=1)
    queue_max: int = Field(10_000, ge=1)  # use cases waiting for a writer
    in_flight_max: int = Field(2_000, ge=1)  # unary calls being served at once
    streams_max: int = Field(500, ge=1)
    deadline_default_s: float = Field(30.0, gt=0)
    deadline_max_s: float = Field(300.0, gt=0)
    call_timeout_s: float = Field(10.0, gt=0)  # our own calls to sister services
    drain_grace_s: float = Field(10.0, ge=0)

    poll_interval_ms: int = Field(200, ge=1)
    unknown_alert_after_s: float = Field(60.0, ge=0)
    first_query_delay_s: float = Field(2.0, ge=0)
    query_interval_s: float = Field(5.0, gt=0)

    # The chain over the service's journals (docs/audit.md). The key: PKCS#8; empty: {var_dir}/journal/{service}.key, made
    # at the first start. {service} and {var_dir} are filled in.
    journal_key_file: str = ""
    journal_key_password: SecretStr = SecretStr("")
    journal_key_algorithm: str = Field("sm2-sm3", pattern="^(sm2-sm3|ed25519)$")
    # Folders outside the database, separated by commas, that get a copy of every seal; the more of them on other
    # machines, the better.
    journal_checkpoint_dirs: str = "{var_dir}/journal"
    # Other databases that get one too, SQLAlchemy URLs separated by blanks. Let their user insert and read, no more.
    journal_checkpoint_urls: str = ""
    journal_seal_interval_s: float = Field(1.0, gt=0, le=60)
    journal_seal_rows_max: int = Field(2_000, ge=1, le=10_000)

    # Folder of the key-encryption keys that seal fields at rest (docs/data-at-rest.md); empty: nothing is sealed.
    # {service} and {var_dir} are filled in.
    sealing_keys_dir: str = ""
    sealing_algorithm: Literal["sm4-gcm", "aes-256-gcm"] = "sm4-gcm"
    # "refuse", once `yinqi data reseal` has brought all rows over: a row in clear was not written by us.
    sealing_clear_rows: Literal["read", "refuse"] = "read"
    sealing_refresh_s: float = Field(30.0, gt=0, le=3600)  # how often to look whether data keys were rotated

    # Who may connect, and who calls (docs/identity.md). "mutual": both sides show a certificate; "server": callers may
    # come without one and show a token; "off": plain text, on this machine's own addresses only.
    tls_mode: Literal["mutual", "server", "off"] = "mutual"
    # PEM. {var_dir} and {name} are filled in; a name is a service's, "console" or "client".
    tls_certificate_file: str = "{var_dir}/tls/{name}.crt"
    tls_key_file: str = "{var_dir}/tls/{name}.key"
    tls_ca_file: str = "{var_dir}/tls/ca.crt"
    tls_crl_file: str = ""  # revocation lists; empty: none is asked
    tls_clients_file: str = "{var_dir}/tls/clients.toml"  # what client certificates may do
    tls_trust_domain: str = Field("yinqi", pattern=r"^[a-z0-9._-]{1,255}$")  # spiffe://yinqi/service/payment
    tls_reload_interval_s: float = Field(5.0, gt=0, le=3600)
    tls_handshake_s: float = Field(10.0, gt=0, le=60)
    tls_handshakes_max: int = Field(256, ge=1)
    health_port: Port = 0  # one more port, for probes that speak no TLS: health checks alone; 0: none

    # Tokens of people (JWT). The keys: a JSON Web Key Set, read again when the file changes; empty: no tokens.
    jwt_jwks_file: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = "yinqi"
    jwt_algorithms: str = "EdDSA,ES256,ES384,PS256,RS256"
    jwt_leeway_s: int = Field(30, ge=0, le=300)
    jwt_name_claim: str = "sub"
    jwt_roles_claim: str = "roles"  # a dot goes deeper: realm_access.roles
    token_file: str = ""  # what our own commands show as the person's token

    # Memory holds keys, names and account numbers: no core dump is written unless somebody looks for a fault.
    core_dumps_enabled: bool = False
    # Development only: callers say who they are (x-yinqi-identity, x-yinqi-roles).
    dev_identity_enabled: bool = False

    otlp_endpoint: str = Field(
        "", validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    otel_traces_exporter: str = Field("otlp", validation_alias="OTEL_TRACES_EXPORTER")
    otel_sdk_disabled: bool = Field(False, validation_alias="OTEL_SDK_DISABLED")
    # Small span batches on purpose: larger ones hold the GIL for so long that p99 suffers (docs/architecture.md).
    # The decision is made where a trace begins and kept all along it: both forms of a name mean the same here.
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field("parentbased_always_on", validation_alias="OTEL_TRACES_SAMPLER")
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, validation_alias="OTEL_TRACES_SAMPLER_ARG")
    otel_batch_size: int = Field(64, ge=1, validation_alias="OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
    otel_batch_delay_ms: int = Field(100, ge=1, validation_alias="OTEL_BSP_SCHEDULE_DELAY")
    otel_queue_size: int = Field(65_536, ge=1, validation_alias="OTEL_BSP_MAX_QUEUE_SIZE")

    @property
    def tracing_enabled(self) -> bool:
        """Whether the standard OTEL_* variables ask for traces to be exported."""
        return bool(self.otlp_endpoint) and not self.otel_sdk_disabled and self.otel_traces_exporter != "none"

    @property
    def sampled_share(self) -> float:
        """The share of new traces that is recorded, 0 to 1."""
        sampler = self.otel_traces_sampler.removeprefix("parentbased_")
        return {"always_on": 1.0, "always_off": 0.0}.get(sampler, self.otel_traces_sampler_arg)

    def port_of(self, service: str) -> int:
        """Return the port `service` listens on."""
        return int(getattr(self, f"{service}_port"))

    def listen_address(self, service: str) -> str:
        """Return host:port to listen on."""
        return f"{self.host}:{self.port_of(service)}"

    def address_of(self, service: str) -> str:
        """Return host:port at which `service` is reached."""
        return str(getattr(self, f"{service}_address")) or f"{self.own_host}:{self.port_of(service)}"

    @property
    def own_host(self) -> str:
        """Where this machine reaches what listens on `host`: no certificate names "all addresses"."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 (only compared with)

    def journal_key_of(self, service: str) -> Path:
        """Return the file of the key that signs the seals of the service's journals."""
        template = self.journal_key_file or "{var_dir}/journal/{service}.key"
        return Path(template.replace("{service}", service).replace("{var_dir}", str(self.var_dir)))

    def journal_checkpoint_folders(self) -> list[Path]:
        """Return the folders outside the database that get a copy of every seal.

        Databases elsewhere than by default have a folder each below these: the copies of one are not those of another.
        """
        folders = self.journal_checkpoint_dirs.replace("{var_dir}", str(self.var_dir)).split(",")
        own = self.journal_source()
        return [Path(folder.strip()) / own for folder in folders if folder.strip()]

    def sealing_keys_of(self, service: str) -> str:
        """Return the folder of the service's key-encryption keys, "" if nothing is sealed."""
        return self.sealing_keys_dir.replace("{service}", service).replace("{var_dir}", str(self.var_dir))

    def journal_source(self) -> str:
        """Return what keeps this database's seals apart from others' outside; "" where it is by default."""
        return "" if self.database_url == _DATABASE_URL else _short_digest(_CREDENTIALS.sub("://", self.database_url))

    def tls_file(self, template: str, name: str = "") -> Path:
        """Return the file that one of the `tls_*_file` settings names, for a certificate's name."""
        return Path(template.replace("{name}", name).replace("{var_dir}", str(self.var_dir)))

    def database_url_of(self, service: str) -> str:
        """Return the SQLAlchemy URL of the service's own database; creates nothing."""
        return self.database_url.replace("{service}", service).replace("{var_dir}", str(self.var_dir))


SettingsT = TypeVar("SettingsT", bound=Settings)


def _variable_name(kind: type[Settings], location: str) -> str:
    field = kind.model_fields.get(location)
    if field is None or field.validation_alias is None:
        return location if location.startswith("OTEL_") else f"YINQI_{location.upper()}"
    return str(field.validation_alias)


def load_settings(kind: type[SettingsT] = Settings, **overrides: object) -> SettingsT:  # type: ignore[assignment]
    """Read the environment.

    Args:
        kind: the settings class; a service passes its own subclass.
        overrides: values that win over the environment, by field name.
    Raises:
        SettingsInvalid: names every wrong variable, its value and what is allowed. Fix and start again.
    """
    try:
        return kind(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        violations = [
            FieldViolation(
                field=_variable_name(kind, str(problem["loc"][0]) if problem["loc"] else "?"),
                reason=str(problem["type"]).upper(),
                description=f"{problem['msg']}; got {problem.get('input')!r}",
            )
            for problem in error.errors()
        ]
        lines = "; ".join(f"{v.field}: {v.description}" for v in violations)
        raise SettingsInvalid("SETTINGS_INVALID", f"Settings are wrong: {lines}", violations=violations) from None


def child_environment(changes: Mapping[str, str], without: Collection[str] = ()) -> dict[str, str]:
    """Return this process's environment with `changes` and without some variables, for a child process."""
    whole = {**os.environ, **changes}  # noqa: TID251 (its one home)
    return {name: value for name, value in whole.items() if name not in without}


def given_variables(names: Collection[str]) -> list[str]:
    """Return which of these variables this process was started with, sorted; an empty one counts as left out."""
    return sorted(name for name in names if os.environ.get(name))  # noqa: TID251 (its one home)
