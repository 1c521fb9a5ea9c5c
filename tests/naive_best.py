"""The nested choice of a source by plain loops."""

from __future__ import annotations

import numpy as np


def nested(sources, y, tests, score):
    """Choose inside the training rows of each fold; return the choices and the scores they report.

    ``score(x, y, train, test)`` gives the score of rows ``test`` from rows ``train``.
    """
    n, chosen, reported = len(y), [], []
    for f, test in enumerate(tests):
        inside = []
        for x in sources:
            found = []
            for g, other in enumerate(tests):
                if g != f:
                    train = [i for i in range(n) if i not in set(test) and i not in set(other)]
                    found.append(score(x, y, train, other))
            inside.append(np.mean(found))
        train = [i for i in range(n) if i not in set(test)]
        chosen.append(int(np.argmax(inside)))
        reported.append(score(sources[chosen[-1]], y, train, test))
    return chosen, reported


def inner_in_time(x, y, splits, score):
    """The score of one source inside the training rows of each fold of a recording, whose folds leave a gap.

    ``score(x, y, train, test, rows)`` knows the features of ``rows`` only.
    """
    inside = []
    for f, (rows, _) in enumerate(splits):
        found = []
        for g, (train, test) in enumerate(splits):
            train, test = [i for i in train if i in set(rows)], [i for i in test if i in set(rows)]
            if g != f and len(test) >= 3:
                found.append(score(x, y, train, test, rows))
        inside.append(np.mean(found))
    return inside


def nested_in_time(sources, y, splits, score):
    """The nested choice of a source for a recording; return the choices and the scores they report."""
    chosen = np.argmax([inner_in_time(x, y, splits, score) for x in sources], axis=0)
    every = np.arange(len(y))
    return chosen, [score(sources[k], y, train, test, every) for k, (train, test) in zip(chosen, splits, strict=True)]


def halved(sources, y, pairs, score, best=np.argmax):
    """Choose on one half of the rows, report on the other, both ways."""
    chosen, reported = [], []
    for first, second in pairs:
        for here, there in ((first, second), (second, first)):
            chosen.append(int(best([score(x[here], y[here]) for x in sources])))
            reported.append(score(sources[chosen[-1]][there], y[there]))
    return chosen, reported
