import numpy as np
from numpy.testing import assert_allclose

from simulate.places import CHRONOTYPES, COUNTRIES
from simulate.rhythm import rhythms

COMMUTER = [each.name for each in CHRONOTYPES].index("commuter")
BRITAIN = [each.code for each in COUNTRIES].index("GB")
JAPAN = [each.code for each in COUNTRIES].index("JP")


def shares(country):
    summed = rhythms(np.array([COMMUTER]), np.array([country]), np.zeros((1, 3)))
    return np.diff(summed, prepend=0)  # (2, 168)


def test_commuters_hear_podcasts_in_the_morning_and_music_after_work():
    music, podcasts = shares(BRITAIN)
    assert (podcasts.argmax() % 24, music.argmax() % 24) == (7, 17)


def test_commuters_leave_podcasts_for_working_days():
    _, podcasts = shares(BRITAIN)
    assert_allclose(podcasts[6 * 24 :].sum() / podcasts[:24].sum(), 0.2)


def test_people_live_by_local_time():
    _, podcasts = shares(JAPAN)
    assert podcasts.argmax() % 24 == (7 - 9) % 24
