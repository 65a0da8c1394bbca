"""Prints its rank; with `fail RANK` that one ends with status 3, and the others wait for ever."""

import os
import sys
import time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
print(f"rank {rank} of {size}")
if "fail" in sys.argv:
    if rank == int(sys.argv[-1]):
        sys.exit(3)
    time.sleep(1000)
