import torch

from models.baselines.seeding import seeded


def test_seeding_is_repeated_and_leaves_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        one = torch.rand(3)
    with seeded(1):
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.rand(3), expected)
