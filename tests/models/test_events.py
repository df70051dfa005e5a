import numpy as np

from models.events import HOUR, SKIP_WEIGHT, hour_of, play_weight


def test_a_skip_weighs_less_than_half_a_minute_and_the_unmeasured_weighs_whole():
    played = np.array([0.0, 1_000.0, 15_000.0, 30_000.0, 240_000.0, np.nan])
    assert play_weight(played).tolist() == [SKIP_WEIGHT, SKIP_WEIGHT, 0.5, 1.0, 1.0, 1.0]


def test_an_hour_of_the_day_lasts_to_its_last_microsecond():
    assert hour_of(np.array([0, HOUR - 1, HOUR, 24 * HOUR])).tolist() == [0, 0, 1, 0]
