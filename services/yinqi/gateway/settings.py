"""Settings of the gateway, beyond those every service has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from yinqi.gateway.retention import ArchiveKind, Retention
from yinqi.runtime.settings import Settings

_SHIPPED_PROFILES = Path(__file__).parent / "profiles"
_SHIPPED_CALENDARS = Path(__file__).parent / "calendars"
_DAYS_MIN = 183


class GatewaySettings(Settings):
    """Names of variables: `YINQI_` + the field's name in capitals."""

    # Folder of bank profiles (*.toml). Profiles may use {var_dir}, {keys_dir}, {exchange_dir}, {sandbox_bank_address}.
    gateway_profiles_dir: Path = _SHIPPED_PROFILES
    # Folder of holiday calendars (*.toml) that profiles name.
    gateway_calendars_dir: Path = _SHIPPED_CALENDARS
    # A replica that is silent for so long loses its slots at the banks to the others.
    gateway_slot_lease_s: float = Field(15.0, ge=1.0, le=300.0)
    # Where banks post notices; nothing listens unless a profile asks for notices. 0: any free port.
    gateway_notice_host: str = "127.0.0.1"
    gateway_notice_port: int = Field(7107, ge=0, le=65_535)
    # Our keys; only the gateway may read here. {var_dir} is filled in.
    gateway_keys_dir: str = "{var_dir}/gateway/keys"
    # Where the bank and we leave keys for each other (the sandbox bank's --keys-dir). {var_dir} is filled in.
    exchange_dir: str = "{var_dir}/exchange"
    # File with the password of the signing keys (a mounted credential); a key's own `<file>.password` beside it comes first.
    # Empty: each profile's password file in the key folder, made at the first start. {var_dir} is filled in.
    gateway_key_password_file: str = ""
    # How often a replica looks whether the keys' journal says something new.
    gateway_key_check_s: float = Field(2.0, gt=0, le=60.0)

    # Folder of the gateway's own copy of the approval policy (docs/signed-orders.md); empty: nothing is asked for.
    # {var_dir} is filled in.
    gateway_policy_dir: str = ""
    # How often the folder is looked at; a new version is in force two looks after it was put there.
    gateway_policy_poll_s: float = Field(1.0, gt=0, le=3_600.0)

    # How many days the archive keeps what (docs/data-at-rest.md); 0: for ever. Vouchers: what moved money and the bank's words
    # about it. Logs: what was only looked at, at least six months.
    gateway_retention_vouchers_days: int = Field(10_958, ge=0, le=100_000)
    gateway_retention_statements_days: int = Field(3_653, ge=0, le=100_000)
    gateway_retention_logs_days: int = Field(366, ge=0, le=100_000)
    gateway_purge_interval_s: float = Field(3_600.0, gt=0, le=86_400.0)

    @field_validator(
        "gateway_retention_vouchers_days", "gateway_retention_statements_days", "gateway_retention_logs_days"
    )
    @classmethod
    def _half_a_year(cls, days: int) -> int:
        if 0 < days < _DAYS_MIN:
            raise ValueError(f"must be 0 (for ever) or at least {_DAYS_MIN} days, as the law asks of logs")
        return days

    def retention(self) -> Retention:
        """Return how long the archive keeps what."""
        return Retention(
            {
                ArchiveKind.VOUCHER: self.gateway_retention_vouchers_days,
                ArchiveKind.STATEMENT: self.gateway_retention_statements_days,
                ArchiveKind.LOG: self.gateway_retention_logs_days,
            }
        )

    def key_password_file(self) -> Path | None:
        """Return the file with the password of the signing keys; None: each profile has its own."""
        file = self.gateway_key_password_file.replace("{var_dir}", str(self.var_dir))
        return Path(file) if file else None

    def policy_paths(self) -> tuple[str, Path]:
        """Return the policy's folder, and the file that remembers the highest version used."""
        folder = self.gateway_policy_dir.replace("{var_dir}", str(self.var_dir))
        return folder, self.var_dir / "gateway" / "policy_version"

    def profile_placeholders(self) -> dict[str, str]:
        """Return what profiles may refer to."""
        var_dir = str(self.var_dir)
        return {
            "var_dir": var_dir,
            "keys_dir": self.gateway_keys_dir.replace("{var_dir}", var_dir),
            "exchange_dir": self.exchange_dir.replace("{var_dir}", var_dir),
            "sandbox_bank_address": self.address_of("sandbox_bank"),
        }
