"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, or the user's own callable."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from repcompare.engine.study import Progress

Tick = Callable[[str], None]
QUIET_SECONDS = 2.0  # runs shorter than this say nothing where there is no terminal
LINE_SECONDS = 60.0

log = logging.getLogger("repcompare.engine")


@contextmanager
def ticking(total: int, progress: Progress | bool | None) -> Iterator[Tick]:
    """Give a function to be called after each of ``total`` tasks, from any thread.

    Parameters
    ----------
    total : int
        Number of tasks.
    progress : callable, False or None
        ``(done, total, text)``, nothing, or a bar on stderr.
    """
    if progress is False:
        yield lambda text: None
    elif callable(progress):
        yield _Counter(total, progress)
    elif sys.stderr.isatty():
        with _bar(total) as show:
            yield _Counter(total, show)
    else:
        yield _Counter(total, _Lines())


class _Counter:
    """Counts tasks under a lock; an error in the callable is logged and does not stop the run."""

    def __init__(self, total: int, show: Progress) -> None:
        self.total, self.show, self.done = total, show, 0
        self.lock = threading.Lock()

    def __call__(self, text: str) -> None:
        with self.lock:
            self.done += 1
            try:
                self.show(self.done, self.total, text)
            except Exception:
                log.exception("progress callable failed")


class _Lines:
    """A line per tenth of the work and at least one a minute, once the run has lasted a moment."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.tenth = 0

    def __call__(self, done: int, total: int, text: str) -> None:
        now, tenth = time.monotonic(), 10 * done // total
        due = tenth > self.tenth or now - self.last > LINE_SECONDS
        if due and now - self.start > QUIET_SECONDS:
            print(f"{done}/{total} tasks after {now - self.start:.0f} s: {text}", file=sys.stderr, flush=True)
            self.last, self.tenth = now, tenth


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, total, text: bar.update(task, completed=done, description=text[:40])
