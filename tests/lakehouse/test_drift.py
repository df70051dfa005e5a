import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from lakehouse.drift import (
    alikeness_kept,
    crowd,
    drift,
    effective_dimension,
    mix_drift,
    nearest,
    neighbours_changed,
    pair_cosines,
    share_change,
    uniformity,
)
from schemas.contract import contract

WARN = {item.check: item.warn for item in contract("user_features").live_checks}
FAIL = {item.check: item.fail for item in contract("user_features").live_checks}
DRAWS = 200
numbers = st.floats(-1e3, 1e3, width=32)
samples = arrays(np.float32, st.integers(2, 60), elements=numbers)


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def gaussian(rows: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)


@given(samples)
def test_a_sample_does_not_drift_from_itself(sample):
    found = drift(sample, sample)
    assert (found.psi, found.ks) == (0, 0)
    assert_allclose(found.now, found.live)


@given(samples, samples)
def test_drift_is_the_same_seen_from_either_side(one, other):
    here, there = drift(one, other), drift(other, one)
    assert_allclose([here.psi, here.ks], [there.psi, there.ks], atol=1e-9)


@given(samples, samples)
def test_every_value_falls_into_the_histogram(now, live):
    found = drift(now, live)
    assert_allclose([found.now.sum(), found.live.sum()], 1)
    assert (np.diff(found.edges) > 0).all()


def test_drift_grows_with_the_shift():
    live, now = gaussian(2_000, 2).T
    found = [drift(now + shift, live) for shift in (0, 0.2, 0.5, 1, 2)]
    assert (np.diff([one.psi for one in found]) > 0).all()
    assert (np.diff([one.ks for one in found]) > 0).all()


def test_the_distance_is_the_widest_gap_less_what_chance_gives():
    found = drift(np.zeros(100_000), np.ones(100_000))
    assert found.ks == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rows", [100, 1_000, 20_000])
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, rows: rng.standard_normal(rows), id="continuous"),
        pytest.param(lambda rng, rows: rng.exponential(size=rows) ** 2, id="heavy-tailed"),
        pytest.param(lambda rng, rows: rng.binomial(4, 0.3, rows), id="few-valued"),
        pytest.param(lambda rng, rows: rng.random(rows) < 0.02, id="one-hot and rare"),
        pytest.param(lambda rng, rows: rng.random(rows) < 0.5, id="one-hot"),
        pytest.param(lambda rng, rows: rng.poisson(0.2, rows) / 7, id="mostly zero"),
    ],
)
def test_two_samples_of_one_distribution_do_not_warn(draw, rows):
    rng = np.random.default_rng(rows)
    found = [drift(draw(rng, rows), draw(rng, rows)) for _ in range(DRAWS)]
    assert max(one.psi for one in found) < WARN["psi"]
    assert max(one.ks for one in found) < WARN["ks"]


def test_what_has_moved_by_a_hair_has_not_drifted_however_many_moved():
    live = np.full(1_000, 0.25)
    assert drift(live + 0.01, live).ks > 0.9
    found = drift(live + 0.01, live, within=0.02)
    assert (found.psi, found.ks) == (0, 0)


def test_what_has_moved_further_than_a_hair_is_counted_whole():
    live = gaussian(2_000, 1)[:, 0]
    now = np.where(np.arange(2_000) % 2, live + 3, live)
    tolerant, strict = drift(now, live, within=0.1), drift(now, live)
    assert tolerant.ks == pytest.approx(strict.ks, abs=0.03)
    assert tolerant.psi == pytest.approx(strict.psi, rel=0.1)


@given(samples, samples, st.floats(0, 100))
def test_who_tolerates_more_sees_no_more(now, live, within):
    assert drift(now, live, within).ks <= drift(now, live).ks + 1e-9


def test_a_jump_from_no_to_yes_is_no_hair():
    live, now = np.repeat([0.0, 1.0], [900, 100]), np.repeat([0.0, 1.0], [500, 500])
    assert drift(now, live, within=0.1).ks == drift(now, live).ks > 0.2


def test_a_column_that_was_one_value_and_is_another_has_drifted():
    found = drift(np.full(1_000, 0.5), np.full(1_000, 0.25))
    assert found.psi > 1
    assert found.ks > 0.9


def test_a_column_that_was_one_value_and_spreads_has_drifted():
    found = drift(np.linspace(0, 1, 1_000), np.full(1_000, 0.5))
    assert found.psi > 0.25
    assert found.ks > 0.2


@pytest.mark.parametrize("rows", [50, 1_000, 20_000])
def test_shares_of_one_distribution_do_not_warn(rows):
    rng = np.random.default_rng(rows)
    drawn = rng.binomial(rows, 0.5, (DRAWS, 2)) / rows
    assert max(share_change(*pair, 2 / rows) for pair in drawn) < WARN["presence"]


