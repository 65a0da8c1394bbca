"""The tensors of a `.safetensors` file and where they lie, as its header of JSON says."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import IO, Any

from frostline._errors import FileError
from frostline._files.hdf5 import Variable
from frostline._files.sources import Bytes, dtype_named

DELTA = "frostline_delta"  # in the metadata of a file that holds one
_LONGEST = 100_000_000  # bytes of a header, as in the format's own library
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


def contents_of(path: Path, file: IO[bytes]) -> tuple[list[Variable], dict[str, Any]]:
    """Every tensor of the file, in the order of its header, and what that says beside them."""
    header, start, end = _header(path, file)
    tensors = [
        _tensor(path, file, name, entry, start, end)
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    held = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
    if held != end - start:
        raise _broken(path, f"{end - start} bytes after the header for {held} of tensors")
    metadata = header.get("__metadata__")
    return tensors, metadata if isinstance(metadata, dict) else {}


def _header(path: Path, file: IO[bytes]) -> tuple[dict[str, Any], int, int]:
    end = file.seek(0, 2)
    file.seek(0)
    length = struct.unpack("<Q", file.read(8))[0] if end >= 8 else 0
    if not 2 <= length <= min(_LONGEST, end - 8):
        raise _broken(path, f"a header of {length} bytes in a file of {end}")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"a header that is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise _broken(path, f"a header that is a {type(header).__name__}")
    return header, 8 + length, end


def _tensor(path: Path, file: IO[bytes], name: str, entry: Any, start: int, end: int) -> Variable:
    try:
        code, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        shape = tuple(int(n) for n in shape)
        first, last = int(first), int(last)
    except (KeyError, TypeError, ValueError):
        raise _broken(path, f"no dtype, shape and place of {name!r}") from None
    if code not in _DTYPES:
        raise FileError(
            f"{path}: {name}: a dtype that is not known here; got dtype={code!r}. "
            f"Known are {', '.join(_DTYPES)}."
        )
    dtype = dtype_named(_DTYPES[code])
    if min(shape, default=0) < 0 or last - first != math.prod(shape) * dtype.itemsize:
        raise _broken(path, f"{last - first} bytes for {name!r} of shape {shape} and {code}")
    if first < 0 or start + last > end:
        raise _broken(path, f"{name!r} at bytes {start + first} to {start + last} of {end}")
    return Variable(name, shape, dtype, Bytes(file, f"{path}: {name}", start + first, dtype))


def _broken(path: Path, got: str) -> FileError:
    return FileError(
        f"{path}: not a whole .safetensors file; got {got}. "
        "It may have been cut off while it was copied: take it from its source again."
    )
