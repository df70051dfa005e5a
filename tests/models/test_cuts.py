import numpy as np

from models.cuts import Cuts


def test_the_history_and_the_future_of_each_cut_are_its_plays_before_and_after():
    cuts = Cuts(*(np.array(of) for of in ([0, 1], [0, 4], [2, 5], [4, 7])))
    assert [part.tolist() for part in cuts.history] == [[0, 0, 1], [0, 1, 4]]
    assert [part.tolist() for part in cuts.future] == [[0, 0, 1, 1], [2, 3, 5, 6]]
