import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import ortho_group

from evaluation.bridge import build, fit, held_out, main, run_name
from evaluation.bridge_measures import Pairs
from lakehouse.bridges import BridgeRegistry, read_through
from lakehouse.overrides import override
from lakehouse.report import newest_checks
from lakehouse.space import similarity
from models.layout import VECTOR_SIZE
from schemas.errors import BatchError

TURN = ortho_group.rvs(VECTOR_SIZE, random_state=1)
STRANGERS = 100.0  # so much noise leaves nothing of what vectors were


def built(lake, new: str = "live", old: str = "legacy"):
    return build(lake, new, old, horizon_days=7.0, seed=0)


def argv(lake, new: str = "live", old: str = "legacy") -> list[str]:
    return ["--lakehouse", lake.uri, "--new", new, "--old", old]


def refused(lake) -> int:
    with pytest.raises(SystemExit) as ended:
        main(argv(lake))
    return ended.value.code


def pairs(old: np.ndarray, turn: np.ndarray) -> Pairs:
    return Pairs(np.array([f"x{row}" for row in range(len(old))]), old @ turn.T, old)


def test_a_turned_space_is_read_as_if_it_had_not_been_turned(lake, two_spaces):
    old, new = two_spaces(turn=TURN)
    bridge, verdict = built(lake)
    assert (bridge.from_batch, bridge.to_batch) == (new.batch_id, old.batch_id)
    assert (bridge.state, verdict.outcome) == ("ready", "warned")  # of few users, and no more
    assert [check.check for check in verdict.checks if not check.success] == ["bridge_users"]
    seen = similarity(read_through(lake, "user_embeddings"), lake.read("user_embeddings", old))
    assert_allclose(np.diag(seen), 1.0, atol=1e-4)


def test_a_bridge_remembers_its_models_its_users_and_its_code(lake, two_spaces):
    old, new = two_spaces(turn=TURN)
    bridge, _ = built(lake)
    assert bridge.metrics["models"] == {
        new.batch_id: new.model_sha256,
        old.batch_id: old.model_sha256,
    }
    assert bridge.users + bridge.metrics["held_out"] == 240
    assert bridge.metrics["tracks"] == 50
    assert bridge.code_version.startswith("0.")


def test_nobody_is_held_out_from_one_bridge_and_fitted_in_another():
    ids = np.array([f"u{number}" for number in range(1000)])
    assert held_out(ids).mean() == pytest.approx(0.5, abs=0.05)
    assert held_out(ids[::-1]).tolist() == held_out(ids)[::-1].tolist()
    assert held_out(ids[:10]).tolist() == held_out(ids)[:10].tolist()


def test_users_and_tracks_weigh_the_same_however_many_there_are():
    # Users say one turn, tracks another: with equal weights, numbers do not decide between them.
    here, there = (ortho_group.rvs(8, random_state=seed) for seed in (0, 1))
    rows = np.eye(8)
    few = fit(pairs(rows, here), pairs(rows, there))
    many = fit(pairs(rows, here), pairs(np.tile(rows, (50, 1)), there))
    assert_allclose(few, many, atol=1e-5)
    assert_allclose(fit(pairs(rows, here), pairs(rows, there), 0.0), here, atol=1e-5)
    assert_allclose(fit(pairs(rows, here), pairs(rows, there), 1.0), there, atol=1e-5)


def test_spaces_that_have_nothing_in_common_get_no_bridge(lake, two_spaces):
    two_spaces(turn=TURN, noise=STRANGERS)
    assert refused(lake) == 3
    assert [bridge.state for bridge in BridgeRegistry(lake).all()] == ["refused"]
    with pytest.raises(BatchError, match="was refused"):
        read_through(lake, "user_embeddings")


def test_the_gates_findings_are_kept_like_those_of_every_gate(lake, two_spaces, capsys):
    old, new = two_spaces(turn=TURN, noise=STRANGERS)
    refused(lake)
    run = run_name(new.batch_id, old.batch_id)
    found = {row["check"]: row for row in newest_checks(lake, run)}
    assert set(found) == {"bridge_users", "bridge_neighbours", "bridge_auc", "bridge_genres"}
    assert not found["bridge_neighbours"]["success"]
    assert found["bridge_neighbours"]["level"] == "fail"
    assert lake.filesystem.exists(lake.report_uri(run))
    assert f"gates override {run} bridges" in capsys.readouterr().err


def test_a_person_may_let_a_refused_bridge_pass_by_name_and_reason(lake, two_spaces):
    old, new = two_spaces(turn=TURN, noise=STRANGERS)
    refused(lake)
    run = run_name(new.batch_id, old.batch_id)
    for row in newest_checks(lake, run):
        if not row["success"] and row["level"] == "fail":
            override(lake, run, "bridges", row["check"], "Ada", "a demonstration")
    main(argv(lake))
    assert [bridge.state for bridge in BridgeRegistry(lake).all()] == ["refused", "ready"]


def test_each_build_is_a_row_and_the_newest_counts(lake, two_spaces):
    old, new = two_spaces(turn=TURN)
    first, second = built(lake)[0], built(lake)[0]
    assert BridgeRegistry(lake).get(new, old).made_at == second.made_at > first.made_at
    assert_allclose(first.rotation, second.rotation)


def test_a_bridge_from_a_batch_into_itself_is_an_error(lake, two_spaces):
    two_spaces()
    with pytest.raises(BatchError, match="nothing to bridge"):
        built(lake, "live", "live")


def test_too_few_users_to_measure_on_are_too_few_for_a_bridge(lake, two_spaces):
    two_spaces(turn=TURN, users=20)
    bridge, verdict = built(lake)
    assert bridge.state == "refused"
    stopping = {check.check for check in verdict.checks if check.stops}
    assert "bridge_users" in stopping
