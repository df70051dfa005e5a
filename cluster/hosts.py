"""Hosts on one machine: each has its own network, processes, name, home, temporary folder and sshd.

A host is a set of Linux namespaces. It shares the machine's files, so the installed environment
and a lakehouse in a folder are the same everywhere, as on hosts that mount one file system.
``boot`` starts it, ``cut`` takes its power, and leaving the context removes it. It ends with the
process that has booted it, however that ends.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.net import PREFIX, PRIVATE, PUBLIC, ip, nets
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIRST = 11  # the head's number in each net; workers follow
PATIENCE = 30  # seconds for an sshd to answer
USER = "root"
BOOT = """
set -e
hostname {name}
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/shadow /etc/shadow
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder}/resolv.conf /etc/resolv.conf
mount --bind {folder}/ray /tmp/ray
mount -t tmpfs -o size=1g tmpfs /dev/shm
mkdir -p /run/sshd
nft -f {folder}/firewall.nft
{sshd} -D -e -f {folder}/sshd_config &
wait
"""
# Its shell stays in front: a namespace's first process has to bury those who lose their parents.
SSHD = """
ListenAddress 0.0.0.0
HostKey {folder}/host_key
AuthenticationMethods publickey
UsePAM no
PidFile none
PrintMotd no
"""


ACCOUNTS = """\
{user}:x:0:0::{home}:/bin/bash
sshd:x:100:65534::/run/sshd:/bin/false
"""
LOGIN = """\
export PATH={bin}:$PATH
export PYTHONPATH={root}
"""
ROOT = Path(__file__).resolve().parent.parent
FIREWALL = Path(__file__).with_name("firewall.nft")


class Host:
    """One host.

    Args:
        name: its host name.
        number: the last number of its addresses.
        folder: where its home and its settings lie.
        key: the private key that opens it.
    """

    def __init__(self, name: str, number: int, folder: Path, key: Path) -> None:
        self.name, self.folder, self.key = name, folder, key
        self.address, self.public_address = PRIVATE.address(number), PUBLIC.address(number)
        self._number = number
        self._init: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """Home of its user."""
        return self.folder / "home"

    def boot(self, names: dict[str, str]) -> None:
        """Plug it in, start it, and wait until its sshd answers.

        Args:
            names: address of each host by its name.
        """
        self._write(names)
        self._plug()
        script = BOOT.format(name=self.name, folder=self.folder, sshd=_where("sshd"))
        with (self.folder / "console.log").open("ab") as console:
            self._init = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("ip", "netns", "exec", self.name),
                    *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"),
                    *("--mount-proc", "bash", "-c", script),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for who has started us
            )
        self._wait_for_ssh()

    def cut(self) -> None:
        """Take its power: the cable goes first, so that nobody hears a goodbye."""
        for interface in (self.name, f"{self.name}-p"):
            ip("link", "delete", interface, check=False)
        self._kill()

    def remove(self) -> None:
        """End it and unplug it."""
        self._kill()
        ip("netns", "delete", self.name, check=False)

    def run(self, *command: str, timeout: float = 60) -> str:
        """What a command says there; by ssh, as the launcher does."""
        options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
        done = subprocess.run(
            [
                *(_where("ssh"), "-i", str(self.key), *options, "-o", "LogLevel=ERROR"),
                *(f"{USER}@{self.address}", "bash", "-ic", shlex.quote(shlex.join(command))),
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise InputError(f"{self.name}: {shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, command: str, log: Path) -> None:
        """Start a command there that goes on by itself; what it prints goes to a file."""
        self.run("bash", "-c", f"setsid {command} >{log} 2>&1 </dev/null &")

    def listeners(self) -> list[tuple[str, int]]:
        """Address and port of each TCP socket that listens there."""
        told = ip("netns", "exec", self.name, "ss", "-Hltn").stdout
        places = [line.split()[3].rpartition(":") for line in told.splitlines()]
        return sorted({(address.strip("[]"), int(port)) for address, _, port in places})

    def processes(self) -> list[str]:
        """Titles of its processes."""
        if self._init is None or self._init.poll() is not None:
            return []
        ours = f"/proc/{self._child()}/ns/pid"
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if (place / "ns/pid").stat().st_ino == Path(ours).stat().st_ino:
                    found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return [title.strip() for title in found if title.strip()]

    def _child(self) -> int:
        assert self._init is not None  # noqa: S101 - for the types
        return int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text())

    def _kill(self) -> None:
        if self._init is not None:
            self._init.send_signal(signal.SIGKILL)
            self._init.wait()

    def _plug(self) -> None:
        ip("netns", "delete", self.name, check=False)
        ip("netns", "add", self.name)
        nets_of = ((PRIVATE, self.name, "eth0"), (PUBLIC, f"{self.name}-p", "eth1"))
        for net, cable, inside in nets_of:
            card = ("name", inside, "address", net.card(self._number), "netns", self.name)
            ip("link", "add", cable, "type", "veth", "peer", *card)
            ip("link", "set", cable, "master", net.bridge, "up")
            address = f"{net.address(self._number)}/24"
            ip("-netns", self.name, "address", "add", address, "dev", inside)
            ip("-netns", self.name, "link", "set", inside, "up")
        ip("-netns", self.name, "link", "set", "lo", "up")
        ip("-netns", self.name, "route", "add", "default", "via", PRIVATE.address(1))

    def _write(self, names: dict[str, str]) -> None:
        for made in (self.home / ".ssh", self.folder / "ray", Path("/tmp/ray")):  # noqa: S108 - Ray's
            made.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        known = "".join(f"{address} {name}\n" for name, address in names.items())
        files = {
            "hosts": f"127.0.0.1 localhost\n{known}",  # gloo listens where a host's name leads to
            "passwd": ACCOUNTS.format(user=USER, home=self.home),
            "resolv.conf": "nameserver 127.0.0.1\n",  # says no at once
            "shadow": f"{USER}:*:1::::::\n",
            "sshd_config": SSHD.format(folder=self.folder),
            "firewall.nft": filled(FIREWALL.read_text(), {"10.0.0.0/24": PRIVATE.all}),
            "home/.bashrc": LOGIN.format(bin=Path(sys.executable).parent, root=ROOT),
            "home/.ssh/authorized_keys": self.key.with_suffix(".pub").read_text(),
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        if not (self.folder / "host_key").exists():
            new_key(self.folder / "host_key")

    def _wait_for_ssh(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            try:
                socket.create_connection((self.address, 22), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise InputError(f"{self.name} does not answer: {self.folder / 'console.log'}")


@contextmanager
def hosts(folder: Path, names: Sequence[str]) -> Iterator[list[Host]]:
    """Boot hosts with these names, and remove them at the end.

    Args:
        folder: for their files; a short path, since sockets lie below it.
        names: the head's first.
    """
    key = folder / "key"
    new_key(key)
    found = [
        Host(PREFIX + name, FIRST + number, folder / name, key) for number, name in enumerate(names)
    ]
    with ExitStack() as stack:
        stack.enter_context(nets())
        for host in found:
            stack.callback(host.remove)
            host.boot(addresses(found))
        yield found


def addresses(found: Sequence[Host]) -> dict[str, str]:
    """Private address of each host by its name."""
    return {host.name: host.address for host in found}


def filled(text: str, values: dict[str, str]) -> str:
    """The text of a file with what its reader is asked to change.

    Raises:
        InputError: the text has no such place.
    """
    for place, value in values.items():
        if place not in text:
            raise InputError(f"there is no {place} to be filled in")
        text = text.replace(place, value)
    return text


def new_key(place: Path) -> None:
    """Make a pair of keys for ssh, without a password."""
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [_where("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(place)]
    subprocess.run(command, check=True)


def _where(program: str) -> str:
    """Path of a program of the system; sshd insists on a full one."""
    for folder in (*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"):
        if os.access(f"{folder}/{program}", os.X_OK):
            return f"{folder}/{program}"
    raise InputError(f"{program} is not installed")
