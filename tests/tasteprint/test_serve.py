import stat

import pytest

from ray_apps.tokens import Tokens
from tasteprint.cli import main


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv("TASTEPRINT_TOKENS", raising=False)


def test_a_token_is_printed_once_and_its_hash_kept(tmp_path, capsys):
    file = tmp_path / "keys" / "tokens"
    for name, scope in (("ranking", "vectors:read"), ("player", "events:write")):
        main(["tokens", name, "--scope", scope, "--token-file", str(file)])
    words = capsys.readouterr().out.split()
    assert len(words) == 2
    assert not any(word in file.read_text() for word in words)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    tokens = Tokens.from_file(file)
    assert tokens.scopes_of(f"Bearer {words[0]}") == {"vectors:read"}
    assert tokens.scopes_of(f"Bearer {words[1]}") == {"events:write"}


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--token-file"),
        (["--token-file", "gone"], "gone"),
        (["--tls-address", "0.0.0.0:8443"], "--tls-certificate"),
        (["--tls-address", "0.0.0.0:1", "--tls-certificate", "gone.pem"], "gone.pem"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(flags, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
