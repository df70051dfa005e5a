"""A private net and a public one on this machine, for hosts that are namespaces.

The private net is where a cluster talks to itself and where this machine reaches it. The public
net stands for whatever else a host is connected to: nothing but ssh may answer there.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "tp-"  # of every namespace and interface that is made here
NEEDED = {
    "ip": "iproute2",
    "nft": "nftables",
    "rsync": "rsync",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}
LOCK = Path("/run/tasteprint-cluster.lock")


@dataclass(frozen=True)
class Net:
    """A bridge and its addresses.

    Attributes:
        bridge: name of the interface.
        begin: the first three numbers of each address.
    """

    bridge: str
    begin: str

    @property
    def all(self) -> str:
        """Its addresses."""
        return f"{self.begin}.0/24"

    def address(self, number: int) -> str:
        """Of the host with this number; 1 is this machine."""
        return f"{self.begin}.{number}"

    def card(self, number: int) -> str:
        """Of its network card: the same after each boot, or nobody finds it for a while."""
        numbers = (2, 0, *map(int, self.begin.split(".")), number)
        return ":".join(f"{part:02x}" for part in numbers)


PRIVATE = Net(f"{PREFIX}private", "10.213.77")
PUBLIC = Net(f"{PREFIX}public", "10.213.78")  # public by its part alone


def why_not() -> str | None:
    """What this machine lacks to have hosts, in a sentence; None where it lacks nothing."""
    if sys.platform != "linux":
        return "hosts are Linux namespaces"
    missing = sorted(package for name, package in NEEDED.items() if not shutil.which(name))
    if missing:
        return f"not installed: {' '.join(missing)}"
    tried = f"{PREFIX}try"
    done = ip("netns", "add", tried, check=False)
    if done.returncode:
        return f"network namespaces need root: {done.stderr.strip()}"
    ip("netns", "delete", tried)
    return None


@contextmanager
def nets() -> Iterator[None]:
    """Have both nets; what an earlier run has left behind is removed first, all of it at the end.

    Raises:
        InputError: this machine cannot have them, or another run has them.
    """
    reason = why_not()
    if reason is not None:
        raise InputError(f"no hosts on this machine: {reason}")
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another run has the hosts of this machine: wait for its end"
            ) from None
        remove_all()
        try:
            for net in (PRIVATE, PUBLIC):
                _refuse_if_taken(net)
                ip("link", "add", net.bridge, "type", "bridge")
                ip("address", "add", f"{net.address(1)}/24", "dev", net.bridge)
                ip("link", "set", net.bridge, "up")
            yield
        finally:
            remove_all()


def _refuse_if_taken(net: Net) -> None:
    """Addresses that this machine has a route of its own to are somebody's already."""
    for route in _listed("route", "show", "match", net.address(2)):
        if route["dst"] != "default":
            raise InputError(f"{net.begin}.0/24 is in use here: {route}")


def remove_all() -> None:
    """Remove the namespaces and interfaces of any run; processes go with their hosts."""
    for one in _listed("netns", "list"):
        if one["name"].startswith(PREFIX):
            ip("netns", "delete", one["name"])
    for one in _listed("link", "show"):
        if one["ifname"].startswith(PREFIX):
            ip("link", "delete", one["ifname"], check=False)  # its other end went before


def ip(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``ip``."""
    done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)  # noqa: S607 - where it lies differs
    if check and done.returncode:
        raise InputError(f"ip {' '.join(argv)}: {done.stderr.strip()}")
    return done


def _listed(*argv: str) -> list[dict[str, Any]]:
    told = ip("-json", *argv).stdout.strip()
    listed: list[dict[str, Any]] = json.loads(told) if told else []
    return listed
