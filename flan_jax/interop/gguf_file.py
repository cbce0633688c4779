"""GGUF files: what is in them, and how they are written. Which tensor means what is `gguf`'s business.

Format: the GGUF specification of ggml, versions 2 and 3, little-endian. A file is mapped, never read as a whole.
"""

import dataclasses
import math
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.data import gguf_tokenizer
from flan_jax.interop import gguf_blocks
from flan_jax.interop.gguf_blocks import Kind

ALIGNMENT = 32  # bytes, where `general.alignment` says nothing else
DIMENSIONS = 4  # at most, of a tensor
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # types of metadata


@dataclasses.dataclass(frozen=True)
class Entry:
    """One piece of metadata.

    Attributes:
      value: number, text, or list.
      packed: its type and value as they stand in the file; copied where it goes into another.
    """

    value: Any
    packed: bytes


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where a tensor lies and how it is stored.

    Attributes:
      name: in the file.
      shape: rows first, as everywhere but in the file.
      kind: of its numbers.
      start: first byte in the file.
      blocks: its blocks, mapped: `kind.layout`[rows, blocks a row]; rows are all axes but the last.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    start: int
    blocks: np.ndarray

    def read(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Some rows as f32[rows, last axis]; of a vector, the one row that it is."""
        return gguf_blocks.decode(self.blocks[rows], self.kind)


@dataclasses.dataclass(frozen=True)
class GGUF:
    """An opened file.

    Attributes:
      path: of it.
      entries: metadata by name.
      tensors: by name.
    """

    path: str
    entries: Mapping[str, Entry]
    tensors: Mapping[str, Tensor]

    def value(self, name: str, default: Any = None) -> Any:
        """A piece of metadata.

        Raises:
          CheckpointError: it is missing, and there is no default.
        """
        if name in self.entries:
            return self.entries[name].value
        if default is None:
            raise errors.CheckpointError(f'{self.path} has no {name!r} in its metadata; fetch another conversion')
        return default

    def tensor(self, name: str) -> Tensor:
        """One tensor.

        Raises:
          CheckpointError: it is missing.
        """
        if name not in self.tensors:
            raise errors.CheckpointError(
                f'{self.path} has no tensor {name!r}{errors.near(name, self.tensors)}; fetch it again'
            )
        return self.tensors[name]


def read(path: str) -> GGUF:
    """Opens a file: metadata and the places of tensors, whose bytes stay on disk until they are asked for.

    Raises:
      CheckpointError: no such file, no GGUF file, an unknown version, one part of several, cut off, or with a tensor of
        an unknown kind or outside the file.
    """
    if not os.path.isfile(path):
        raise errors.CheckpointError(f'{path}: no such file')
    try:
        with open(path, 'rb') as file:
            if (magic := file.read(4)) != b'GGUF':
                raise errors.CheckpointError(f'{path} is no GGUF file: it begins with {magic!r}, not with GGUF')
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as e:
        raise errors.CheckpointError(f'{path} cannot be read: {e.strerror}') from None
    cursor = gguf_tokenizer.Cursor(data)
    cursor.at = 4
    try:
        version = cursor.number('I')
        if version not in (2, 3):
            raise ValueError(f'its version is {version}, known are 2 and 3 in little-endian order')
        tensors, entries = cursor.number('Q'), cursor.number('Q')
        metadata = dict(_entry(cursor) for _ in range(entries))
        infos = [_info(cursor) for _ in range(tensors)]
    except (ValueError, struct.error, MemoryError, OverflowError, RecursionError) as e:
        raise errors.CheckpointError(f'{path} cannot be read as GGUF: {e}; fetch it again') from e
    if 'split.count' in metadata and metadata['split.count'].value > 1:
        raise errors.CheckpointError(
            f'{path} is one of {metadata["split.count"].value} parts of a model; join them with '
            'llama-gguf-split --merge'
        )
    alignment = metadata['general.alignment'].value if 'general.alignment' in metadata else ALIGNMENT
    if not isinstance(alignment, int) or alignment < 1:
        raise errors.CheckpointError(f'{path}: its general.alignment={alignment!r} is no number of bytes')
    start = _aligned(cursor.at, alignment)
    found: dict[str, Tensor] = {}
    for name, shape, number, offset in infos:
        if name in found:
            raise errors.CheckpointError(f'{path} holds two tensors named {name!r}; fetch it again')
        kind = gguf_blocks.kind(number, tensor=name, path=path)
        found[name] = _tensor(data, path, name=name, shape=shape, kind=kind, start=start + offset)
    return GGUF(path, metadata, found)


def _entry(cursor: gguf_tokenizer.Cursor) -> tuple[str, Entry]:
    name, start = cursor.text(), cursor.at
    value = cursor.value(cursor.number('I'))
    return name, Entry(value, cursor.data[start : cursor.at])


def _info(cursor: gguf_tokenizer.Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, kind and offset of a tensor."""
    name, dimensions = cursor.text(), cursor.number('I')
    if not 1 <= dimensions <= DIMENSIONS:
        raise ValueError(f'tensor {name!r} has {dimensions} dimensions')
    shape = tuple(cursor.number('Q') for _ in range(dimensions))[::-1]  # the file has the innermost first
    return name, shape, cursor.number('I'), cursor.number('Q')


def _tensor(data: mmap.mmap, path: str, *, name: str, shape: tuple[int, ...], kind: Kind, start: int) -> Tensor:
    count = math.prod(shape)
    if not count or shape[-1] % kind.width:
        raise errors.CheckpointError(
            f'{path}: tensor {name} of shape {shape} is not made of whole {kind.name} blocks of {kind.width}'
        )
    end = start + count // kind.width * kind.layout.itemsize
    if end > len(data):
        raise errors.CheckpointError(
            f'{path}: tensor {name} {shape} in {kind.name} ends at byte {end:,}, the file at {len(data):,}; it is cut '
            'off or damaged, fetch it again'
        )
    blocks = np.frombuffer(data, kind.layout, count // kind.width, start)
    return Tensor(name, shape, kind, start, blocks.reshape(count // shape[-1], shape[-1] // kind.width))


def _aligned(at: int, alignment: int) -> int:
    """
    >>> _aligned(33, 32), _aligned(64, 32)
    (64, 64)
    """
    return -(-at // alignment) * alignment


def packed(value: Any) -> bytes:
    """A piece of metadata the way it stands in a file, its type first.

    >>> packed(7).hex(), packed(True).hex()
    ('0400000007000000', '0700000001')
    """
    number, data = _typed(value)
    return struct.pack('<I', number) + data


def _typed(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return _BOOL, struct.pack('<?', value)
        case int():
            return (_UINT32, struct.pack('<I', value)) if value >= 0 else (_INT32, struct.pack('<i', value))
        case float():
            return _FLOAT32, struct.pack('<f', value)
        case str():
            return _STRING, _text(value)
        case list() if all(isinstance(item, str) for item in value):  # merges, of which there may be none
            return _ARRAY, struct.pack('<IQ', _STRING, len(value)) + b''.join(map(_text, value))
        case list() if value and all(isinstance(item, int) for item in value):
            return _ARRAY, struct.pack('<IQ', _INT32, len(value)) + np.array(value, '<i4').tobytes()
        case list() if value and all(isinstance(item, float) for item in value):
            return _ARRAY, struct.pack('<IQ', _FLOAT32, len(value)) + np.array(value, '<f4').tobytes()
    raise errors.CheckpointError(f'GGUF metadata cannot hold {str(value)[:60]!r}')


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack('<Q', len(data)) + data


@dataclasses.dataclass(frozen=True)
class Written:
    """A tensor to be written.

    Attributes:
      name: in the file.
      shape: rows first.
      kind: how its numbers are stored.
      make: gives it, f32 of that shape; called when its turn comes.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    make: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) // self.kind.width * self.kind.layout.itemsize


def write(path: str, entries: Mapping[str, bytes], *, tensors: Iterable[Written]) -> None:
    """Writes a file, one tensor in memory at a time; under its name only when it is whole.

    Args:
      path: where; replaced if it is there.
      entries: metadata, `packed`.
      tensors: in their order in the file.

    Raises:
      CheckpointError: a tensor has not the shape it was announced with, or the file cannot be written.
    """
    tensors = list(tensors)
    head = struct.pack('<4sIQQ', b'GGUF', 3, len(tensors), len(entries))
    head += b''.join(_text(name) + value for name, value in entries.items())
    at = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        head += _text(tensor.name) + struct.pack(f'<I{len(dimensions)}Q', len(dimensions), *dimensions)
        head += struct.pack('<IQ', tensor.kind.number, at)
        at = _aligned(at + tensor.size, ALIGNMENT)
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'wb') as file:
            file.write(head.ljust(_aligned(len(head), ALIGNMENT), b'\0'))
            for tensor in tensors:
                file.write(_bytes(tensor, path))
                file.write(bytes(_aligned(tensor.size, ALIGNMENT) - tensor.size))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as e:
        raise errors.CheckpointError(f'{path} cannot be written: {e}') from e
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _bytes(tensor: Written, path: str) -> memoryview:
    made = np.asarray(tensor.make(), np.float32)
    if made.shape != tensor.shape:
        raise errors.CheckpointError(f'{path}: tensor {tensor.name} has shape {made.shape}, not {tensor.shape}')
    blocks = gguf_blocks.encode(made.reshape(-1, tensor.shape[-1]), tensor.kind)
    return memoryview(np.ascontiguousarray(blocks).view(np.uint8).reshape(-1))
