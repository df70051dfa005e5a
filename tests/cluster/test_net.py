import shutil

import pytest

from cluster.hosts import hosts
from cluster.net import PRIVATE, PUBLIC, ip, why_not


def test_each_number_has_an_address_and_a_card_in_each_net():
    assert PRIVATE.address(11).endswith(".11")
    assert PRIVATE.address(11) in PRIVATE.all.replace(".0/24", ".11")
    cards = {net.card(number) for net in (PRIVATE, PUBLIC) for number in (11, 12)}
    assert len(cards) == 4
    assert all(len(card) == len("02:00:00:00:00:00") for card in cards)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("sshd", "nft") else name)
    assert why_not() == "not installed: nftables openssh-server"


@pytest.mark.cluster
def test_nothing_is_left_when_it_is_interrupted(machine, tmp_path):  # noqa: ARG001
    with pytest.raises(KeyboardInterrupt), hosts(tmp_path, ["late"]) as found:
        raise KeyboardInterrupt
    assert found[0].processes() == []
    left = ip("-brief", "link")
    assert "tp-late" not in left.stdout
