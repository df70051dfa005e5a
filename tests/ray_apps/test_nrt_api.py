import asyncio
import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from lakehouse.event_codec import decode
from lakehouse.event_log import LogFullError
from lakehouse.folder_log import FolderReader, FolderWriter
from lakehouse.online import StoreError, unpack_vector
from ray_apps.nrt_api import MOST_BYTES, build_api
from ray_apps.nrt_inference import BatchInference
from ray_apps.nrt_items import KnownItems
from ray_apps.nrt_service import Limits, NrtService
from ray_apps.tokens import Tokens
from tests.ray_apps.conftest import played

WORDS = {
    "events:write": "writer-token-123456",
    "vectors:read": "reader-token-123456",
    "users:erase": "eraser-token-123456",
    "admin": "admins-token-123456",
}


class Here:
    """The model in the same process."""

    def __init__(self, lake, space):
        self._batch = BatchInference(lake, space)

    async def embed(self, _batch_id, events, user):
        return self._batch.embed(events, user)

    async def nearest(self, asked):
        return self._batch.nearest(**asked)


class Client:
    """A client with tokens, and the parts of the service behind it."""

    def __init__(self, nrt):
        self.nrt, self.space = nrt, nrt.serve()
        self.writer = FolderWriter(nrt.log)
        items = KnownItems(nrt.lake)
        self.service = NrtService(
            nrt.store, self.writer, items, nrt.key, nrt.metrics, Limits(backlog=1_000)
        )
        said = ";".join(f"{scope}:{scope}:{word}" for scope, word in WORDS.items())
        tokens = Tokens.from_text(
            said.replace("events:write:events", "w:events")
            .replace("vectors:read:vectors", "r:vectors")
            .replace("users:erase:users", "e:users")
            .replace("admin:admin", "a:admin")
        )
        self.why = None
        app = build_api(self.service, tokens, Here(nrt.lake, self.space), nrt.metrics, self._ready)
        self._http = TestClient(app, raise_server_exceptions=False)

    async def _ready(self):
        return self.why

    def ask(self, method, path, scope="admin", **options):
        headers = options.pop("headers", {})
        if scope:
            headers = {"Authorization": f"Bearer {WORDS[scope]}", **headers}
        return self._http.request(method, path, headers=headers, **options)

    def post(self, path, body, **options):
        return self.ask("POST", path, json=body, **options)

    def send(self, *events, **options):
        rows = [dict(event.row) for event in events]
        for row in rows:
            row.pop("ingested_at", None)
        return self.post("/v1/events", {"listens": rows}, **options)

    def logged(self):
        reader = FolderReader(self.nrt.log, "test", lambda _: None)
        found = [decode(record.payload) for record in reader.poll(1_000, 0.5)]
        reader.close()
        return found

    def follow(self):
        updater = self.nrt.updater(self.space)
        while updater.step(0.05).events:
            pass
        updater.close()


@pytest.fixture
def client(nrt):
    found = Client(nrt)
    with found._http:
        yield found
    found.writer.close()


def test_an_accepted_event_is_in_the_log_and_moves_the_vector(client):
    before = client.ask("GET", "/v1/users/u3/embedding").json()
    answer = client.send(played("u3", 0, item=8))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "refused": []})
    (event,) = client.logged()
    assert (event.table, event.row["event_id"], event.reasons) == ("listens", "u3-now-0", ())
    client.follow()
    after = client.ask("GET", "/v1/users/u3/embedding").json()
    assert (before["source"], after["source"]) == ("batch", "nrt")
    assert before["embedding"] != after["embedding"]
    assert after["batch_id"] == client.nrt.live.batch_id


def test_rows_that_do_not_fit_are_named_and_kept_and_the_others_taken(client):
    good, bad = dict(played("u3", 0).row), {"user_id": "u3", "item_kind": "book"}
    del good["ingested_at"]
    answer = client.post("/v1/events", {"listens": [bad, good, good | {"item_id": "gone"}]})
    assert answer.status_code == 422
    said = answer.json()
    assert said["accepted"] == 1
    assert [one["index"] for one in said["refused"]] == [0, 2]
    assert "event_id is missing" in said["refused"][0]["reasons"]
    assert said["refused"][1]["reasons"] == ["item_id is not in items (gone)"]
    assert sorted(len(event.reasons) > 0 for event in client.logged()) == [False, True, True]


