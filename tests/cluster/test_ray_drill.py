import re
from pathlib import Path

import pytest

from cluster.ray_drill import BUCKETS, EPOCHS, USERS, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def seen(machine, tmp_path_factory):  # noqa: ARG001
    return run(Path(tmp_path_factory.mktemp("ray")))


def test_the_job_api_refuses_whoever_has_no_token(seen):
    assert seen.statuses["nobody"] in (401, 403)
    assert seen.statuses["a stranger"] in (401, 403)
    assert seen.statuses["we"] == 200


def test_nothing_of_ray_answers_outside_of_the_private_net(seen):
    for ports in seen.ports.values():
        assert ports.public == [22]
        assert len(ports.private) > 4  # so Ray was there
        assert 8265 not in ports.private  # the dashboard is on the head's loopback alone
    assert sum(6379 in ports.private for ports in seen.ports.values()) == 1


def test_training_ran_on_two_hosts_and_one_was_cut(seen):
    assert len(seen.trained_on) == 2
    assert seen.cut["train"] in seen.trained_on


def test_training_goes_on_from_a_checkpoint_and_ends(seen):
    done = [int(steps) for steps in re.findall(r"goes on after (\d+) steps", seen.training_log)]
    assert len(done) == 1
    assert 0 < done[0] <= seen.steps_kept
    assert seen.epochs == list(range(1, EPOCHS + 1))
    assert seen.training_log.count(f"train: epoch 1 of {EPOCHS}") == 1


def test_embedding_was_cut_in_the_middle(seen):
    assert 0 < seen.files_kept < BUCKETS


def test_every_user_has_exactly_one_vector(seen):
    assert len(seen.users) == USERS
    assert seen.embedded == seen.users


def test_ray_down_ends_the_head(seen):
    assert seen.left_on_head == []
