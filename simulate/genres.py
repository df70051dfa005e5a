"""The genres and topics of the simulated world: who likes them and how they sound."""

from typing import NamedTuple

AUDIO_FEATURES = (
    "danceability",
    "energy",
    "loudness",
    "speechiness",
    "acousticness",
    "instrumentalness",
    "liveness",
    "valence",
    "tempo",
)


class Genre(NamedTuple):
    """One genre of music or topic of podcasts."""

    name: str
    family: int
    """Genres of one family are liked together."""
    size: float
    """Relative share of its kind's items."""
    age: int
    """Years of age of its typical listener."""
    sound: tuple[float, ...] = ()
    """Mean audio features, as AUDIO_FEATURES, scaled as Spotify does; empty for podcasts."""
    topics: tuple[str, ...] = ()
    """Words that its episodes are about; empty for music."""


MUSIC = (
    Genre("pop", 0, 2.0, 25, (0.66, 0.68, -5.8, 0.06, 0.20, 0.01, 0.16, 0.55, 118)),
    Genre("indie", 0, 1.3, 29, (0.55, 0.60, -7.5, 0.04, 0.30, 0.08, 0.15, 0.46, 122)),
    Genre("rock", 0, 1.6, 42, (0.50, 0.78, -6.4, 0.05, 0.12, 0.06, 0.20, 0.52, 128)),
    Genre("metal", 0, 0.8, 36, (0.40, 0.93, -4.8, 0.09, 0.01, 0.25, 0.21, 0.33, 134)),
    Genre("house", 1, 1.1, 29, (0.78, 0.80, -6.6, 0.06, 0.05, 0.45, 0.14, 0.58, 124)),
    Genre("techno", 1, 0.8, 30, (0.74, 0.84, -8.1, 0.06, 0.03, 0.78, 0.12, 0.28, 132)),
    Genre("drum and bass", 1, 0.6, 25, (0.53, 0.91, -5.1, 0.09, 0.02, 0.52, 0.19, 0.31, 174)),
    Genre("ambient", 1, 0.7, 38, (0.28, 0.22, -19.0, 0.04, 0.80, 0.86, 0.11, 0.16, 92)),
    Genre("hip hop", 2, 1.7, 22, (0.74, 0.66, -6.7, 0.24, 0.18, 0.01, 0.19, 0.49, 112)),
    Genre("r&b", 2, 1.0, 28, (0.65, 0.54, -7.8, 0.09, 0.33, 0.01, 0.14, 0.47, 104)),
    Genre("reggaeton", 2, 1.0, 23, (0.78, 0.76, -5.0, 0.11, 0.19, 0.01, 0.15, 0.68, 96)),
    Genre("afrobeats", 2, 0.8, 25, (0.76, 0.70, -6.2, 0.10, 0.24, 0.03, 0.13, 0.71, 108)),
    Genre("folk", 3, 0.8, 45, (0.48, 0.35, -11.5, 0.04, 0.75, 0.05, 0.13, 0.42, 114)),
    Genre("country", 3, 0.9, 44, (0.57, 0.64, -7.0, 0.04, 0.27, 0.01, 0.17, 0.59, 121)),
    Genre("jazz", 3, 0.7, 52, (0.52, 0.33, -13.6, 0.05, 0.76, 0.47, 0.14, 0.47, 110)),
    Genre("classical", 3, 0.8, 57, (0.27, 0.15, -21.5, 0.04, 0.95, 0.83, 0.12, 0.19, 98)),
)

PODCASTS = (
    Genre("news", 4, 1.5, 45, topics=(
        "parliament", "ballots", "ministers", "borders", "treaties", "headlines", "coalitions",
        "protests", "budgets", "summits", "reporters", "referendums",
    )),
    Genre("business", 4, 1.0, 38, topics=(
        "markets", "founders", "mergers", "inflation", "invoices", "suppliers", "shareholders",
        "pricing", "exports", "pensions", "start-ups", "interest rates",
    )),
    Genre("sports", 4, 1.1, 31, topics=(
        "penalties", "transfers", "marathons", "coaches", "stadiums", "sprints", "qualifiers",
        "rivalries", "goalkeepers", "injuries", "underdogs", "championships",
    )),
    Genre("technology", 5, 1.0, 33, topics=(
        "chips", "compilers", "robots", "batteries", "passwords", "satellites", "browsers",
        "algorithms", "data centres", "sensors", "open source", "encryption",
    )),
    Genre("science", 5, 0.9, 39, topics=(
        "galaxies", "enzymes", "glaciers", "neurons", "fossils", "vaccines", "quarks",
        "microbes", "telescopes", "volcanoes", "genomes", "oceans",
    )),
    Genre("history", 5, 0.9, 50, topics=(
        "empires", "plagues", "castles", "voyages", "revolutions", "archives", "dynasties",
        "shipwrecks", "cathedrals", "spies", "trade routes", "ruins",
    )),
    Genre("true crime", 6, 1.2, 34, topics=(
        "alibis", "detectives", "forgeries", "witnesses", "cold cases", "verdicts", "heists",
        "fingerprints", "disappearances", "confessions", "juries", "motives",
    )),
    Genre("comedy", 6, 1.2, 26, topics=(
        "flatmates", "bad dates", "in-laws", "awkward silences", "karaoke", "punchlines",
        "office parties", "heckles", "sketches", "pranks", "hangovers", "improvised songs",
    )),
)  # fmt: skip

GENRES = MUSIC + PODCASTS  # the columns of every mixture
FAMILIES = 7
SCENES = 4  # styles within a genre, which listeners tell apart and the items table does not
