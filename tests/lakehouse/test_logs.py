import asyncio
import json
from pathlib import Path

import pytest

from lakehouse.kafka_log import KafkaLog
from lakehouse.logs import InFolder, InKafka, open_log
from schemas.errors import InputError


def test_a_folder_is_a_log_of_this_machine(tmp_path):
    log = open_log(str(tmp_path / "events"))
    assert log == InFolder(Path(tmp_path / "events"))

    async def append():
        writer = log.writer()
        await writer.append([b"one", b"two"])
        writer.close()

    asyncio.run(append())
    reader = log.reader("space@1", lambda _: None, 0)
    assert [record.payload for record in reader.poll(10, 1.0)] == [b"one", b"two"]
    assert reader.position() == log.ends()
    reader.close()


def test_a_file_of_settings_is_a_log_in_kafka(tmp_path):
    place = tmp_path / "kafka.json"
    place.write_text(json.dumps({"servers": "a:9092", "topic": "events"}))
    assert open_log(str(place)) == InKafka(KafkaLog(servers="a:9092", topic="events"))


@pytest.mark.parametrize(
    "said", ['{"servers": "a:1"}', '{"servers": "a:1", "topic": "t", "password": "secret-word"}']
)
def test_settings_that_cannot_be_used_are_told_without_what_is_secret(tmp_path, said):
    place = tmp_path / "kafka.json"
    place.write_text(said)
    with pytest.raises(InputError, match=r"kafka\.json") as error:
        open_log(str(place))
    assert "secret-word" not in str(error.value)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json"):
        open_log(str(tmp_path / "gone.json"))
