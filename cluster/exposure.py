"""What of a host answers to whom."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.hosts import Host

PATIENCE = 0.3  # seconds; a firewall lets whoever knocks wait


@dataclass(frozen=True)
class Ports:
    """TCP ports of a host that something listens on.

    Attributes:
        private: those that answer on its private address.
        public: those that answer on its public one.
    """

    private: list[int]
    public: list[int]


def knock(hosts: Sequence[Host]) -> dict[str, Ports]:
    """Try, from outside, every port that anything on a host listens on; by the host's name."""
    found = {}
    for host in hosts:
        ports = sorted({port for _, port in host.listeners()})
        found[host.name] = Ports(
            private=[port for port in ports if answers(host.address, port)],
            public=[port for port in ports if answers(host.public_address, port)],
        )
    return found


def answers(address: str, port: int) -> bool:
    """Whether a connection is taken."""
    try:
        socket.create_connection((address, port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True
