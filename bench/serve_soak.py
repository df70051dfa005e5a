"""The service at full speed for long: whether its processes keep their memory, and make no errors.

Half of the connections send events and reads in turn through the front, the others read from the
replicas' own listener. Memory is what a process shares with no other, because the pages of the
store's map that are in memory belong to the machine; what is resident with them is said too. It is
flat if no process grew by more than a twentieth, or a few megabytes, over the second half.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from serve_load import BINARY, JSON, load
from session import said

if TYPE_CHECKING:
    from serve_process import Service

EVERY = 30.0  # seconds between two looks at memory
LOOKS = 10  # at least
MOST_GROWTH = 0.05  # of what a process held in the middle
FEW_MB = 8.0
Held = dict[str, float]  # MB by what a process is


def soak(service: Service, seconds: int, connections: int) -> None:
    """Send events and reads for so many seconds, and say what the processes hold."""
    mixed = list(itertools.chain(*zip(service.plays(), service.reads(JSON), strict=True)))
    loads = ((service.front, mixed), (service.direct, service.reads(BINARY)))
    before = service.counted("tasteprint_request_seconds_count")
    with ThreadPoolExecutor(len(loads)) as pool:
        sent = [
            pool.submit(
                load, url, asks, service.token, connections=connections // 2, seconds=seconds
            )
            for url, asks in loads
        ]
        looks = watched(service, seconds)
        found = [one.result() for one in sent]
    drained = service.wait_until_done()
    after = service.counted("tasteprint_request_seconds_count")
    growth = {name: round(mb, 2) for name, mb in grown(looks).items()}
    said(
        part="soak",
        seconds=seconds,
        answers={name: one.answers for name, one in zip(("front", "direct"), found, strict=True)},
        errors=sum(one.errors for one in found),
        by=found[0].by,
        by_status={labels: after[labels] - before.get(labels, 0) for labels in sorted(after)},
        drained_s=round(drained, 1),
        grown_mb=growth,
        flat=flat(looks),
    )


def watched(service: Service, seconds: int) -> list[tuple[float, Held]]:
    """What the processes hold, again and again until the time is over; a line for each look."""
    began, every = time.monotonic(), min(EVERY, seconds / LOOKS)
    looks = []
    while (at := time.monotonic() - began) < seconds:
        own, resident = held(service, "RssAnon"), held(service, "VmRSS")
        looks.append((at, own))
        said(
            part="soak",
            at_s=round(at, 1),
            own_mb={name: round(mb) for name, mb in own.items()},
            own_mb_of_all=round(sum(own.values())),
            resident_mb={name: round(mb) for name, mb in resident.items()},
            waiting_bytes=service.waiting(),
        )
        time.sleep(max(min(every, began + seconds - time.monotonic()), 0))
    return looks


def held(service: Service, kind: str) -> Held:
    """Memory of the service's processes in MB, by what they are; of the same kind together."""
    found: Counter[str] = Counter()
    for process in service.process.all():
        with suppress(OSError):
            folder = Path(f"/proc/{process}")
            lines = (folder / "status").read_text().splitlines()
            size = sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))
            found[name_of((folder / "cmdline").read_bytes())] += size
    return {name: kb / 1024 for name, kb in sorted(found.items())}


def name_of(command: bytes) -> str:
    """What a process is: as Ray calls it, or its program; of Python the script."""
    words = [word for word in command.decode(errors="replace").split("\0") if word]
    if not words or words[0].startswith("ray::"):
        return " ".join(words)[:60]
    names = [Path(word).name for word in words if not word.startswith("-")]
    return names[1] if names[0].startswith("python") and len(names) > 1 else names[0]


def grown(looks: list[tuple[float, Held]]) -> Held:
    """MB by which each process grew over the second half, along a straight line through it."""
    half = looks[len(looks) // 2 :]
    at = np.array([second for second, _ in half])
    names = set.intersection(*(set(one) for _, one in half))
    if len(half) < 2:  # noqa: PLR2004 - points of a line
        return dict.fromkeys(names, 0.0)
    return {
        name: float(np.polyfit(at, [one[name] for _, one in half], 1)[0] * (at[-1] - at[0]))
        for name in sorted(names)
    }


def flat(looks: list[tuple[float, Held]]) -> bool:
    """Whether no process grew in earnest."""
    middle: dict[str, Any] = looks[len(looks) // 2][1]
    return all(mb <= max(FEW_MB, MOST_GROWTH * middle[name]) for name, mb in grown(looks).items())
