"""Ports: who holds one, and what to do about it."""

from __future__ import annotations

import contextlib
import secrets
import socket

import psutil

from yinqi.kernel.errors import FailedPrecondition

_FREE_PORTS = range(15_000, 32_000)


class PortInUse(FailedPrecondition):
    """Another program listens on the port; the message names both and says what to do."""


def holder_of(port: int) -> str:
    """Return "name (pid n)" of the process that listens on the port, or "" if it cannot be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:2] == (port,):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def port_in_use(service: str, port: int) -> PortInUse:
    """Return the error for `service`, whose port is taken."""
    holder = holder_of(port)
    variable = f"YINQI_{service.upper()}_PORT"
    return PortInUse(
        "PORT_IN_USE",
        f"{service} cannot listen on port {port}: {holder or 'another program'} holds it. "
        f"Stop that program, or choose another port with {variable}.",
        f"{service} 无法监听端口 {port}：已被 {holder or '其他程序'} 占用。请停止该程序，或用 {variable} 指定其他端口。",
        metadata={"service": service, "port": str(port), "holder": holder},
    )


def is_free(host: str, port: int) -> bool:
    """Return whether one can listen on host:port now (a connection that lingers does not count)."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on at this moment.

    It lies below the range from which systems give ports to outgoing connections: one of those could take it before its
    owner has started.
    """
    while True:
        port = _FREE_PORTS.start + secrets.randbelow(len(_FREE_PORTS))
        if is_free(host, port):
            return port
