"""The whole service, as a person starts it: one for all tests here, and the last ends it."""

import signal
import socket
import threading
import time
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
import requests

from lakehouse.event_codec import decode
from lakehouse.folder_log import ends, partitions, read
from ray_apps.nrt_space import NrtSpace, hashed
from ray_apps.tokens import SCOPES, new_token
from tests.conftest import BIN, PATIENCE
from tests.ray_apps.conftest import new_nrt, played

pytestmark = pytest.mark.whole


class Service:
    """``tasteprint serve`` on a small lakehouse, and who asks it."""

    def __init__(self, nrt, runs):
        self.nrt, self.runs = nrt, runs
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._tokens = {scope: new_token(scope.replace(":", "-"), [scope]) for scope in SCOPES}
        file = nrt.folder / "tokens"
        file.touch(0o600)
        file.write_text("\n".join(line for _, line in self._tokens.values()))
        places = {"store": "online", "event-log": "events", "metrics": "metrics"}
        self._flags = ["--lakehouse", nrt.lake.uri, "--token-file", str(file)]
        for flag, name in places.items():
            self._flags += [f"--{flag}", str(nrt.folder / name)]
        self._http = requests.Session()
        self._http.trust_env = False  # neither proxies nor a password of this machine

    def start(self):
        port = self.url.rpartition(":")[2]
        script = str(BIN / "tasteprint")
        self.process = self.runs.start(script, "serve", "--port", port, *self._flags)
        self.until(lambda: self.ask("GET", "/readyz", None).ok)

    def until(self, happened):
        """Wait for something; no connection is as good as no."""
        give_up = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.runs._said()
            assert time.monotonic() < give_up, self.runs._said()
            try:
                if happened():
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)

    def ask(self, method, path, scope="admin", **options):
        headers = {"Authorization": f"Bearer {self._tokens[scope][0]}"} if scope else {}
        return self._http.request(method, self.url + path, headers=headers, timeout=30, **options)

    def send(self, *events):
        rows = [{k: v for k, v in event.row.items() if k != "ingested_at"} for event in events]
        return self.ask("POST", "/v1/events", "events:write", json={"listens": rows})

    def vector(self, user_id):
        return self.ask("GET", f"/v1/users/{user_id}/embedding", "vectors:read")

    def plays(self, space, user_id):
        """Hashes of all plays that the store knows of a user, as often as it counts them."""
        (state,) = self.nrt.store.states(space.name, [user_id])
        return space.bytes.decode(state.value).plays["event"]

    def logged(self):
        """Ids of all plays that are in the log."""
        every = [read(self.nrt.log, name, 0, 100_000)[0] for name in partitions(self.nrt.log)]
        return {decode(record.payload).row["event_id"] for part in every for record in part}


class Meanwhile(threading.Thread):
    """Does something again and again beside a test, until it is told to end or may not go on."""

    def __init__(self, step):
        super().__init__(daemon=True)
        self._step, self._over = step, threading.Event()
        self.seen = []

    def run(self):
        while not self._over.is_set():
            try:
                self.seen.append(self._step(len(self.seen)))
            except requests.RequestException as error:
                self.seen.append(error)
            time.sleep(0.01)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


def _free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _said(answer):
    """What a reader goes by: the status, and the batch of the vector."""
    return answer.status_code, answer.json().get("batch_id")


@pytest.fixture(scope="module")
def service(tmp_path_factory, new_runs):
    nrt, runs = new_nrt(tmp_path_factory.mktemp("served")), new_runs()
    found = Service(nrt, runs)
    try:
        found.start()
        yield found
    finally:
        runs._kill(found.process)
        nrt.store.close()


def test_an_event_moves_the_vector(service):
    before = service.vector("u3").json()
    assert service.send(played("u3", 0, item=9)).json() == {"accepted": 1, "refused": []}
    service.until(lambda: service.vector("u3").json()["source"] == "nrt")
    after = service.vector("u3").json()
    assert before["source"] == "batch"
    assert after["as_of"] > before["as_of"]
    assert not np.allclose(after["embedding"], before["embedding"])
    assert after["batch_id"] == service.nrt.live.batch_id


def test_what_needs_the_model_is_answered_by_the_process_that_has_it(service):
    found = service.ask("GET", "/v1/users/u4/items?count=3").json()
    assert len(found["nearest"]) == 3
    pick = {"picked_id": "t5", "picked_kind": "item", "picked_at": "2026-03-01T00:00:00Z"}
    vector = service.ask("POST", "/v1/embed", json={"onboarding": [pick]}).json()["embedding"]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_token_opens_what_it_is_for_and_nothing_else(service):
    path = "/v1/users/u3/embedding"
    assert service.ask("GET", path, "vectors:read").status_code == 200
    assert service.ask("GET", path, "events:write").status_code == 403
    assert service.ask("GET", path, None).status_code == 401


def test_counters_are_those_of_all_processes(service):
    service.send(played("u5", 0))
    for counted_by_api_or_updates in ("events_total{", "vectors_published_total{"):
        name = f"tasteprint_{counted_by_api_or_updates}"
        service.until(lambda name=name: name in service.ask("GET", "/metrics").text)


def test_readers_turn_with_the_registry_and_neither_a_read_nor_an_event_fails(service):
    old, new = (batch.batch_id for batch in service.nrt.batches)
    batches, sent = service.nrt.lake.batches, [played("walker", n, item=n % 50) for n in range(900)]
    with (
        Meanwhile(lambda _: _said(service.vector("u3"))) as reader,
        Meanwhile(lambda n: service.send(sent[n]).status_code) as sender,
    ):
        batches.rollback(old)
        service.until(lambda: reader.seen[-1][1] == old)
        batches.promote(new)
        service.until(lambda: reader.seen[-1][1] == new)
    assert set(sender.seen) == {202}
    assert [said for said, _ in groupby(reader.seen)] == [(200, new), (200, old), (200, new)]
    counted_once = np.sort(
        hashed(pa.array([each.row["event_id"] for each in sent[: len(sender.seen)]]))
    )
    log = ends(service.nrt.log)
    for batch_id in (old, new):
        space = NrtSpace(service.nrt.lake, batches.get(batch_id))
        service.until(lambda at=space: service.nrt.store.position(at.name).items() >= log.items())
        assert np.array_equal(np.sort(service.plays(space, "walker")), counted_once)


def test_an_end_by_signal_loses_nothing_that_was_accepted(service):
    """Last: it ends the service."""
    sent = [played("late", n) for n in range(20_000)]  # more than are sent before the end
    with Meanwhile(lambda n: service.send(sent[n]).status_code) as sender:
        service.until(lambda: len(sender.seen) > 20)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0, service.runs._said()
    assert all(before == 202 or after != 202 for before, after in pairwise(sender.seen))
    accepted = {sent[n].row["event_id"] for n, status in enumerate(sender.seen) if status == 202}
    assert len(accepted) > 20
    assert accepted <= service.logged()
    assert service.runs.alive() == []
