"""The connection to a Ray cluster: quick to say that there is none, and quiet while there is one."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from typing import Any

CONNECT_S = 5.0


class BadCluster(Exception):
    """The cluster cannot be used; the message says why and what to do."""


def connected(address: str) -> tuple[Any, bool]:
    """Ray, connected to the cluster, and whether it was not before; raises BadCluster."""
    try:
        import ray
    except ImportError as error:
        raise BadCluster("--cluster needs Ray, which is not installed: pip install 'farkas[ray]'") from error
    if ray.is_initialized():
        return ray, False
    _require_answer(address)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ImportError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        raise BadCluster(f"--cluster {address}: there is no connection: {error}") from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)  # Ray has taken it
    return ray, True


def _require_answer(address: str) -> None:
    """That somebody listens there, for Ray tries for minutes; raises BadCluster."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # `auto`, or words of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise BadCluster(f"--cluster {address}: there is no connection: {error}") from error
