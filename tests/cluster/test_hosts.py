import time

import pytest

from cluster.exposure import answers
from cluster.hosts import addresses, filled
from cluster.net import nets
from schemas.errors import InputError

SERVES = "import socket, time; s = socket.create_server(('0.0.0.0', 9999)); time.sleep(600)"


def soon(moment) -> bool:
    give_up = time.monotonic() + 30
    while not (come := moment()) and time.monotonic() < give_up:
        time.sleep(0.05)
    return come


@pytest.fixture
def serving(two_hosts):
    """A host on which a process listens on every address."""
    two_hosts[0].start(f'python -c "{SERVES}"', two_hosts[0].folder / "serving.log")
    place = ("0.0.0.0", 9999)  # noqa: S104 - what is looked for
    assert soon(lambda: place in two_hosts[0].listeners())
    return two_hosts[0]


@pytest.mark.cluster
def test_a_host_has_a_name_processes_and_a_home_of_its_own(two_hosts):
    one, two = two_hosts
    assert one.run("hostname").split() == ["tp-one"]
    assert one.run("bash", "-c", "echo $HOME").split() == [str(one.home)]
    assert one.run("getent", "hosts", "tp-two").split()[0] == two.address
    assert any("sshd" in title for title in one.processes())
    two.start("sleep 77", two.folder / "sleep.log")
    assert soon(lambda: "sleep 77" in two.processes())
    assert "sleep 77" not in one.processes()


@pytest.mark.cluster
def test_only_ssh_answers_on_the_public_address(serving):
    assert answers(serving.address, 9999)
    assert not answers(serving.public_address, 9999)
    assert answers(serving.public_address, 22)


@pytest.mark.cluster
def test_a_host_that_was_cut_is_gone_until_it_is_booted(two_hosts):
    two = two_hosts[1]
    two.cut()
    assert two.processes() == []
    assert not answers(two.address, 22)
    two.boot(addresses(two_hosts))
    assert two.run("hostname").split() == ["tp-two"]


@pytest.mark.cluster
def test_a_second_run_is_told_to_wait(two_hosts):  # noqa: ARG001
    with pytest.raises(InputError, match="wait for its end"), nets():
        pass


def test_what_is_filled_in_has_to_be_there():
    assert filled("a CHANGE-ME", {"CHANGE-ME": "b"}) == "a b"
    with pytest.raises(InputError, match="no CHANGE-ME"):
        filled("a", {"CHANGE-ME": "b"})
