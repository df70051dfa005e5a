import numpy as np
import pytest
from numpy.testing import assert_allclose

from jobs.content import content_vectors, text_vectors, with_creators, words_of
from models.content_features import ContentConfig
from models.features import unit
from models.layout import VECTOR_SIZE
from models.text import installed
from schemas.arrow import matrix

pytestmark = pytest.mark.spark

CONFIG = ContentConfig(
    waves=8, fewest_items=2, support_prior=2.0, others_prior=1.0, creator_prior=0.5
)
PLAYED, NEW = 60, 6
MET = "item_id string, vectors array<float>, supports array<float>"
ITEMS = (
    "item_id string, kind string, creator_id string, creator_name string, title string, "
    "description string, genres array<string>, language string, audio_features array<float>"
)


def item(item_id: str, **told: object) -> tuple:
    names = [column.split()[0] for column in ITEMS.split(", ")]
    return tuple({"item_id": item_id, "kind": "track", **told}.get(name) for name in names)


@pytest.fixture(scope="module")
def met_of(spark):
    """A function from ids to what co-occurrence knows of them, in two variants.

    In the first, rock lies on the first axis and jazz on the second; in the other they change
    places. Items beyond PLAYED were met by nobody.
    """
    rng = np.random.default_rng(0)
    place = np.zeros((PLAYED, 2, VECTOR_SIZE))
    genre = np.arange(PLAYED) % 2
    place[np.arange(PLAYED), 0, genre] = 1
    place[np.arange(PLAYED), 1, 1 - genre] = 1
    noisy = place + 0.02 * rng.standard_normal(place.shape)
    vectors = unit(noisy.reshape(-1, VECTOR_SIZE)).reshape(PLAYED, -1)
    played = {f"t{number:02d}": vectors[number].tolist() for number in range(PLAYED)}

    def met(ids: list[str]):
        zeros = [0.0] * 2 * VECTOR_SIZE
        rows = [(name, played.get(name, zeros), [9.0 * (name in played)] * 2) for name in ids]
        return spark.createDataFrame(rows, MET)

    return met


@pytest.fixture(scope="module")
def items(spark):
    genres = ("rock", "jazz")
    played = [item(f"t{n:02d}", genres=[genres[n % 2]]) for n in range(PLAYED)]
    new = [item(f"t{n:02d}", genres=[genres[n % 2]]) for n in range(PLAYED, PLAYED + NEW)]
    return spark.createDataFrame([*played, *new, item("silent")], ITEMS)


@pytest.fixture(scope="module")
def met(met_of):
    return met_of([*(f"t{number:02d}" for number in range(PLAYED + NEW)), "silent"])


def collected(frame) -> dict[str, np.ndarray]:
    """Of each item its vectors, (variants, d)."""
    table = frame.orderBy("item_id").toArrow()
    vectors = matrix(table["contents"]).reshape(len(table), -1, VECTOR_SIZE)
    return dict(zip(table["item_id"].to_pylist(), vectors, strict=True))


def test_new_items_lie_with_those_of_their_genre_in_every_variant(items, met):
    found = collected(content_vectors(items, met, CONFIG))
    for number in range(PLAYED, PLAYED + NEW):
        first, second = found[f"t{number:02d}"]
        assert first[number % 2] > 0.95
        assert second[1 - number % 2] > 0.95


def test_of_an_item_of_which_nothing_is_known_content_says_nothing(items, met):
    assert not collected(content_vectors(items, met, CONFIG))["silent"].any()


def test_the_same_is_found_however_the_rows_are_cut(items, met):
    once = collected(content_vectors(items, met, CONFIG))
    again = collected(content_vectors(items.repartition(5), met.repartition(3), CONFIG))
    assert once.keys() == again.keys()
    for item_id, vector in once.items():
        assert_allclose(vector, again[item_id], atol=1e-5)


def test_an_item_hears_of_its_creators_others_and_items_without_one_of_nobody(spark, met_of):
    told = [item("t00", creator_id="A"), item("t01", creator_id="A"), item("t02"), item("t03")]
    frame = spark.createDataFrame(told, ITEMS)
    met = met_of([row[0] for row in told])
    rows = with_creators(frame, met, CONFIG).orderBy("item_id").toArrow()
    weights = matrix(rows["others_weights"])
    assert_allclose(weights, np.outer([0.9, 0.9, 0, 0], [1, 1]), atol=1e-6)
    own, others = matrix(rows["vectors"]), matrix(rows["others"])
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
def test_what_items_say_in_words_places_them_too(spark, met_of):
    genres = ("a loud rock song with guitars", "a jazz tune with a saxophone")
    told = [item(f"t{n:02d}", title=genres[n % 2]) for n in range(PLAYED)]
    new = [item("r", title="rock guitars, loud"), item("j", title="saxophone jazz"), item("silent")]
    items = spark.createDataFrame([*told, *new], ITEMS)
    texts = text_vectors(items)
    assert texts.count() == PLAYED + 2
    met = met_of([row["item_id"] for row in items.select("item_id").collect()])
    found = collected(content_vectors(items, met, CONFIG, texts))
    assert found["r"][0, 0] > found["r"][0, 1]
    assert found["j"][0, 1] > found["j"][0, 0]
