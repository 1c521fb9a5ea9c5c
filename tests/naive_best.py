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


def halved(sources, y, pairs, score, best=np.argmax):
    """Choose on one half of the rows, report on the other, both ways."""
    chosen, reported = [], []
    for first, second in pairs:
        for here, there in ((first, second), (second, first)):
            chosen.append(int(best([score(x[here], y[here]) for x in sources])))
            reported.append(score(sources[chosen[-1]][there], y[there]))
    return chosen, reported
