"""A proxy on a loopback port that counts bytes."""

from __future__ import annotations

import socket
import threading


class CountingProxy:
    """Forwards connections on `port` to `target` and counts the bytes that `target` sends.

    In TensorFlow, the process that needs a tensor fetches it from the process that holds it.
    """

    def __init__(self, port: int, target: int) -> None:
        self.given = 0
        self._lock = threading.Lock()
        self._target = ("127.0.0.1", target)
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            outside, _ = self._socket.accept()
            try:
                inside = socket.create_connection(self._target)
            except ConnectionRefusedError:
                outside.close()  # nothing listens yet; the client tries again
                continue
            for ends in ((outside, inside), (inside, outside)):
                counts = ends[0] is inside
                threading.Thread(target=self._pass_on, args=(*ends, counts), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while content := source.recv(1 << 20):
                if counts:
                    with self._lock:
                        self.given += len(content)
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end has closed the connection
