"""Print the rank; with `fail RANK`, exit with status 3 in that process and sleep in the others."""

import os
import sys
import time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
print(f"rank {rank} of {size}")
if "fail" in sys.argv:
    if rank == int(sys.argv[-1]):
        sys.exit(3)
    time.sleep(1000)
