"""Countries, languages, devices, surfaces and daily habits of the simulated world."""

from typing import NamedTuple

LANGUAGES = ("en", "es", "pt", "de", "fr", "ja")
LANGUAGE_SHARES = (0.40, 0.20, 0.12, 0.10, 0.10, 0.08)  # of the creators

DEVICES = ("phone", "desktop", "speaker", "car", "tv")
DEVICE_SHARES = (0.52, 0.20, 0.12, 0.10, 0.06)


class Country(NamedTuple):
    """A place that listeners come from."""

    code: str
    language: str
    share: float
    """Relative number of listeners."""
    utc_offset: int
    """Hours that local time is ahead of UTC."""
    local_genres: tuple[str, ...]
    """Liked more here than elsewhere."""


COUNTRIES = (
    Country("US", "en", 0.22, -5, ("country", "hip hop", "sports")),
    Country("GB", "en", 0.12, 0, ("drum and bass", "indie", "comedy")),
    Country("NG", "en", 0.06, 1, ("afrobeats", "r&b", "business")),
    Country("MX", "es", 0.12, -6, ("reggaeton", "pop", "true crime")),
    Country("ES", "es", 0.08, 1, ("reggaeton", "indie", "history")),
    Country("BR", "pt", 0.12, -3, ("afrobeats", "jazz", "comedy")),
    Country("PT", "pt", 0.03, 0, ("folk", "jazz", "news")),
    Country("DE", "de", 0.10, 1, ("techno", "metal", "science")),
    Country("FR", "fr", 0.09, 1, ("house", "hip hop", "history")),
    Country("JP", "ja", 0.06, 9, ("jazz", "metal", "technology")),
)


class Surface(NamedTuple):
    """A place in the product where plays begin."""

    name: str
    music_share: float
    """Relative number of music sessions that begin here."""
    podcast_share: float
    """The same of podcast sessions."""
    loyalty: float
    """Added to the chance that a session here starts from a favourite creator."""
    reach: tuple[float, float, float, float]
    """Chances that a play is of the session's creator, scene, genre, or of anything at all."""


SURFACES = (
    Surface("search", 0.14, 0.15, 0.15, (0.70, 0.14, 0.12, 0.04)),
    Surface("home", 0.22, 0.15, 0.00, (0.20, 0.42, 0.28, 0.10)),
    Surface("playlist", 0.28, 0.00, 0.00, (0.12, 0.53, 0.28, 0.07)),
    Surface("library", 0.20, 0.15, 0.40, (0.55, 0.28, 0.13, 0.04)),
    Surface("radio", 0.16, 0.00, -0.05, (0.14, 0.58, 0.22, 0.06)),
    Surface("podcast_shelf", 0.00, 0.55, 0.10, (0.62, 0.18, 0.15, 0.05)),
)


class Chronotype(NamedTuple):
    """A daily habit: when somebody listens to what."""

    name: str
    share: float
    music_hour: float
    """Local hour around which music is played."""
    podcast_hour: float
    """Local hour around which podcasts are played."""
    weekend: tuple[float, float]
    """Weight of a weekend hour beside a weekday's 1: of music, of podcasts."""
    podcasts: float
    """Podcast sessions for each music session, for a typical person."""
    genres: tuple[str, ...]
    """Liked more by these people than by others."""


CHRONOTYPES = (
    Chronotype("commuter", 0.35, 17.5, 7.5, (0.7, 0.2), 0.65, ("news", "business", "pop")),
    Chronotype("desk", 0.25, 11.0, 14.0, (0.3, 0.4), 0.25, ("ambient", "classical", "technology")),
    Chronotype("evening", 0.25, 20.0, 18.5, (1.6, 1.2), 0.20, ("rock", "r&b", "comedy")),
    Chronotype("night", 0.15, 1.0, 23.5, (2.2, 0.8), 0.40, ("techno", "hip hop", "true crime")),
)
