import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from models.context_training import (
    Contexts,
    ContextTrainingConfig,
    ItemModel,
    Sampler,
    average,
    train,
)
from models.features import unit

ITEMS, CAMPS, WIDTH = 40, 4, 8
CONFIG = ContextTrainingConfig(negatives=64, queries=32, rounds=1)
UNKNOWN = np.full(ITEMS, -1)


def camps(users: int = 200, plays: int = 12) -> Contexts:
    """Users who each play the ten items of one camp."""
    rng = np.random.default_rng(0)
    camp = rng.integers(0, CAMPS, users)
    items = rng.integers(0, ITEMS // CAMPS, (users, plays)) + 10 * camp[:, None]
    return Contexts(items.ravel(), np.full(users, plays))


def at_random(creator: np.ndarray = UNKNOWN) -> ItemModel:
    start = np.random.default_rng(1).standard_normal((ITEMS, WIDTH)).astype(np.float32)
    return ItemModel.at(unit(start), creator)


def trained(model: ItemModel, contexts: Contexts, steps: int = 200, seed: int = 0) -> ItemModel:
    rates = np.linspace(0.1, 0.0, steps, endpoint=False)
    learned, _ = train(model, contexts, rates, CONFIG, np.random.default_rng(seed))
    return ItemModel(model.start, model.creator, learned)


def within(vectors: np.ndarray) -> float:
    """How much more alike items of one camp are than items of two, by cosine."""
    alike = vectors @ vectors.T
    same = np.equal.outer(np.arange(ITEMS) // 10, np.arange(ITEMS) // 10)
    return float(alike[same].mean() - alike[~same].mean())


def test_a_model_that_has_learned_nothing_is_where_it_began():
    model = at_random()
    assert_allclose(model.vectors(), model.start, atol=1e-6)


def test_items_that_are_played_together_end_up_together():
    model = at_random()
    assert within(model.vectors()) < 0.2
    assert within(trained(model, camps()).vectors()) > 0.8


def test_vectors_stay_on_the_sphere_and_part_of_the_way_is_between():
    model = trained(at_random(), camps())
    for kept in (0.0, 0.5, 1.0):
        assert_allclose(np.linalg.norm(model.vectors(kept), axis=1), 1, atol=1e-5)
    assert_allclose(model.vectors(0.0), model.start, atol=1e-6)
    way = [within(model.vectors(kept)) for kept in (0.0, 0.5, 1.0)]
    assert way == sorted(way)


def test_an_item_that_nobody_played_follows_its_creator():
    creator = np.arange(ITEMS) // 10  # a creator for each camp
    contexts = camps()
    contexts = Contexts(np.where(contexts.items == 9, 8, contexts.items), contexts.lengths)
    vectors = trained(at_random(creator), contexts).vectors()
    assert vectors[9] @ vectors[:9].mean(axis=0) > vectors[9] @ vectors[10:].mean(axis=0)


def test_without_a_creator_an_item_that_nobody_met_stays():
    contexts = Contexts(camps().items % 30, camps().lengths)  # nothing of the last camp
    config = CONFIG.model_copy(update={"negative_power": 1.0})
    learned, met = train(at_random(), contexts, np.full(20, 0.1), config, np.random.default_rng(0))
    assert not learned[30:ITEMS].any()
    assert (met[30:ITEMS] < 1).all()
    assert (met[:30] > 1).all()


def test_unknown_creators_share_nothing():
    model = trained(at_random(), camps())
    assert not model.learned[-1].any()


def test_one_seed_gives_one_result_and_another_another():
    first, again, other = (trained(at_random(), camps(), 20, seed).learned for seed in (3, 3, 4))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_contexts_of_one_play_are_left_out_and_nothing_else_is():
    contexts = Contexts(np.array([1, 2, 3, 4, 5]), np.array([2, 1, 2])).longer_than_one()
    assert_array_equal(contexts.items, [1, 2, 4, 5])
    assert_array_equal(contexts.lengths, [2, 2])


def test_a_shard_without_contexts_learns_nothing():
    model, nobody = at_random(), Contexts(np.array([7]), np.array([1]))
    learned, met = train(model, nobody, np.ones(3), CONFIG, np.random.default_rng(0))
    assert_array_equal(learned, model.learned)
    assert met.max() < 1


def test_a_bot_is_drawn_no_more_often_than_the_cap_allows():
    plays = np.r_[np.zeros(100_000, np.int64), np.repeat(np.arange(1, 11), 10)]
    contexts = Contexts(plays, np.r_[100_000, np.full(10, 10)])
    shares = []
    for most in (10, 1_000_000):
        config = CONFIG.model_copy(update={"most_plays": most, "queries": 5_000, "evenness": 1.0})
        draw = Sampler(contexts, ITEMS, config, np.random.default_rng(0)).draw()
        shares.append(float((draw.positives == 0).mean()))
    assert shares[0] == pytest.approx(1 / 11, abs=0.02)
    assert shares[1] > 0.99


def test_negatives_are_drawn_by_a_power_of_their_plays():
    contexts = Contexts(np.r_[np.zeros(16, np.int64), 1], np.array([17]))
    config = CONFIG.model_copy(update={"negatives": 50_000, "negative_power": 0.5})
    sampler = Sampler(contexts, 2, config, np.random.default_rng(0))
    _, _, negatives = sampler.draw().split(sampler.draw().items)
    assert (negatives == 0).mean() == pytest.approx(4 / 5, abs=0.01)
    assert_allclose(np.exp(sampler.log_expected), [40_000, 10_000], rtol=1e-4)


def test_rows_are_averaged_by_how_often_they_were_met():
    first, second = np.array([[1.0], [1.0]], np.float32), np.array([[4.0], [3.0]], np.float32)
    met = np.array([3.0, 1.0], np.float32), np.array([1.0, 1.0], np.float32)
    assert_allclose(average([(first, met[0]), (second, met[1])]), [[1.75], [2.0]])


def test_an_average_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to average"):
        average([])


@pytest.mark.parametrize(
    ("items", "plays", "steps", "shards"),
    [
        (10, 1_000, 1, 1),
        (20_480, 10**9, 2_000, 1),
        (20_480, 102_400, 1_000, 1),
        (204_800, 10**9, 20_000, 13),
    ],
)
def test_work_grows_with_the_items_and_is_shared_by_more_shards(items, plays, steps, shards):
    config = ContextTrainingConfig()
    assert config.steps(items, plays) == steps
    assert config.shards(steps) == shards
