"""The safetensors format, read and written a tensor at a time.

A file is eight bytes with the length of a JSON header, the header ({name: dtype, shape, data_offsets}), and the data.
Nothing in it can run, unlike a pickle; what does not add up is refused before any number is read.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from flan_jax import errors

DTYPES = {
    'F32': np.dtype(np.float32),
    'F16': np.dtype(np.float16),
    'BF16': np.dtype(ml_dtypes.bfloat16),
    'F64': np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
PIECE = 64 * 2**20  # bytes handed to the system at once


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
      name: in the file.
      file: path.
      dtype: one of `DTYPES`, or as the file says if it is none of them.
      shape: of the whole tensor.
      start: its first byte in the file.
    """

    name: str
    file: pathlib.Path
    dtype: np.dtype | str
    shape: tuple[int, ...]
    start: int

    def rows(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Entries `first` to `last` of the leading axis; nothing else is read.

        Raises:
          CheckpointError: the numbers are of a type that is no float, or the file has become shorter.
        """
        if isinstance(self.dtype, str):
            raise errors.CheckpointError(
                f'{self.file}: tensor {self.name!r} is of type {self.dtype}; only {", ".join(DTYPES)} can be read'
            )
        last = self.shape[0] if last is None else last
        inner = math.prod(self.shape[1:])
        out = np.empty((last - first, *self.shape[1:]), self.dtype)
        with _opened(self.file) as file:
            file.seek(self.start + first * inner * self.dtype.itemsize)
            if file.readinto(out.reshape(-1).view(np.uint8)) != out.nbytes:
                raise errors.CheckpointError(f'{self.file}: the file ends inside tensor {self.name!r}')
        return out


def read(file: pathlib.Path) -> dict[str, Stored]:
    """The tensors of a file by name, without their numbers.

    Raises:
      CheckpointError: the file is missing, or is no whole safetensors file; names the tensor that does not fit.
    """
    if not file.is_file():
        raise errors.CheckpointError(f'{file} is missing')
    size = file.stat().st_size
    with _opened(file) as opened:
        length = int.from_bytes(opened.read(8), 'little')
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise errors.CheckpointError(
                f'{file} is no whole safetensors file: {size} bytes, and a header that should have {length}'
            )
        try:
            header = json.loads(opened.read(length))
        except ValueError as error:
            raise errors.CheckpointError(f'{file} is no safetensors file: its header is no JSON ({error})') from None
    if not isinstance(header, dict):
        raise errors.CheckpointError(f'{file} is no safetensors file: its header is no mapping')
    header.pop('__metadata__', None)
    return {name: _stored(name, entry, file=file, data=8 + length, size=size) for name, entry in header.items()}


def _opened(file: pathlib.Path) -> BinaryIO:
    try:
        return open(file, 'rb')
    except OSError as error:
        raise errors.CheckpointError(f'{file} cannot be read: {error.strerror}') from None


def _stored(name: str, entry: Any, *, file: pathlib.Path, data: int, size: int) -> Stored:
    try:
        shape, (first, last) = tuple(map(int, entry['shape'])), map(int, entry['data_offsets'])
        dtype = DTYPES.get(entry['dtype'], str(entry['dtype']))
    except (TypeError, KeyError, ValueError):
        raise errors.CheckpointError(f'{file}: the header entry of tensor {name!r} is broken: {entry!r}') from None
    if data + last > size or first < 0:
        raise errors.CheckpointError(
            f'{file} is cut off: tensor {name!r} ends at byte {data + last}, the file at {size}; fetch it again'
        )
    expected = None if isinstance(dtype, str) else math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or last < first or expected not in (None, last - first):
        raise errors.CheckpointError(
            f'{file}: tensor {name!r} of shape {list(shape)} and type {entry["dtype"]} should have {expected} bytes, '
            f'has {last - first}'
        )
    return Stored(name, file, dtype, shape, data + first)


def write(
    file: pathlib.Path,
    tensors: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]],
    *,
    dtype: np.dtype | type,
) -> None:
    """Writes tensors one after the other.

    Args:
      file: path; synced when this returns.
      tensors: name -> shape, and a function that makes the tensor when its turn comes.
      dtype: of all of them.
    """
    dtype, header, at = np.dtype(dtype), {'__metadata__': {'format': 'pt'}}, 0
    for name, (shape, _) in tensors.items():
        size = math.prod(shape) * dtype.itemsize
        header[name] = {'dtype': NAMES[dtype], 'shape': list(shape), 'data_offsets': [at, at + size]}
        at += size
    encoded = json.dumps(header, separators=(',', ':')).encode()
    encoded += b' ' * (-len(encoded) % 8)  # the data begin at a multiple of eight
    with open(file, 'wb') as opened:
        opened.write(len(encoded).to_bytes(8, 'little') + encoded)
        for name, (shape, make) in tensors.items():
            value = np.ascontiguousarray(make(), dtype)
            if value.shape != tuple(shape):
                raise ValueError(f'{name} has shape {value.shape}, not {shape}')
            flat = value.reshape(-1).view(np.uint8)
            for first in range(0, flat.size, PIECE):
                opened.write(flat[first : first + PIECE].data)
        opened.flush()
        os.fsync(opened.fileno())
