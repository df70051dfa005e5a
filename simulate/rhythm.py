"""When people listen: a weight for each hour of the week, different for music and podcasts."""

import numpy as np

from simulate.places import CHRONOTYPES, COUNTRIES
from simulate.sampling import Floats, Ints, cumulative

HOURS = 168  # of a week, from Monday 00:00 UTC
CONCENTRATION = 5.0  # of the bump around the habitual hour: most plays lie within three hours
BACKGROUND = 0.04  # weight of every other hour beside the bump's 1
HOUR_SCATTER = 1.2  # hours by which people of one chronotype differ


def rhythms(chronotype: Ints, country: Ints, normal: Floats) -> Floats:
    """Make the weekly rhythms of users, who live by local time.

    Args:
        chronotype: (U,) int64, index into CHRONOTYPES.
        country: (U,) int64, index into COUNTRIES.
        normal: (U, 3) float64, standard normal: how the user's hour of music, hour of podcasts
            and liking of weekends differ from the chronotype's.

    Returns:
        (2 U, 168) float64, cumulative; row 2 u for music, row 2 u + 1 for podcasts.
    """
    habits = np.array([(each.music_hour, each.podcast_hour) for each in CHRONOTYPES])[chronotype]
    weekend = np.array([each.weekend for each in CHRONOTYPES])[chronotype]  # (U, 2)
    weekend = weekend * np.exp(0.4 * normal[:, 2:])
    centre = habits + HOUR_SCATTER * normal[:, :2]  # (U, 2)
    offset = np.array([each.utc_offset for each in COUNTRIES])[country]  # (U,)
    local = (np.arange(HOURS) + offset[:, None]) % HOURS  # (U, 168)
    angle = 2 * np.pi * (local[:, None, :] + 0.5 - centre[:, :, None]) / 24  # (U, 2, 168)
    weight = BACKGROUND + np.exp(CONCENTRATION * (np.cos(angle) - 1))
    weight *= np.where(local[:, None, :] >= 5 * 24, weekend[:, :, None], 1.0)
    return cumulative(weight.reshape(-1, HOURS))
