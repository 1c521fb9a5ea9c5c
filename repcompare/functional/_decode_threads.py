"""Sets of labels shared out between threads, where every set is fitted by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from repcompare.errors import OptionError
from repcompare.measures.decoding.crossvalidate import Scores, Task

PIECE = 64  # sets of labels; not a share per thread, so that rounding does not depend on their number


def checked_jobs(n_jobs: int) -> int:
    """Return a number of threads, or raise."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs < 1:
        raise OptionError(f"n_jobs={n_jobs!r}; expected a whole number of threads, 1 or more")
    return int(n_jobs)


def in_threads(run: Callable[[Task], Scores], task: Task, n_jobs: int) -> Scores:
    """Decode the sets of labels of a task in threads; the numbers are those of one thread.

    Models whose one fit serves all sets run in this thread: pieces would each make that fit again.
    """
    if task.model.shares_fits or len(task.codes) <= PIECE:
        return run(task)
    pieces = [replace(task, codes=task.codes[i : i + PIECE]) for i in range(0, len(task.codes), PIECE)]
    if n_jobs == 1:
        found = [run(piece) for piece in pieces]
    else:
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_jobs) as pool:
            found = list(pool.map(run, pieces))
    return replace(found[0], score=np.concatenate([scores.score for scores in found]))
