"""What the ranker read of the candidates of one answer, kept to be compared later."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np
import torch
from msgspec import Struct

from tamis.features import Rows
from tamis.runtime import Float32, Int32
from tamis.schema import StoreError


class _StoredInputs(Struct, frozen=True):
    """Arrays as bytes in C order."""

    items: bytes
    ids: bytes
    dense: bytes


_DECODER = msgspec.msgpack.Decoder(_StoredInputs)


@dataclass(frozen=True, eq=False)
class RankerInputs:
    """The inputs of m candidates, in the order in which the ranker read them."""

    items: Int32
    """(m,) item rows in the version that answered."""
    ids: Int32
    """(m, W) as `Layout.ids` of the version names its columns."""
    dense: Float32
    """(m, D) as `Layout.dense` names them."""

    @classmethod
    def read(cls, rows: Rows, items: Int32) -> Self:
        """Gathers the inputs of rows, whose item rows are `items` (m,)."""
        batch = rows.take(torch.arange(len(rows)))
        return cls(items, batch.ids.numpy(), batch.dense.numpy())

    def encoded(self) -> bytes:
        """The inputs as compressed bytes."""
        stored = _StoredInputs(*(np.ascontiguousarray(a).tobytes() for a in self._arrays()))
        return zlib.compress(msgspec.msgpack.encode(stored), 1)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Opens what `encoded` made. Raises StoreError where it is damaged."""
        try:
            stored = _DECODER.decode(zlib.decompress(content))
            items = np.frombuffer(stored.items, np.int32)
            shape = (len(items), -1) if len(items) else (0, 0)
            return cls(
                items,
                np.frombuffer(stored.ids, np.int32).reshape(shape),
                np.frombuffer(stored.dense, np.float32).reshape(shape),
            )
        except (zlib.error, msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            raise StoreError(f"the inputs of the answer cannot be read: {error}") from error

    def _arrays(self) -> tuple[Int32, Int32, Float32]:
        return self.items, self.ids, self.dense
