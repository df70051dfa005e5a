import io

import numpy as np
import pytest
from rich.console import Console

from tasteprint.replay_table import figures_line, live_table, summary
from tasteprint.replay_tally import Tally
from tasteprint.replay_watch import Watched


@pytest.fixture
def tally():
    """Counts of 1,000 events, of which some were refused."""
    found = Tally(total=2_000, accepted=990, put_off=3, behind=12.0, unseen=2)
    found.count([["item_id is not in items (x)"]] * 10)
    found.answered.extend([0.004, 0.006])
    return found


def shown(tally: Tally, users: list[Watched]) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    console.print(live_table(tally, users))
    return console.file.getvalue().splitlines()


def test_a_line_tells_counts_and_times(tally):
    said = figures_line(tally)
    assert said.startswith("1,000 of 2,000 events, 990 accepted, 10 refused, ")
    assert "requests p50 5 p99 6 ms, visible none yet, 3 put off, 12 s behind" in said


def test_each_watched_user_has_a_row(tally):
    user = Watched("listener-123", plays=1_234, first=np.array([1.0, 0.0]))
    user.vector, user.nearest = np.array([1.0, 1.0]), ["Blue by [Mira]", "Talk"]
    lines = shown(tally, [user, Watched("new")])
    assert lines[-2].split() == ["listener…", "1,234", "45.0°", "Blue", "by", "[Mira]", "·", "Talk"]
    assert lines[-1].split() == ["new", "0", "no", "vector", "none", "yet"]


def test_without_users_there_is_no_table(tally):
    assert not any("nearest items" in line for line in shown(tally, []))


def test_the_summary_names_the_commonest_reasons(tally):
    lines = summary(tally, stopped=False)
    assert lines[0].startswith("replayed in 0.0 s: 1,000 of 2,000 events")
    assert lines[1:] == [
        "  2 accepted events of watched users changed no vector",
        "  10 refused: item_id is not in items",
    ]
    assert summary(tally, stopped=True)[0].startswith("stopped after 0.0 s")
