"""Writes one file again and again, until it is killed: `python writer.py SOURCE FILE [PAUSE]`.

A line is printed after each file, or with PAUSE in the middle of the first one, which goes on when
its input ends. Without the package's own `__init__`, which brings in Keras.
"""

import hashlib
import itertools
import os
import sys
import types
from pathlib import Path

package = types.ModuleType("frostline")
package.__path__ = [sys.argv[1]]
sys.modules["frostline"] = package

from frostline._writing import replacing  # noqa: E402  # of that package

for number in itertools.count():
    body = os.urandom(1 << 18) + str(number).encode()
    with replacing(Path(sys.argv[2])) as unfinished, open(unfinished, "wb") as file:
        file.write(hashlib.sha256(body).digest())
        for start in range(0, len(body), 1 << 12):
            file.write(body[start : start + (1 << 12)])
        if sys.argv[3:]:
            file.flush()
            print("paused", flush=True)
            sys.stdin.read()
    print("written", flush=True)
    if sys.argv[3:]:
        break
