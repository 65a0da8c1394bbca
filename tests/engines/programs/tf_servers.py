"""`ParameterServerStrategy`: rank 0 is the coordinator, 1 and 2 are workers, the rest servers.

`life FOLDER`, `lose FOLDER` or `resume FOLDER SECONDS`.
"""

import os
import sys
import time
from pathlib import Path

from tf_proxy import CountingProxy

RANK, PORTS = int(os.environ["RANK"]), os.environ["PORTS"].split(",")


def serve() -> None:
    """Serve the coordinator until it is done, and record how many bytes others fetched."""
    import tensorflow as tf

    # The other processes connect through the counting proxy.
    inner = os.environ["INNER_PORTS"].split(",")[RANK]
    proxy = CountingProxy(int(PORTS[RANK]), int(inner))
    ports = [f"127.0.0.1:{port}" for port in (*PORTS[:RANK], inner, *PORTS[RANK + 1 :])]
    cluster = tf.train.ClusterSpec({"chief": ports[:1], "worker": ports[1:3], "ps": ports[3:]})
    name, index = ("worker", RANK - 1) if RANK < 3 else ("ps", RANK - 3)
    server = tf.distribute.Server(cluster, name, index, protocol="grpc")
    print("serving", server.target, flush=True)
    folder = Path(sys.argv[2])
    while not (folder / "done").exists():
        (folder / f"writing-{RANK}").write_text(str(proxy.given))
        (folder / f"writing-{RANK}").rename(folder / f"{name}-{index}.given")
        time.sleep(0.05)


if __name__ == "__main__":
    if RANK:
        serve()
    else:
        from tf_coordinator import main

        main(sys.argv[1], Path(sys.argv[2]), PORTS, *sys.argv[3:])
        (Path(sys.argv[2]) / "done").touch()
    sys.stdout.flush()
    os._exit(0)  # TensorFlow would wait for processes that have ended
