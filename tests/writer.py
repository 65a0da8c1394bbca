"""Write a file repeatedly until killed: `python writer.py SOURCE FILE [PAUSE]`.

It prints a line after each file. With PAUSE it writes one file and stops in the middle of it until
its input ends. It skips the package's `__init__`, which imports Keras.
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

from frostline._writing import replacing  # noqa: E402  # from the stub package above

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
