"""Read the JSON header of a `.safetensors` file: its tensors and their positions."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, Any

from frostline._arrays.pieces import shape_from
from frostline._errors import FileError
from frostline._files.boundary import CUT, check_room, parsed, reading
from frostline._files.hdf5 import Variable
from frostline._files.sources import Bytes, dtype_named

DELTA = "frostline_delta"  # key in the metadata of a delta file
_LONGEST = 100_000_000  # bytes of a header, as in the `safetensors` library
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
KNOWN = set(_DTYPES.values())


def contents_of(path: Path, file: IO[bytes]) -> tuple[list[Variable], dict[str, Any]]:
    """Every tensor of the file, in the order of the header, and the metadata."""
    with reading(path, "not a complete .safetensors file", CUT):
        header, start, end = _header(path, file)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise _broken(path, f"metadata of type {type(metadata).__name__}")
        tensors = [_tensor(path, file, name, entry, start, end) for name, entry in header.items()]
        place = 0
        for first, last, name in sorted((*header[n]["data_offsets"], n) for n in header):
            if first != place:
                raise _broken(path, f"{name!r} at byte {first} instead of byte {place}")
            place = last
    if place != end - start:
        raise _broken(path, f"{end - start} bytes after the header, {place} bytes of tensors")
    return tensors, metadata


def _header(path: Path, file: IO[bytes]) -> tuple[dict[str, Any], int, int]:
    end = file.seek(0, 2)
    file.seek(0)
    length = struct.unpack("<Q", file.read(8))[0] if end >= 8 else 0
    if not 2 <= length <= min(_LONGEST, end - 8):
        raise _broken(path, f"a header of {length} bytes in a file of {end}")
    with reading(path, "not a complete .safetensors file: its header is not JSON", CUT):
        rest = end - 8 - length
        check_room(length, rest)
        header = parsed(file.read(length), rest, strict=True)
    if not isinstance(header, dict):
        raise _broken(path, f"a header of type {type(header).__name__}")
    return header, 8 + length, end


def _tensor(path: Path, file: IO[bytes], name: str, entry: Any, start: int, end: int) -> Variable:
    try:
        code, shape = entry["dtype"], shape_from(entry["shape"])
        first, last = shape_from(entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise _broken(path, f"no dtype, shape or offsets of {name!r}") from None
    if not isinstance(code, str) or code not in _DTYPES:
        raise FileError(
            f"{path}: {name}: unknown dtype; got dtype={str(code)[:100]!r}. "
            f"Supported: {', '.join(_DTYPES)}."
        )
    dtype = dtype_named(_DTYPES[code])
    if last - first != math.prod(shape) * dtype.itemsize:
        raise _broken(path, f"{last - first} bytes for {name!r} of shape {shape} and {code}")
    if start + last > end:
        raise _broken(path, f"{name!r} at bytes {start + first} to {start + last} of {end}")
    return Variable(name, shape, dtype, Bytes(file, f"{path}: {name}", start + first, dtype))


def _broken(path: Path, got: str) -> FileError:
    return FileError(f"{path}: not a complete .safetensors file; got {got}. {CUT}")
