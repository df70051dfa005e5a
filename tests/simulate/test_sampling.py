import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from simulate.sampling import Stream, choose, cumulative, generator, geometric


def test_a_stream_gives_the_same_numbers_again_and_others_to_others():
    first = generator(7, Stream.LISTENS, 3).random(4)
    assert_allclose(generator(7, Stream.LISTENS, 3).random(4), first)
    assert not np.allclose(generator(7, Stream.LISTENS, 4).random(4), first)
    assert not np.allclose(generator(7, Stream.TRAITS, 3).random(4), first)


def test_choices_follow_the_shares_of_their_own_row():
    shares = cumulative(np.array([[1.0, 3.0], [1.0, 0.0]]))
    rows = np.repeat([0, 1], 10_000)
    drawn = choose(shares, rows, np.random.default_rng(0).random(20_000))
    assert abs(drawn[rows == 0].mean() - 0.75) < 0.02
    assert drawn[rows == 1].max() == 0


@given(
    weights=arrays(np.float64, (5, 4), elements=st.floats(0, 1)),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_a_choice_is_always_one_of_the_columns(weights, uniform):
    rows = np.arange(5)
    drawn = choose(cumulative(weights + 1e-9), rows, np.full(5, uniform))
    assert ((drawn >= 0) & (drawn < 4)).all()


def test_geometric_draws_have_the_mean_asked_for():
    drawn = geometric(np.full(50_000, 9.0), np.random.default_rng(0).random(50_000))
    assert drawn.min() == 1
    assert abs(drawn.mean() - 9) < 0.2
