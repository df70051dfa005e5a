"""Spark's ``xxhash64`` of text, over Arrow arrays, for tasks that read files by themselves.

A user's bucket, fold and place in validation follow from hashes that other parts of a job take in
Spark, so both have to be the same to the bit. xxHash, Collet 2012-2021: https://xxhash.com
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

SEED = 42  # where Spark begins
P1, P2, P3, P4, P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
LANES, WORD, HALF = 4, 8, 4  # lanes of a stripe; bytes of a word and of half a word
STRIPE = LANES * WORD
AT_ONCE = 8_192  # texts whose state stays in a core's cache; more take twice as long


def xxhash64(texts: pa.Array, *before: str) -> np.ndarray:
    """``F.xxhash64(F.lit(before), ..., texts)``, (N,) int64; a null leaves the hash as it was.

    Args:
        texts: (N,) string, without an offset of its own or with one.
        before: what is hashed first, the same for all.
    """
    seed = np.uint64(SEED)
    for text in before:
        seed = _hashed(pa.array([text]), seed)[0]
    return _hashed(texts, seed).view(np.int64)


def _hashed(texts: pa.Array, seed: np.uint64) -> np.ndarray:
    """Texts of one length are hashed together, (N,) uint64."""
    _, ends, held = texts.buffers()
    bounds = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    low, high = int(bounds[0]), int(bounds[-1])
    data = np.zeros(high - low + WORD, np.uint8)  # room for a word that begins at the last byte
    if high > low:
        data[: high - low] = np.frombuffer(held, np.uint8)[low:high]
    start, length = bounds[:-1].astype(np.int64) - low, np.diff(bounds)
    found = np.empty(len(texts), np.uint64)
    with np.errstate(over="ignore"):  # it is arithmetic modulo 2^64
        for size in np.unique(length):
            rows = np.flatnonzero(length == size)
            for begin in range(0, len(rows), AT_ONCE):
                some = rows[begin : begin + AT_ONCE]
                found[some] = _of_length(data, start[some], int(size), seed)
    if texts.null_count:
        found[texts.is_null().to_numpy(zero_copy_only=False)] = seed
    return found


def _of_length(data: np.ndarray, start: np.ndarray, size: int, seed: np.uint64) -> np.ndarray:
    words = np.ndarray(len(data) - WORD + 1, "<u8", data, strides=(1,))  # one at every byte
    whole = size - size % STRIPE
    state = _stripes(words, start, whole, seed) if whole else np.full(len(start), seed + P5)
    state += np.uint64(size)
    at = whole
    while at + WORD <= size:
        state ^= _round(np.zeros_like(state), words[start + at])
        state = _turned(state, 27) * P1 + P4
        at += WORD
    if at + HALF <= size:
        state ^= (words[start + at] & np.uint64(0xFFFFFFFF)) * P1
        state = _turned(state, 23) * P2 + P3
        at += HALF
    for place in range(at, size):
        state ^= data[start + place].astype(np.uint64) * P5
        state = _turned(state, 11) * P1
    return _mixed(state)


def _stripes(words: np.ndarray, start: np.ndarray, whole: int, seed: np.uint64) -> np.ndarray:
    begins = (seed + P1 + P2, seed + P2, seed, seed - P1)
    lanes = [np.full(len(start), begin) for begin in begins]
    for at in range(0, whole, STRIPE):
        lanes = [_round(lane, words[start + at + WORD * place]) for place, lane in enumerate(lanes)]
    turns = (1, 7, 12, 18)
    state = np.sum([_turned(lane, by) for lane, by in zip(lanes, turns, strict=True)], axis=0)
    for lane in lanes:
        state = (state ^ _round(np.zeros_like(lane), lane)) * P1 + P4
    return state


def _round(lane: np.ndarray, word: np.ndarray) -> np.ndarray:
    return _turned(lane + word * P2, 31) * P1


def _turned(values: np.ndarray, by: int) -> np.ndarray:
    return (values << np.uint64(by)) | (values >> np.uint64(64 - by))


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(33))) * P2
    state = (state ^ (state >> np.uint64(29))) * P3
    return state ^ (state >> np.uint64(32))
