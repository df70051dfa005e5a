from simulate.genres import AUDIO_FEATURES, FAMILIES, GENRES, MUSIC, PODCASTS


def test_there_are_sixteen_genres_of_music_and_eight_topics():
    assert (len(MUSIC), len(PODCASTS)) == (16, 8)
    assert len({genre.name for genre in GENRES}) == 24


def test_music_has_a_sound_and_podcasts_have_topics():
    assert all(len(genre.sound) == len(AUDIO_FEATURES) for genre in MUSIC)
    assert all(len(genre.topics) >= 5 and not genre.sound for genre in PODCASTS)


def test_every_genre_has_relatives_of_its_own_kind():
    for family in range(FAMILIES):
        members = [genre for genre in GENRES if genre.family == family]
        assert len(members) >= 2
        assert len({bool(genre.sound) for genre in members}) == 1
