import numpy as np

from simulate.words import NAMES, creator_name, episode_text


def test_no_two_creators_share_a_name():
    names = [creator_name(number) for number in range(NAMES + 100)]
    assert len(set(names)) == len(names)


def test_the_description_of_an_episode_is_made_of_its_topic_words():
    words = ("spies", "ruins", "castles", "plagues", "voyages")
    title, text = episode_text(np.random.default_rng(0), "Opal Kiosk", "history", words)
    assert sum(word in title.lower() for word in words) == 2
    assert all(word in text for word in (*words, "Opal Kiosk", "history"))
