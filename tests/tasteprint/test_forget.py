import pyarrow as pa
import pytest

from lakehouse import erasure
from schemas.contract import contract
from tasteprint.cli import main


@pytest.fixture
def argv(lake):
    """The flags for a lakehouse in which ann and bob have a row each."""
    rows = [{"user_id": user} for user in ("ann", "bob")]
    lake.append("users", pa.Table.from_pylist(rows, schema=contract("users").arrow_schema))
    return ["--lakehouse", lake.uri]


def users(lake):
    return sorted(lake.open("users").to_pyarrow_table()["user_id"].to_pylist())


def test_a_person_is_forgotten_and_the_receipt_is_shown(lake, argv, capsys):
    main(["forget", "ann", *argv])
    assert users(lake) == ["bob"]
    (receipt,) = lake.open("erasures").to_pyarrow_table().to_pylist()
    said = capsys.readouterr().out
    assert f"receipt {receipt['erasure_id']}: rows removed: 1 of users" in said
    assert "erase from users" in said


def test_somebody_who_is_not_here_is_said_to_be_kept_out(lake, argv, capsys):
    main(["forget", "carol", *argv])
    assert "nothing was here; kept out from now on" in capsys.readouterr().out
    assert users(lake) == ["ann", "bob"]


def test_a_dry_run_counts_rows_and_versions_and_erases_nobody(lake, argv, capsys):
    main(["forget", "ann", "--dry-run", *argv])
    assert users(lake) == ["ann", "bob"]
    assert not lake.exists("erasures")
    assert capsys.readouterr().out.split()[-3:] == ["users", "1", "1"]
    main(["forget", "carol", "--dry-run", *argv])
    assert "Nothing is here" in capsys.readouterr().out


def test_many_are_read_from_a_file(lake, argv, tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("ann\r\n\nbob\n", encoding="utf-8")
    main(["forget", "--from-file", str(file), *argv])
    assert users(lake) == []
    assert lake.open("erasures").count() == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "give either a USER_ID or --from-file"),
        (["ann", "--from-file", "x"], "give either a USER_ID or --from-file"),
        (["--from-file", "not-there"], "not-there cannot be read"),
        ([""], "whom to forget"),
    ],
)
def test_whoever_asks_for_nobody_or_wrongly_is_told(argv, capsys, asked, said):
    with pytest.raises(SystemExit) as end:
        main(["forget", *asked, *argv])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_a_lakehouse_that_is_not_there_is_not_made(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["forget", "ann", "--lakehouse", str(tmp_path / "none")])
    assert "there is no lakehouse" in capsys.readouterr().err


def test_no_batch_is_opened_while_somebody_is_being_erased(argv, monkeypatch, capsys):
    def crash(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "vacuum", crash)
        with pytest.raises(SystemExit):
            main(["forget", "ann", *argv])
    with pytest.raises(SystemExit) as end:
        main(["batches", "open", *argv])
    assert end.value.code == 4
    assert "somebody is being erased" in capsys.readouterr().err


def test_a_vacuum_says_what_it_removed(lake, argv, capsys):
    main(["vacuum", *argv])
    assert "Nothing to remove" in capsys.readouterr().out
    lake.open("users").delete()
    main(["vacuum", "--retention-hours", "0", "--dry-run", *argv])
    said = capsys.readouterr().out
    assert "to be removed" in said
    assert "tables/users" in said
    main(["vacuum", "--retention-hours", "0", *argv])
    assert "tables/users" in capsys.readouterr().out
    main(["vacuum", "--retention-hours", "0", *argv])
    assert "Nothing to remove" in capsys.readouterr().out
