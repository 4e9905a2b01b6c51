"""Settings of the monitoring service, beyond those every service has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from yinqi.runtime.settings import Settings


class MonitoringSettings(Settings):
    """Names of variables: `YINQI_` + the field's name in capitals."""

    # Where alerts go: apprise URLs separated by blanks or commas, each with an optional lowest severity in front,
    # e.g. "json://127.0.0.1:9000/alerts CRITICAL|mailtos://user:password@example.com".
    alert_urls: str = ""
    alert_batch_max: int = Field(50, ge=1, le=500)  # alerts claimed at once, so at most so many in one message
    alert_threads: int = Field(4, ge=1, le=64)  # deliveries at once
    alert_retry_max_s: float = Field(300.0, gt=0)  # longest pause between two attempts
    alert_lease_s: float = Field(120.0, gt=0)  # after a crash in the middle of a delivery it is tried again

    screening_rules: Path | None = None  # None: the rules shipped with the program

    console_enabled: bool = True
    console_host: str = ""  # empty: as `host`
    # Names under which browsers may reach the console, separated by commas, "*": any; keeps other web sites from
    # rebinding a name of theirs to it. Empty: this machine only while it listens on loopback, else any.
    console_allowed_hosts: str = ""
    jaeger_url: str = ""  # e.g. http://127.0.0.1:16686; empty: the trace id is shown without a link
