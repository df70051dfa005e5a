import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasteprint.cli import main

BEARER = "known-to-the-stand-in"
PATIENCE = 60  # seconds
COMMAND = str(Path(sys.executable).with_name("tasteprint"))


@pytest.fixture
def flags(lake, plays, named_items, stand_in, monkeypatch, tmp_path):
    """What a replay is told: of a lakehouse with 30 plays, into the stand-in."""
    monkeypatch.setenv("TASTEPRINT_TOKEN", BEARER)
    monkeypatch.setenv("COLUMNS", "200")
    as_of = named_items(lake).as_of
    minutes = [(("ann", "bob", "ann")[minute % 3], minute) for minute in range(30)]
    lake.append("listens", plays(*minutes, begin=as_of))
    figures = ["--json", str(tmp_path / "figures.json")]
    return ["replay", "--lakehouse", lake.uri, "--url", stand_in.url, *figures]


def failed(capsys, *argv: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    return ended.value.code, capsys.readouterr().err


def test_everything_is_played_and_summed_up(flags, stand_in, capsys, tmp_path):
    main([*flags, "--speed", "0", "--batch-events", "7", "--watch", "1"])
    assert "30 of 30 events, 30 accepted, 0 refused" in capsys.readouterr().out
    assert {asked[2] for asked in stand_in.asked} == {f"Bearer {BEARER}"}
    found = json.loads((tmp_path / "figures.json").read_text())
    assert (found["accepted"], found["requests"], found["stopped"]) == (30, 5, False)
    assert found["users"] == [{"user": "ann", "plays": 20, "turned_degrees": 72.0}]
    assert found["visible"] > 0


def test_from_a_moment_on_and_only_so_many(flags, stand_in):
    main([*flags, "--speed", "0", "--from", "2026-03-01T00:10:00", "--limit", "3"])
    sent = [row for body in stand_in.bodies("/v1/events") for row in body.get("listens", [])]
    assert [row["event_id"] for row in sent] == ["e10", "e11", "e12"]


def test_the_token_may_stand_in_a_file(flags, stand_in, monkeypatch, tmp_path):
    monkeypatch.delenv("TASTEPRINT_TOKEN")
    (tmp_path / "token").write_text("of-a-file\n")
    main([*flags, "--speed", "0", "--bearer-file", str(tmp_path / "token")])
    assert {asked[2] for asked in stand_in.asked} == {"Bearer of-a-file"}


def test_what_is_wrong_is_said_before_anything_is_sent(flags, stand_in, capsys, monkeypatch):
    for wrong, said in [
        (["--source", "x.yaml"], "--source and --data go together"),
        (["--bearer-file", "/no/such/file"], "/no/such/file cannot be read"),
        (["--from", "2100-01-01"], "no listens to replay"),
        (["--url", "127.0.0.1:8000"], "url"),
        (["--batch-events", "1001"], "batch_events"),
    ]:
        status, told = failed(capsys, *flags, *wrong)
        assert status == 2
        assert said in told
    monkeypatch.delenv("TASTEPRINT_TOKEN")
    assert "TASTEPRINT_TOKEN hold one" in failed(capsys, *flags)[1]
    assert not any(body.get("listens") for body in stand_in.bodies("/v1/events"))


def test_an_error_of_the_service_ends_it_with_what_was_played(flags, stand_in, capsys):
    well = (202, {}, {"accepted": 0})
    stand_in.ready["/v1/events"] = [well, (507, {}, {"detail": "the log is full"})]
    with pytest.raises(SystemExit) as ended:
        main([*flags, "--speed", "0"])
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert "says 507: the log is full" in told.err
    assert "stopped after" in told.out


def test_ctrl_c_ends_with_the_summary(flags, stand_in, tmp_path):
    environment = os.environ | {"TASTEPRINT_TOKEN": BEARER}
    replay = subprocess.Popen(
        [COMMAND, *flags, "--speed", "1"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        give_up = time.monotonic() + PATIENCE
        while not any(body.get("listens") for body in stand_in.bodies("/v1/events")):
            assert replay.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        replay.send_signal(signal.SIGINT)
        said, _ = replay.communicate(timeout=PATIENCE)
    finally:
        replay.kill()
        replay.wait()
    assert replay.returncode == 0
    assert "stopped after" in said
    assert "1 of 30 events" in said
    assert json.loads((tmp_path / "figures.json").read_text())["stopped"] is True
