"""The sizes of one draw of a learning curve: all training sets are unions of the same pieces of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repcompare.measures._measure import Array, Folds
from repcompare.measures.encoding._factor import Gram
from repcompare.measures.encoding._layout import plan_layout
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import Mask, Plan
from repcompare.measures.encoding._scores import Scored
from repcompare.measures.encoding._search import BATCH_BYTES, Source, fill, make_problem, problem_bytes
from repcompare.measures.encoding._select import FoldScores
from repcompare.measures.encoding._stream_plan import MOST_WIDTH
from repcompare.measures.encoding._stream_solve import Batch, solve_batch
from repcompare.measures.encoding._stream_sums import SourceSums, TargetSums
from repcompare.measures.encoding._subsets import batches, joined
from repcompare.measures.encoding._target import make_target
from repcompare.measures.encoding.ridge import CACHE_BYTES

LONG = 2  # test sets of this many rows per feature are scored from their sums, shorter ones from predictions


@dataclass(frozen=True)
class Data:
    """Both sides: the source as ridge prepares it and as it is (n, p), and the target (n, n_units)."""

    gram: Gram
    x: Array
    y: Array


@dataclass(frozen=True)
class Solved:
    """Scores and penalties of one size, and flags (2, n_folds, n_units) of units that are constant in training, in tests."""

    scored: Scored
    constant: Mask


def solve(data: Data, plans: Sequence[Plan], folds: Folds, options: Options) -> Iterator[Solved]:
    """Choose penalties and score every plan, as many together as fit in memory."""
    summed = sums_pay(data.gram, plans, options)
    costs = [_sums_bytes(data.gram, plan) if summed else problem_bytes(data.gram, plan) for plan in plans]
    budget = CACHE_BYTES if options.alpha_per_unit else 0  # units choose together within a size, not over sizes
    for some in batches(costs, budget):
        plan, k = joined(plans[some]), len(folds)
        found = (_from_sums if summed else _from_rows)(data, plan, folds, options)
        for start in range(0, plan.n_folds, k):
            yield _part(found, slice(start, start + k))


def sums_pay(gram: Gram, plans: Sequence[Plan], options: Options) -> bool:
    """Whether sums over pieces alone give everything, at less cost than predictions of the test rows."""
    if options.refine or options.select_by != "error" or not options.alpha_per_unit:
        return False
    tasks = [task for plan in plans for task in (*plan.outer, *plan.inner)]
    tests = [rows.size for task in tasks for _, rows in task.tests]
    return bool(gram.p <= min(task.train.size for task in tasks) and np.mean(tests) >= LONG * gram.p)


def _sums_bytes(gram: Gram, plan: Plan) -> float:
    return 8.0 * plan.n_folds * gram.p**2


def _from_rows(data: Data, plan: Plan, folds: Folds, options: Options) -> Solved:
    """Factorise all training sets, then predict the test rows."""
    own = replace(folds, splits=tuple((task.train, task.tests[0][1]) for task in plan.outer))
    target = make_target(data.y, own)
    scored = Scored.empty(plan.n_folds, data.y.shape[1])
    fill(scored, Source(data.gram, plan, make_problem(data.gram, plan, options), own), target, options)
    return Solved(scored, np.stack([target.constant_train, target.constant_test]))


def _from_sums(data: Data, plan: Plan, folds: Folds, options: Options) -> Solved:
    """Read the rows once, whatever the number of training and test sets."""
    (n, p), t = data.x.shape, data.y.shape[1]
    layout, every = plan_layout(plan, n), np.arange(n)
    source = SourceSums(data.x, layout)
    source.add(data.x, every)
    source.close()
    x = source.prepared(data.x, np.float64)
    scored, constant = Scored.empty(plan.n_folds, t), np.zeros((2, plan.n_folds, t), dtype=bool)
    per_unit = 8 * (layout.member.shape[1] * p + plan.n_folds * (options.alphas.size + 8) + 6 * p)
    size = max(1, BATCH_BYTES // per_unit)
    for units in (slice(i, min(i + size, t)) for i in range(0, t, size)):
        y = data.y[:, units]
        target = TargetSums(y, p, layout, np.float64, MOST_WIDTH)
        target.add(x, y, every)
        batch = Batch(source, target, plan, options)
        constant[:, :, units] = batch.constant
        solve_batch(batch, scored, units, lambda text: None)
    return Solved(scored, constant)


def _part(found: Solved, folds: slice) -> Solved:
    """Return the results of some folds."""
    names = ("used", "chosen", "alphas", "relative")
    scores = FoldScores(*(values[folds] for values in vars(found.scored.folds).values()))
    own = {name: getattr(found.scored, name)[folds] for name in names}
    return Solved(Scored(scores, **own, final=found.scored.final), found.constant[:, folds])
