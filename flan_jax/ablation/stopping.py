"""Being told to stop, for engines whose work goes on in other processes."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def told(tell: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C tell once; the second time they do what they did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame) -> None:
        restore()
        tell()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
