"""The network of SASRec: a causal transformer over item vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INITIAL = 0.02  # standard deviation of vectors before training


class Block(nn.Module):
    """Self-attention on what came before and a network of two layers, norms first.

    Args:
        size: numbers of a state.
        heads: of the attention.
        dropout: share of a layer's result that is dropped in training.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(size), nn.LayerNorm(size)])
        self.ask = nn.Linear(size, 3 * size)
        self.mix = nn.Linear(size, size)
        self.forward_net = nn.Sequential(
            nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """States (B, L, size) to states of the same shape."""
        states = states + self.dropout(self._attention(self.norms[0](states)))
        return states + self.dropout(self.forward_net(self.norms[1](states)))

    def _attention(self, states: Tensor) -> Tensor:
        parts = self.ask(states).unflatten(2, (3, self.heads, -1))  # (B, L, 3, heads, size / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, L, size / heads) each
        found = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.mix(found.transpose(1, 2).flatten(2))  # (B, L, size)


class SASRecNetwork(nn.Module):
    """States after each item of a sequence; a state's dot products with items are logits.

    Sequences are padded behind: a state sees only what came before it, so what stands behind the
    last item touches nothing.

    Args:
        items: how many there are.
        size: numbers of a vector and a state.
        length: longest sequence.
        blocks: of the transformer.
        heads: of its attention.
        dropout: share of what is dropped in training.
    """

    def __init__(
        self, items: int, size: int, length: int, *, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.item = nn.Embedding(items, size, sparse=True)
        self.position = nn.Parameter(torch.randn(length, size) * INITIAL)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(size, heads, dropout) for _ in range(blocks)))
        self.norm = nn.LayerNorm(size)
        nn.init.normal_(self.item.weight, std=INITIAL)

    def forward(self, item: Tensor) -> Tensor:
        """States of sequences, (B, L) int64 to (B, L, size)."""
        place = self.position[: item.shape[1]]  # (L, size)
        return self.norm(self.blocks(self.dropout(self.item(item) + place)))
