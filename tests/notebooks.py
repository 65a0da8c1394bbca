"""Run the notebooks of `examples/` and store what they print: `python tests/notebooks.py`.

`KERAS_BACKEND` picks the backend, JAX where none is set.
"""

from __future__ import annotations

import os
import pathlib
import re
import tempfile
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("*.ipynb"))
# What TensorFlow's native code logs when it is imported: no warning of anybody's Python.
_LOG = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} ")


def executed(path: pathlib.Path, folder: pathlib.Path) -> Any:
    """The notebook after a run from top to bottom, in a kernel of its own.

    Args:
        path: The notebook; it is left as it is.
        folder: Where its kernel works: what it writes is written there.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Over sockets in the file system, whose paths are short everywhere: no port is opened.
    with tempfile.TemporaryDirectory() as sockets:
        transport = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": transport}),
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_log(output)]
    return notebook


def _is_log(output: Any) -> bool:
    if output.output_type != "stream" or output.name != "stderr":
        return False
    return all(_LOG.match(line) for line in output.text.splitlines() if line)


def main() -> None:
    """Run each notebook, and store its outputs in it."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, pathlib.Path(folder))
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
