"""Invented names: words that, put together, name nobody who exists."""

import numpy as np

ADJECTIVES = (
    "Amber", "Ashen", "Braided", "Brass", "Candle", "Cedar", "Chalk", "Cobalt", "Copper", "Coral",
    "Crooked", "Distant", "Drowsy", "Dusty", "Ember", "Feathered", "Fennel", "Flint", "Foggy",
    "Gilded", "Ginger", "Glass", "Granite", "Hazel", "Hollow", "Idle", "Indigo", "Ivory", "Juniper",
    "Lacquer", "Lantern", "Lemon", "Linen", "Maple", "Marble", "Midday", "Mint", "Mossy", "Nickel",
    "Opal", "Paper", "Pepper", "Pewter", "Plaid", "Quartz", "Quiet", "Ribbon", "Russet", "Saffron",
    "Salted", "Sleepless", "Slate", "Sunken", "Tangled", "Thistle", "Tidal", "Umber", "Velvet",
    "Walnut", "Wicker",
)  # fmt: skip

NOUNS = (
    "Almanac", "Anchor", "Antenna", "Arcade", "Atlas", "Balcony", "Barometer", "Beacon", "Bicycle",
    "Boulevard", "Cable", "Canal", "Carousel", "Cartographer", "Causeway", "Chimney", "Compass",
    "Courtyard", "Dial", "Engine", "Estuary", "Ferry", "Fountain", "Furnace", "Gazette",
    "Greenhouse", "Harbour", "Hinge", "Inlet", "Kettle", "Kiosk", "Ladder", "Lagoon", "Ledger",
    "Lighthouse", "Loom", "Meadow", "Meridian", "Metronome", "Observatory", "Orchard", "Parade",
    "Parasol", "Pavilion", "Pendulum", "Pier", "Postcard", "Quarry", "Rooftop", "Sandbar", "Signal",
    "Staircase", "Sundial", "Telegraph", "Terrace", "Thicket", "Tramway", "Umbrella", "Viaduct",
    "Windmill",
)  # fmt: skip

PATTERNS = ("{} {}", "The {} {}", "{} {} Society", "{} {} Club")
NAMES = len(PATTERNS) * len(ADJECTIVES) * len(NOUNS)

TITLES = ("{0} {1}", "{1} in {0}", "After the {1}", "{0} for a {1}", "Call It {0}", "{1} at Dusk")
HOOKS = ("what changed", "a long story", "the other side", "questions answered", "from the start")
VERBS = ("talks about", "looks into", "argues over", "goes back to", "asks experts about")


def creator_name(number: int) -> str:
    """Name a creator; numbers below `NAMES` all have names of their own.

    Args:
        number: which of the combinations; a new round of them carries a numeral.
    """
    again, number = divmod(number, NAMES)
    rest, pattern = divmod(number, len(PATTERNS))
    noun, adjective = divmod(rest, len(ADJECTIVES))
    name = PATTERNS[pattern].format(ADJECTIVES[adjective], NOUNS[noun])
    return f"{name} {again + 1}" if again else name


def track_title(rng: np.random.Generator) -> str:
    """Name a track.

    Args:
        rng: the track's own generator.
    """
    pattern, adjective, noun = rng.integers((len(TITLES), len(ADJECTIVES), len(NOUNS)))
    return TITLES[pattern].format(ADJECTIVES[adjective], NOUNS[noun])


def episode_text(
    rng: np.random.Generator, show: str, topic: str, words: tuple[str, ...]
) -> tuple[str, str]:
    """Write the title and the description of an episode.

    Args:
        rng: the episode's own generator.
        show: name of the show.
        topic: name of its genre.
        words: what episodes of the genre are about, at least five.

    Returns:
        Title and description.
    """
    first, second, third, fourth, fifth = (words[i] for i in rng.permutation(len(words))[:5])
    hook, verb = rng.integers((len(HOOKS), len(VERBS)))
    title = f"{first.capitalize()} and {second}: {HOOKS[hook]}"
    description = (
        f"{show}, a podcast about {topic}, {VERBS[verb]} {first}, {second} and {third}. "
        f"Also in this episode: {fourth}, and listeners write about {fifth}."
    )
    return title, description
