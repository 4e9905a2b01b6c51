"""Where a process runs: on this machine's own network, or in a network namespace of its own whose lines nft can cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace ("": this one) and the address that others reach it at."""

    name: str = ""
    host: str = HERE

    @property
    def prefix(self) -> list[str]:
        """What a command begins with to run there."""
        return ["ip", "netns", "exec", self.name] if self.name else []


@dataclass(slots=True)
class Network:
    """payment (here) – gateway – bank, each line a pair of interfaces that end in the gateway's namespace."""

    gateway: Place = field(default_factory=Place)
    bank: Place = field(default_factory=Place)

    def cut(self, line: str, direction: str) -> None:
        """Drop what the gateway gets (`in`), sends (`out`) or both on the line to `payment` or `bank`, without a word."""
        interface = {"payment": "gw-pay", "bank": "gw-bank"}[line]
        _run(*self.gateway.prefix, "nft", "add table inet cut")
        for hook, word in (("input", "iifname"), ("output", "oifname")):
            if direction in (hook.removesuffix("put"), "both"):
                chain = f"inet cut {hook}"
                _run(*self.gateway.prefix, "nft", f"add chain {chain} {{ type filter hook {hook} priority 0; }}")
                _run(*self.gateway.prefix, "nft", f"add rule {chain} {word} {interface} drop")

    def heal(self) -> None:
        """Let everything through again."""
        _run(*self.gateway.prefix, "nft", "flush ruleset")


def is_missing() -> str:
    """Return why lines cannot be cut here, "" if they can."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian package {package})"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with namespaces() as network:
            network.cut("bank", "both")
    except subprocess.CalledProcessError as error:
        return f"this machine does not allow it: {(error.stderr or b'').decode(errors='replace').strip()[:120]}"
    return ""


@contextmanager
def namespaces() -> Iterator[Network]:
    """Make the two namespaces and their lines; gone at the end of the block."""
    number = os.getpid() % 10_000
    gateway, bank = f"yq-gw-{number}", f"yq-bank-{number}"
    subnet = f"10.{77 + number % 100}.{number // 100}"
    here = f"yq{number}"
    with ExitStack() as stack:
        for name in (gateway, bank):
            _run("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True, check=False)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        # By name and at once: the namespaces' own end takes their interfaces away some time later.
        stack.callback(subprocess.run, ["ip", "link", "del", here], capture_output=True, check=False)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", "gw-pay", "netns", gateway)
        _run("ip", "-n", gateway, "link", "add", "gw-bank", "type", "veth", "peer", "name", "bank", "netns", bank)
        for end, address, place in (
            (here, f"{subnet}.1/30", []),
            ("gw-pay", f"{subnet}.2/30", ["-n", gateway]),
            ("gw-bank", f"{subnet}.5/30", ["-n", gateway]),
            ("bank", f"{subnet}.6/30", ["-n", bank]),
        ):
            _run("ip", *place, "address", "add", address, "dev", end)
            _run("ip", *place, "link", "set", end, "up")
        yield Network(Place(gateway, f"{subnet}.2"), Place(bank, f"{subnet}.6"))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
