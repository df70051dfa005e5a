import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps import tokens as tokens_module
from ray_apps.tokens import SCOPES, Tokens, new_token
from schemas.errors import InputError

WEB, OPS = "web-secret-0123456789", "ops-secret-0123456789"
BOTH = Tokens.from_text(f"web:events:write+vectors:read:{WEB}; ops:admin:{OPS};")


def line(name, scopes, token):
    return f"{name} {scopes} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"


@pytest.fixture
def token_file(tmp_path):
    """A function that writes the file whole, as an operator's editor does."""

    def written(text, mode=0o600):
        fresh = tmp_path / "tokens.new"
        fresh.write_text(text)
        fresh.chmod(mode)
        return fresh.replace(tmp_path / "tokens")

    return written


@pytest.fixture
def always_looks(monkeypatch):
    """The file is looked at with every call, not only once in a second."""
    monkeypatch.setattr(tokens_module, "LOOKS", 0.0)


def test_a_token_has_its_scopes_and_an_admin_has_all():
    assert BOTH.scopes_of(f"Bearer {WEB}") == {"events:write", "vectors:read"}
    assert BOTH.scopes_of(f"Bearer {OPS}") == SCOPES


def test_the_scheme_is_written_in_any_case_and_with_any_space():
    for header in (f"bearer   {WEB} ", f"BEARER {WEB}"):
        assert BOTH.scopes_of(header) == {"events:write", "vectors:read"}


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", WEB, f"Basic {WEB}", f"Bearer {WEB}x", f"Bearer {WEB[:-1]}"],
)
def test_nobody_else_has_any(header):
    assert BOTH.scopes_of(header) is None


@given(st.text(st.characters()))
def test_no_header_is_an_error(header):
    assert BOTH.scopes_of(header) is None
    assert BOTH.scopes_of(f"Bearer {header}") is None


def test_a_new_token_and_its_line_belong_together(token_file):
    token, written = new_token("search", ["vectors:read", "events:write"])
    assert token not in written
    assert written.startswith("search events:write,vectors:read sha256:")
    found = Tokens.from_file(token_file(written)).scopes_of(f"Bearer {token}")
    assert found == {"vectors:read", "events:write"}


def test_no_two_new_tokens_are_the_same():
    assert new_token("search", ["admin"])[0] != new_token("search", ["admin"])[0]


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("two words", ["admin"]), ("", ["admin"]), ("a#b", ["admin"]), ("a", []), ("a", ["root"])],
)
def test_no_token_is_made_that_no_line_can_say(name, scopes):
    with pytest.raises(InputError, match="no token for that"):
        new_token(name, scopes)


def test_comments_and_empty_lines_are_no_tokens(token_file):
    text = f"# who may ask\n\n  \n{line('web', 'vectors:read', WEB).strip()}  # the player\n"
    assert Tokens.from_file(token_file(text)).scopes_of(f"Bearer {WEB}") == {"vectors:read"}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (f"ops admin {OPS}", "line 2: not of the form"),
        (f"ops admin sha256:{OPS}", "line 2: not of the form"),
        (f"ops {OPS}", "line 2: not of the form"),
        (f"ops admin {OPS} sha256:{'0' * 64}", "line 2: not of the form"),
        (f"ops {OPS} sha256:{'0' * 64}", "line 2: scopes are one or more of events:write, "),
        (f"{OPS}! admin sha256:{'0' * 64}", "line 2: a name has"),
        (line("web", "admin", OPS), "two entries have the same name"),
        (line("ops", "admin", WEB), "two entries have the same token"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_never_quoted(token_file, bad, said):
    path = token_file(line("web", "vectors:read", WEB) + bad)
    with pytest.raises(InputError) as refused:
        Tokens.from_file(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)
    assert OPS not in str(refused.value)


@pytest.mark.parametrize("text", [OPS, f"ops:{OPS}", f"ops:{OPS}:admin", "ops:admin:short"])
def test_a_bad_entry_of_the_environment_is_told_by_its_number(text):
    with pytest.raises(InputError, match="TASTEPRINT_TOKENS, entry 2: ") as refused:
        Tokens.from_text(f"web:vectors:read:{WEB};{text}")
    assert OPS not in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_that_others_can_use_is_refused(token_file, mode):
    path = token_file(line("web", "admin", WEB), mode)
    with pytest.raises(InputError, match=f"run chmod 600 {path}"):
        Tokens.from_file(path)


def test_a_file_that_is_missing_or_no_text_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match=r"none cannot be read: No such file"):
        Tokens.from_file(tmp_path / "none")
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is no UTF-8"):
        Tokens.from_file(tmp_path / "noise")


@pytest.mark.usefixtures("always_looks")
def test_a_token_is_revoked_and_another_let_in_without_a_restart(token_file):
    tokens = Tokens.from_file(token_file(line("web", "admin", WEB)))
    token_file(line("ops", "admin", OPS))
    assert tokens.scopes_of(f"Bearer {WEB}") is None
    assert tokens.scopes_of(f"Bearer {OPS}") == SCOPES


@pytest.mark.usefixtures("always_looks")
def test_a_file_that_was_broken_lets_nobody_in_until_it_is_mended(token_file):
    good = line("web", "admin", WEB)
    path = token_file(good)
    tokens = Tokens.from_file(path)
    token_file(f"{good}nonsense")
    for _ in range(2):
        with pytest.raises(InputError, match="line 2"):
            tokens.scopes_of(f"Bearer {WEB}")
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        tokens.scopes_of(f"Bearer {WEB}")
    token_file(good)
    assert tokens.scopes_of(f"Bearer {WEB}") == SCOPES


@pytest.mark.usefixtures("always_looks")
def test_a_file_that_is_opened_to_others_is_seen(token_file):
    path = token_file(line("web", "admin", WEB))
    tokens = Tokens.from_file(path)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        tokens.scopes_of(f"Bearer {WEB}")


def test_a_file_is_not_looked_at_with_every_call(token_file, monkeypatch):
    monkeypatch.setattr(tokens_module, "LOOKS", 1000.0)
    path = token_file(line("web", "admin", WEB))
    tokens = Tokens.from_file(path)
    path.unlink()
    assert tokens.scopes_of(f"Bearer {WEB}") == SCOPES


def test_neither_repr_nor_what_is_kept_says_a_token():
    shown = repr(BOTH) + repr(vars(BOTH))
    assert "web" in shown
    for token in (WEB, OPS):
        assert token not in shown
        assert repr(hashlib.sha256(token.encode()).digest()) not in shown
