"""Run a code block of a documentation page in a folder.

jax_page.py FOLDER BLOCK
"""

import os
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "scale" / "jax.md"

block = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[
    int(sys.argv[2])
]
os.chdir(sys.argv[1])
exec(compile(block, str(PAGE), "exec"), {"__name__": "__main__"})
