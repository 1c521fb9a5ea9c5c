"""The one place that owns threads: workers, and how many of the cores BLAS may use beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

from repcompare.engine.plan import Plan
from repcompare.engine.study import usable_cores

T = TypeVar("T")
R = TypeVar("R")
Map = Callable[[Callable[[T], R], Iterable[T]], list[R]]
LARGE_PRODUCT = 1e9  # flop


@contextmanager
def workers(plan: Plan) -> Iterator[Map[Any, Any]]:
    """Give a ``map`` that runs in ``n_jobs`` threads, with the cores shared out between them and BLAS.

    A single job leaves all cores to BLAS only where the products are large: on small ones its threads cost more than
    they bring (2 to 5 times, measured).  Limits that the user has set are never exceeded.
    """
    largest = max(2.0 * len(plan.stimuli) ** 2 * part.data.sizes["unit"] for part in plan.parts)
    with pool(plan.study.options.threads, large=largest > LARGE_PRODUCT) as each:
        yield each


@contextmanager
def pool(n_jobs: int, *, large: bool = False) -> Iterator[Map[Any, Any]]:
    """Give a ``map`` that runs in ``n_jobs`` threads; BLAS shares the cores with several, or where products are large."""
    allowed = min((lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"), default=1)
    share = max(1, usable_cores() // n_jobs) if n_jobs > 1 or large else 1
    with threadpool_limits(min(allowed, share), user_api="blas"):
        if n_jobs == 1:
            yield lambda function, items: [function(item) for item in items]
        else:
            with ThreadPoolExecutor(n_jobs) as threads:
                yield lambda function, items: list(threads.map(function, items))