def test_a_share_that_falls_by_half_is_seen_at_any_size():
    assert share_change(0.5, 1.0, 2 / 50) > 0.2
    assert share_change(0.5, 1.0, 2 / 20_000) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_effective_dimension_of_a_flat_spectrum_is_its_rank(rank):
    corners = np.vstack([np.eye(rank), -np.eye(rank)])
    assert effective_dimension(corners @ np.eye(rank, 8)) == pytest.approx(rank)


def test_the_effective_dimension_is_e_to_the_entropy_of_the_spectrum():
    axes = np.diag(np.sqrt([0.5, 0.25, 0.25]))
    vectors = np.vstack([axes, -axes])
    assert effective_dimension(vectors) == pytest.approx(np.exp(1.5 * np.log(2)))


def test_one_point_has_one_dimension():
    assert effective_dimension(np.ones((9, 4))) == 1


def test_the_effective_dimension_does_not_change_with_rotation_and_scale():
    vectors = gaussian(300, 6) * np.arange(1, 7)
    turned = 3 * vectors @ rotation(6)
    assert effective_dimension(turned) == pytest.approx(effective_dimension(vectors))


def test_pairs_are_neighbouring_rows():
    assert_allclose(pair_cosines(np.array([[1.0, 0], [2, 0], [0, 3], [0, 0]])), [1, 0, 0])


def test_vectors_in_one_place_are_not_uniform_and_opposite_ones_are():
    assert uniformity(np.ones((9, 4))) == pytest.approx(0)
    assert uniformity(np.ones((1, 4))) == 0
    opposite = np.tile(np.eye(1, 4), (10, 1)) * (-1.0) ** np.arange(10)[:, None]
    assert uniformity(opposite) == pytest.approx(-8)


def test_uniformity_of_a_whole_sphere_is_that_of_its_mean_potential():
    assert uniformity(gaussian(50_000, 128)) == pytest.approx(-3.94, abs=0.01)


def test_the_fullest_place_is_found_however_the_others_are_spread():
    vectors = gaussian(1_000, 16)
    assert crowd(vectors, 100) == 0.001
    vectors[::5] = vectors[0] + 1e-3 * vectors[::5]
    assert crowd(vectors, 100) == pytest.approx(0.2, abs=0.002)


def test_length_does_not_make_a_place():
    vectors = np.array([[1.0, 0], [5, 0], [0, 1], [0, 2]])
    assert crowd(vectors, 4) == 0.5


@given(st.integers(0, 1_000), st.floats(0.1, 10))
def test_no_rotation_changes_neighbours(seed, scale):
    vectors = gaussian(80, 5, seed)
    assert neighbours_changed(scale * vectors @ rotation(5, seed), vectors, 5) == 0


@pytest.mark.parametrize("rows", [50, 500])
def test_unrelated_neighbours_have_all_changed_also_among_few(rows):
    found = [
        neighbours_changed(gaussian(rows, 8, 2 * seed), gaussian(rows, 8, 2 * seed + 1), 10)
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(1, abs=0.02)


def test_nobody_is_a_neighbour_of_their_own():
    found = nearest(np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), 1)
    assert found.ravel().tolist() == [1, 0, 3, 2]


@given(st.integers(0, 1_000), st.floats(0.1, 10))
def test_likeness_is_kept_under_rotation_and_scale(seed, scale):
    vectors = gaussian(60, 5, seed)
    assert alikeness_kept(scale * vectors @ rotation(5, seed), vectors) == pytest.approx(1)


def test_likeness_is_lost_where_values_belong_to_other_users():
    rng = np.random.default_rng(0)
    vectors = gaussian(400, 8)
    found = [alikeness_kept(rng.permutation(vectors), vectors) for _ in range(20)]
    assert np.abs(found).max() < 0.05


def test_where_everybody_is_alike_nothing_is_said_of_likeness():
    assert alikeness_kept(np.ones((60, 3)), gaussian(60, 3)) is None


def rhythms(users: int, seed: int, hours: int = 0) -> np.ndarray:
    """Shares of plays over the hours of the day, as users who play at evenings have them."""
    rng = np.random.default_rng(seed)
    day = np.exp(np.cos((np.arange(24) - 20) * np.pi / 12))
    plays = rng.multinomial(rng.integers(1, 60), np.roll(day / day.sum(), hours), users)
    return plays / plays.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("users", [100, 1_000])
def test_a_lost_time_zone_turns_the_mix_of_all_users(users):
    found = mix_drift(rhythms(users, 1, hours=5), rhythms(users, 0))
    assert found.psi > FAIL["psi"] or found.ks > FAIL["ks"]


@pytest.mark.parametrize("users", [50, 1_000])
def test_the_mix_of_other_users_of_the_same_kind_does_not_warn(users):
    pairs = [mix_drift(rhythms(users, seed), rhythms(users, seed + DRAWS)) for seed in range(DRAWS)]
    assert max(one.psi for one in pairs) < WARN["psi"]
    assert max(one.ks for one in pairs) < WARN["ks"]
