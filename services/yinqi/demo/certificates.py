"""The development certificates of the whole suite."""

from __future__ import annotations

from collections.abc import Sequence

from yinqi.demo.sisters import COMPANY_ROLES
from yinqi.kernel.clock import SystemClock
from yinqi.monitoring.console.evidence import AUDITOR
from yinqi.monitoring.console.sisters import VIEWER_ROLES
from yinqi.runtime.certificates import make_certificates
from yinqi.runtime.settings import GRPC_SERVICES, Settings
from yinqi.runtime.tls import CLIENT, CONSOLE

# With the role of auditor: on a development machine the page hands out bundles. In production that is for you to decide.
CLIENTS = {CLIENT: COMPANY_ROLES, CONSOLE: f"{VIEWER_ROLES},{AUDITOR}"}


def make_suite_certificates(settings: Settings, hosts: Sequence[str] = ()) -> list[str]:
    """Make the authority and the certificates of all services, the console and our commands in `<var>/tls`.

    Raises:
        TlsInvalid: see `make_certificates`.
    """
    return make_certificates(
        settings.var_dir / "tls",
        services=GRPC_SERVICES,
        clients=CLIENTS,
        trust_domain=settings.tls_trust_domain,
        clock=SystemClock(),
        hosts=hosts,
    )
