import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from jobs.content import content_vectors, text_vectors, with_creators, words_of
from models.content_features import ContentConfig
from models.features import unit
from models.layout import VECTOR_SIZE
from models.text import installed
from schemas.arrow import list_column, matrix

pytestmark = pytest.mark.spark

CONFIG = ContentConfig(waves=8, fewest_items=2, support_prior=1.0)
PLAYED, NEW = 60, 6
ITEMS = (
    "item_id string, kind string, creator_id string, creator_name string, title string, "
    "description string, genres array<string>, language string, audio_features array<float>"
)


def item(item_id: str, **told: object) -> tuple:
    names = [column.split()[0] for column in ITEMS.split(", ")]
    return tuple({"item_id": item_id, "kind": "track", **told}.get(name) for name in names)


@pytest.fixture(scope="module")
def met(spark):
    """Rock lies on the first axis and jazz on the second."""
    rng = np.random.default_rng(0)
    place = np.zeros((PLAYED, VECTOR_SIZE))
    place[np.arange(PLAYED), np.arange(PLAYED) % 2] = 1
    vectors = unit(place + 0.02 * rng.standard_normal(place.shape))
    table = {
        "item_id": [f"t{number:02d}" for number in range(PLAYED)],
        "vector": list_column(vectors),
        "support": pa.array(np.full(PLAYED, 9), pa.int64()),
    }
    return spark.createDataFrame(
        pa.table(table).to_pandas(), "item_id string, vector array<float>, support long"
    )


@pytest.fixture(scope="module")
def items(spark):
    genres = ("rock", "jazz")
    played = [item(f"t{n:02d}", genres=[genres[n % 2]]) for n in range(PLAYED)]
    new = [item(f"t{n:02d}", genres=[genres[n % 2]]) for n in range(PLAYED, PLAYED + NEW)]
    return spark.createDataFrame([*played, *new, item("silent")], ITEMS)


def collected(frame) -> dict[str, np.ndarray]:
    table = frame.orderBy("item_id").toArrow()
    return dict(zip(table["item_id"].to_pylist(), matrix(table["content"]), strict=True))


def test_new_items_lie_with_those_of_their_genre(items, met):
    found = collected(content_vectors(items, met, CONFIG))
    for number in range(PLAYED, PLAYED + NEW):
        assert found[f"t{number:02d}"][number % 2] > 0.95


def test_an_item_of_which_nothing_is_known_is_absent(items, met):
    assert "silent" not in collected(content_vectors(items, met, CONFIG))


def test_the_same_is_found_however_the_rows_are_cut(items, met):
    once = collected(content_vectors(items, met, CONFIG))
    again = collected(content_vectors(items.repartition(5), met.repartition(3), CONFIG))
    assert once.keys() == again.keys()
    for item_id, vector in once.items():
        assert_allclose(vector, again[item_id], atol=1e-5)


def test_an_item_hears_of_its_creators_others_and_items_without_one_of_nobody(spark, met):
    told = [item("t00", creator_id="A"), item("t01", creator_id="A"), item("t02"), item("t03")]
    rows = (
        with_creators(spark.createDataFrame(told, ITEMS), met, CONFIG).orderBy("item_id").toArrow()
    )
    assert_allclose(rows["others_weight"].to_pylist(), [0.9, 0.9, 0, 0])
    own, others = matrix(rows["vector"]), matrix(rows["others"])
    assert_allclose(others[0], 0.9 * own[1], atol=1e-6)
    assert_allclose(others[1], 0.9 * own[0], atol=1e-6)
    assert not others[2:].any()


def test_words_are_title_creator_and_description(spark):
    told = [
        item("a", title="Blue", creator_name="Mira", description="Slow."),
        item("b", title=" ", creator_name=None, description="Slow."),
        item("c"),
    ]
    frame = spark.createDataFrame(told, ITEMS).orderBy("item_id").select(words_of().alias("words"))
    assert [row["words"] for row in frame.collect()] == ["Blue. Mira. Slow.", "Slow.", ""]


@pytest.mark.skipif(not installed(), reason="the extra `text` is not installed")
def test_what_items_say_in_words_places_them_too(spark, met):
    genres = ("a loud rock song with guitars", "a jazz tune with a saxophone")
    told = [item(f"t{n:02d}", title=genres[n % 2]) for n in range(PLAYED)]
    new = [item("r", title="rock guitars, loud"), item("j", title="saxophone jazz"), item("silent")]
    items = spark.createDataFrame([*told, *new], ITEMS)
    texts = text_vectors(items)
    assert texts.count() == PLAYED + 2
    found = collected(content_vectors(items, met, CONFIG, texts))
    assert found["r"][0] > found["r"][1]
    assert found["j"][1] > found["j"][0]