def test_an_item_that_is_new_in_the_catalogue_is_known_soon(client, monkeypatch):
    monkeypatch.setattr("ray_apps.nrt_items.LOOK_EVERY", 0.0)
    import pyarrow as pa

    from schemas.contract import contract

    row = [{"item_id": "brand new", "kind": "track"}]
    schema = contract("items").arrow_schema
    client.nrt.lake.append("items", pa.Table.from_pylist(row, schema=schema))
    assert client.send(played("u3", 0, item_id="brand new")).status_code == 202


def test_vectors_of_many_are_of_one_space_and_say_who_is_missing(client):
    body = {"user_ids": ["u3", "nobody", "u4"], "batch": client.nrt.live.batch_id}
    found = client.post("/v1/embeddings:batchGet", body).json()["embeddings"]
    assert [one["status"] for one in found] == ["stale", "missing", "stale"]
    assert {one["batch_id"] for one in found} == {client.nrt.live.batch_id}
    stored = client.nrt.store.vectors(client.space.name, ["u4"])[0]
    assert np.allclose(found[2]["embedding"], unpack_vector(stored).values, atol=1e-7)


def test_a_batch_that_is_not_served_is_404_and_says_what_is(client):
    answer = client.ask("GET", "/v1/users/u3/embedding?batch=legacy")
    assert answer.status_code == 404
    assert client.nrt.live.batch_id in answer.json()["detail"]


def test_three_picks_make_a_vector_of_somebody_without_an_account(client):
    picks = [
        {"picked_id": f"t{n}", "picked_kind": "item", "picked_at": "2026-03-01T00:00:00Z"}
        for n in (0, 5, 10)
    ]
    found = client.post("/v1/embed", {"onboarding": picks}).json()
    assert (found["status"], found["source"]) == ("fresh", "cold_start")
    assert np.linalg.norm(found["embedding"]) == pytest.approx(1, abs=1e-5)
    nobody = client.post("/v1/embed", {}).json()
    assert nobody["embedding"] != found["embedding"]
    assert client.logged() == []


def test_the_nearest_items_can_be_of_one_kind(client):
    found = client.ask("GET", "/v1/users/u3/items?count=5&kind=track").json()
    assert len(found["nearest"]) == 5
    cosines = [one["cosine"] for one in found["nearest"]]
    assert cosines == sorted(cosines, reverse=True)
    assert client.ask("GET", "/v1/users/u3/items?kind=episode").json()["nearest"] == []


def test_the_nearest_users_are_others(client):
    found = client.ask("GET", "/v1/users/u3/neighbours?count=4").json()["nearest"]
    assert len(found) == 4
    assert "u3" not in {one["id"] for one in found}


def test_who_is_erased_has_no_vector_and_may_send_nothing(client):
    assert client.ask("DELETE", "/v1/users/u3").json() == {"removed": 2}
    assert client.ask("GET", "/v1/users/u3/embedding").json()["status"] == "missing"
    assert client.send(played("u3", 0)).status_code == 410
    assert client.send(played("u4", 0)).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/events", "events:write"),
        ("GET", "/v1/users/u3/embedding", "vectors:read"),
        ("POST", "/v1/embeddings:batchGet", "vectors:read"),
        ("POST", "/v1/embed", "vectors:read"),
        ("GET", "/v1/users/u3/neighbours", "vectors:read"),
        ("GET", "/v1/users/u3/items", "vectors:read"),
        ("DELETE", "/v1/users/u3", "users:erase"),
        ("GET", "/metrics", "admin"),
        ("GET", "/openapi.json", "vectors:read"),
    ],
)
def test_nothing_is_answered_without_a_token_of_that_scope(client, method, path, scope):
    assert client.ask(method, path, None).status_code == 401
    assert client.ask(method, path, None, headers={"Authorization": "Bearer x"}).status_code == 401
    if path != "/openapi.json":
        other = "users:erase" if scope != "users:erase" else "events:write"
        assert client.ask(method, path, other).status_code == 403
    assert client.ask(method, path, scope, json={}).status_code not in {401, 403}


