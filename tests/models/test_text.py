import numpy as np
import pytest
from numpy.testing import assert_allclose

from models import text
from models.text import SentenceEncoder, packaged_folder
from schemas.errors import InputError

WITHOUT = "the extra `text` is not installed"


@pytest.fixture(scope="module")
def encoder():
    if not text.installed():
        pytest.skip(WITHOUT)
    return SentenceEncoder()


def test_texts_about_one_thing_are_near(encoder):
    jazz, also_jazz, football = encoder.encode(
        ["a history of jazz", "saxophone players and bebop", "football results of the weekend"]
    )
    assert jazz @ also_jazz > jazz @ football + 0.2


def test_vectors_have_length_one_and_stand_in_the_order_of_their_texts(encoder):
    texts = ["b", "a much longer text than the others", "b", "c"]
    found = encoder.encode(texts)
    assert found.shape == (4, encoder.size)
    assert found.dtype == np.float32
    assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (found[0] == found[2]).all()
    assert_allclose(found[3], encoder.encode(["c"])[0], atol=1e-5)


def test_an_empty_text_says_nothing(encoder):
    assert not encoder.encode(["", "  "]).any()
    assert encoder.encode([]).shape == (0, encoder.size)


def test_a_folder_of_ones_own_serves_as_well(encoder):
    own = SentenceEncoder(str(packaged_folder()))
    assert_allclose(own.encode(["jazz"]), encoder.encode(["jazz"]), atol=1e-6)


@pytest.mark.usefixtures("encoder")
def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"modules\.json"):
        SentenceEncoder(str(tmp_path))


@pytest.mark.usefixtures("encoder")
def test_a_model_that_would_have_to_be_unpickled_is_refused(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        SentenceEncoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="unpickled"):
        SentenceEncoder(str(tmp_path))


@pytest.mark.usefixtures("encoder")
def test_modules_that_are_not_of_the_library_are_refused(tmp_path):
    (tmp_path / "modules.json").write_text('[{"type": "os.path"}]')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"os\.path"):
        SentenceEncoder(str(tmp_path))


def test_who_has_not_installed_it_is_told_how(monkeypatch):
    monkeypatch.setattr(text, "PACKAGED", "no_such_package")
    with pytest.raises(InputError, match=r"tasteprint\[text\]"):
        packaged_folder()
