"""The port of the local cloud: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from threading import Thread

from parallelize.local.http import Connection, Handler
from parallelize.local.loopback import ADDRESS
from parallelize_core.errors import UsageError

PORT_FILE = "port"
BACKLOG = 1024


class Server:
    """Answers requests from `start` to `close`; the port is taken at construction.

    Without a port it takes the one that this state folder had before, if that is free, so that
    shells which were led there still are.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._socket = _bind(port) if port else _bind_again(folder / PORT_FILE)
        self.port: int = self._socket.getsockname()[1]
        (folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
        self._loop = asyncio.new_event_loop()
        self._thread: Thread | None = None

    def start(self, handler: Handler) -> None:
        """Serve."""
        self._thread = Thread(target=self._run, args=(handler,), name="server")
        self._thread.start()

    def close(self) -> None:
        """Stop serving; returns when nothing is answered any more."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._socket.close()

    def _run(self, handler: Handler) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            self._loop.create_server(
                lambda: Connection(handler), sock=self._socket, backlog=BACKLOG
            )
        )
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise UsageError(f"Port {port} is in use by another program", str(error)) from error


def _bind_again(port_file: Path) -> socket.socket:
    try:
        return _bind(int(port_file.read_text(encoding="ascii")))
    except (FileNotFoundError, ValueError, OverflowError, UsageError):
        return _bind(0)
