"""Run the notebooks of `examples/` and store their outputs: `python tests/notebooks.py`.

`KERAS_BACKEND` sets the backend; the default is JAX.
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
# Lines that TensorFlow's native code logs on import; they are not Python warnings.
_LOG = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} ")


def executed(path: pathlib.Path, folder: pathlib.Path) -> Any:
    """Run a notebook from top to bottom in a new kernel and return it.

    Args:
        path: The notebook; the file is not changed.
        folder: The working directory of the kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Unix sockets, in a folder with a short path, instead of open ports.
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
    """Run each notebook and store its outputs in it."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, pathlib.Path(folder))
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