def test_health_needs_no_token(client):
    assert client.ask("GET", "/healthz", None).status_code == 200
    assert client.ask("GET", "/readyz", None).status_code == 200
    client.why = "the model is being loaded"
    answer = client.ask("GET", "/readyz", None)
    assert (answer.status_code, answer.json()["detail"]) == (503, client.why)


DEEP = b'{"listens":[' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b'{"plays": []}', 400),
        (b'{"listens": 3}', 400),
        (b'{"listens": [3]}', 400),
        (DEEP[:MOST_BYTES], 400),
        (b'{"listens": ["\xff"]}', 400),
        ('{"listens": []}'.encode("utf-16"), 400),
        (b'{"listens": [{"event_id": "\\ud800"}]}', 400),
        (json.dumps({"listens": [{}] * 1_001}).encode(), 400),
        (b" " * (MOST_BYTES + 1), 413),
    ],
)
def test_bodies_that_cannot_be_used_are_refused_without_a_trace(client, body, status):
    answer = client.ask("POST", "/v1/events", content=body)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert set(answer.json()) == {"detail"}
    assert client.logged() == []


def test_a_body_of_another_kind_is_415(client):
    answer = client.ask(
        "POST", "/v1/events", content=b"a=1", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415


def test_events_are_refused_while_too_many_wait(client):
    client.service.backlog = lambda: 1_001
    answer = client.send(played("u3", 0))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert client.logged() == []


def test_a_full_log_refuses_events_and_reads_go_on(client, monkeypatch, caplog):
    async def full(_payloads):
        raise LogFullError("the disk of /our/folder is full")

    monkeypatch.setattr(client.writer, "append", full)
    answers = [client.send(played("u3", 0)) for _ in range(2)]
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (507, "1")
        assert answer.json()["detail"].startswith("the event log takes nothing now")
    assert [line.getMessage() for line in caplog.records] == ["the disk of /our/folder is full"]
    assert client.ask("GET", "/v1/users/u3/embedding").status_code == 200


def test_a_store_that_does_not_answer_is_503(client, monkeypatch):
    def gone(*_args, **_options):
        raise StoreError("the store does not answer: start it")

    monkeypatch.setattr(client.nrt.store, "vectors", gone)
    assert client.ask("GET", "/v1/users/u3/embedding").status_code == 503


def test_an_answer_that_takes_too_long_is_504(client, monkeypatch):
    async def slow(_payloads):
        await asyncio.sleep(10)

    monkeypatch.setattr("ray_apps.nrt_api.SECONDS", 0.05)
    monkeypatch.setattr(client.writer, "append", slow)
    assert client.send(played("u3", 0)).status_code == 504


def test_counters_tell_of_paths_and_never_of_ids(client):
    client.send(played("u3", 0))
    client.ask("GET", "/v1/users/u3/embedding")
    text = client.ask("GET", "/metrics").text
    assert 'path="/v1/users/{user_id}/embedding"' in text
    assert 'tasteprint_events_total{verdict="accepted"}' in text
    assert "u3" not in text


def test_the_openapi_document_describes_every_path_and_the_contracts(client):
    said = client.ask("GET", "/openapi.json").json()
    assert {"/v1/events", "/v1/users/{user_id}/embedding", "/readyz"} <= set(said["paths"])
    body = said["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    listen = body["schema"]["properties"]["listens"]["items"]
    assert "ingested_at" not in listen["properties"]
    assert {"event_id", "user_id", "item_id", "played_at"} <= set(listen["required"])


def test_who_goes_away_while_sending_is_counted_and_is_no_fault_of_ours(client):
    async def left():
        return {"type": "http.disconnect"}

    async def send(message):
        assert message.get("status") in {499, None}

    token = f"Bearer {WORDS['admin']}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "headers": [(b"authorization", token), (b"content-type", b"application/json")],
    }
    asyncio.run(client._http.app(scope, left, send))
    assert 'path="/v1/events",status="499"' in client.ask("GET", "/metrics").text
