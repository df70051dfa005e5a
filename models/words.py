"""Words of a table as columns of a group of the layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from models.layout import Group


def group_columns(column: pa.ChunkedArray, group: Group) -> np.ndarray:
    """The group's column for each text, (N,) int64, -1 where there is none."""
    values = column.combine_chunks()
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    words = group.index(encoded.dictionary.to_pylist())
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.append(words, -1)[indices]
