import pytest

from lakehouse.curves import HEIGHT, PICTURES, WIDTH, pictures


def history(*losses: float, **more) -> list[dict]:
    return [{"epoch": number, "loss": loss, **more} for number, loss in enumerate(losses, start=1)]


def test_a_line_falls_from_the_top_left_to_the_bottom_right():
    (picture,) = pictures(history(4.0, 3.0, 2.0))
    assert (picture["name"], picture["low"], picture["high"]) == ("loss", 2.0, 4.0)
    (line,) = picture["lines"]
    assert line["last"] == 2.0
    assert line["points"] == [(0, 0), (WIDTH / 2, HEIGHT / 2), (WIDTH, HEIGHT)]


def test_lines_of_one_picture_share_its_range():
    (picture,) = pictures(history(4.0, 2.0, validation_loss=1.0))
    first, second = (line["points"] for line in picture["lines"])
    assert first == [(0, 0), (WIDTH, pytest.approx(HEIGHT * 2 / 3))]
    assert second == [(0, HEIGHT), (WIDTH, HEIGHT)]


def test_what_was_not_measured_has_no_picture():
    names = [picture["name"] for picture in pictures(history(1.0, auc=None, waiting=0.5))]
    assert names == ["loss", "share of time waiting for examples"]
    assert pictures([]) == []


def test_chance_does_not_fill_a_picture_of_speed():
    (_, picture) = pictures(history(1.0, users_per_second=8_000))
    assert (picture["low"], picture["high"]) == (0, 8_000)


def test_one_epoch_is_a_point():
    (picture,) = pictures(history(1.0))
    assert picture["lines"][0]["points"] == [(0, HEIGHT)]


def test_everything_that_training_measures_is_drawn():
    measured = {key for lines in PICTURES.values() for key in lines.values()}
    assert measured == {
        *("loss", "validation_loss", "auc", "gradient_norm", "highest_gradient_norm"),
        *("effective_dimension", "uniformity"),
        *("learning_rate", "users_per_second", "waiting"),
    }
