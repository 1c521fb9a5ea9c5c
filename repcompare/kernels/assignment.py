"""Optimal assignment of rows to columns: bids first, shortest augmenting paths for what is left (Jonker & Volgenant 1987).

Every column has a price, and a row gains ``weights[i, j] - price[j]`` by column j.  Throughout, no column without an owner
has a price above 0 unless all columns find owners (p = q), and every assigned row has the column that gains it most; when
all rows have one, the assignment is optimal.  Prices only steer the search: the weights are never rounded to a grid.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SHARE = 0.75  # of its largest weight that a row keeps at first: quicker than 0 for uneven rows, slower for even ones
LANES = 8  # entries that are looked at together
BIDS_PER_ROW = 1  # in each of two rounds; more of them settle few further rows


@njit(cache=True, nogil=True)
def two_best(row, price):  # type: ignore[no-untyped-def]
    """Return the column that gains the row (q,) most, that gain, the second column, and its gain (-inf where q = 1)."""
    best = second = -np.inf
    at = then = 0
    for j in range(row.size):
        gain = row[j] - price[j]
        if gain > second:
            if gain > best:
                second, then = best, at
                best, at = gain, j
            else:
                second, then = gain, j
    return at, best, then, second


@njit(cache=True, nogil=True)
def start_square(weights, price, owner, choice):  # type: ignore[no-untyped-def]
    """Price the columns of (p, p), and give each row one of the columns for which it offers most.

    A row keeps a share of its largest weight and offers the rest, so that heavy rows do not offer most everywhere.  The
    column's price then rises to where the row's second choice is as good.
    """
    p = len(weights)
    price[:] = -np.inf
    for i in range(p):
        row = weights[i]
        top = row[0]
        for j in range(1, p):
            if row[j] > top:
                top = row[j]
        for j in range(p):
            offer = row[j] - SHARE * top
            larger = offer > price[j]
            price[j] = offer if larger else price[j]
            owner[j] = i if larger else owner[j]
    for j in range(p - 1, -1, -1):
        if choice[owner[j]] < 0:
            choice[owner[j]] = j
        else:
            owner[j] = -1
    for i in range(p):
        if choice[i] >= 0 and p > 1:
            _, best, _, second = two_best(weights[i], price)
            price[choice[i]] += best - second


@njit(cache=True, nogil=True)
def bid(weights, i, price, owner, choice):  # type: ignore[no-untyped-def]
    """Give row i its best column, at a price where the second is as good; return who loses it (or -1), and if it rose."""
    j, best, then, second = two_best(weights[i], price)
    raised = price[j] + (best - second) if then != j else price[j]
    rose = raised > price[j]
    if rose:
        price[j] = raised
    elif owner[j] >= 0 and owner[then] < 0:  # a tie: take the one that nobody has
        j = then
    loser = owner[j]
    if loser >= 0:
        choice[loser] = -1
    owner[j], choice[i] = i, j
    return loser, rose


@njit(cache=True, nogil=True)
def bid_in_turn(weights, free, n_free, price, owner, choice):  # type: ignore[no-untyped-def]
    """Let the rows ``free[:n_free]`` bid, and at once whom they outbid; return how many remain, their names in front."""
    budget = BIDS_PER_ROW * len(weights)
    left = 0
    for k in range(n_free):
        i, going = free[k], budget > 0
        while going:
            i, rose = bid(weights, i, price, owner, choice)
            budget -= 1
            going = i >= 0 and rose and budget > 0
        if i >= 0:
            free[left] = i
            left += 1
    return left


@njit(cache=True, nogil=True)
def nearest(distance, least, owner):  # type: ignore[no-untyped-def]
    """Return the smallest distance and its column; of equals, one without an owner.

    ``distance`` (LANES m,) is padded with inf; ``least`` (m,) receives the smallest of every m-th entry, which the
    processor finds for several entries at once.
    """
    m = least.size
    low = np.inf
    for k in range(m):
        a = min(distance[k], distance[k + m])
        b = min(distance[k + 2 * m], distance[k + 3 * m])
        c = min(distance[k + 4 * m], distance[k + 5 * m])
        d = min(distance[k + 6 * m], distance[k + 7 * m])
        least[k] = min(min(a, b), min(c, d))
    for k in range(m):
        if least[k] < low:
            low = least[k]
    at = 0
    for k in range(m):
        if least[k] == low:
            for j in range(k, owner.size, m):
                if distance[j] == low:
                    at = j
                    if owner[j] < 0:
                        return low, at
    return low, at


@njit(cache=True, nogil=True)
def augment(weights, start, price, owner, choice):  # type: ignore[no-untyped-def]
    """Give row ``start`` a column by the chain of moves that loses least (Dijkstra's algorithm), and adapt the prices."""
    q = weights.shape[1]
    m = (q + LANES - 1) // LANES
    distance, least, done = np.full(LANES * m, np.inf), np.empty(m), np.zeros(q)
    came, order, reach = np.empty(q, np.intp), np.empty(q, np.intp), np.empty(q)
    i, count = start, 0
    base = two_best(weights[i], price)[1]
    while True:
        row = weights[i]
        for j in range(q):
            loss = base - (row[j] - price[j]) + done[j]
            nearer = loss < distance[j]
            distance[j] = loss if nearer else distance[j]
            came[j] = i if nearer else came[j]
        low, j = nearest(distance, least, owner)
        if owner[j] < 0:
            break
        order[count], reach[count], done[j], distance[j] = j, low, np.inf, np.inf
        count += 1
        i = owner[j]
        base = low + weights[i, j] - price[j]
    for k in range(count):
        price[order[k]] += low - reach[k]
    i = -1
    while i != start:
        i = came[j]
        owner[j] = i
        choice[i], j = j, choice[i]


@njit(cache=True, nogil=True)
def pair_off(weights, choice):  # type: ignore[no-untyped-def]
    """Write to ``choice`` (p,) the distinct columns whose summed ``weights`` (p, q), p <= q, all finite, is largest.

    Examples
    --------
    >>> choice = np.empty(2, np.intp)
    >>> pair_off(np.array([[3.0, 2.0, 0.0], [3.0, 0.0, 1.0]]), choice)
    >>> choice
    array([1, 0])
    """
    p, q = weights.shape
    price, owner = np.zeros(q), np.full(q, -1)
    choice[:] = -1
    if p == q:
        start_square(weights, price, owner, choice)
    free = np.empty(p, np.intp)
    n_free = 0
    for i in range(p):
        if choice[i] < 0:
            free[n_free] = i
            n_free += 1
    for _ in range(2):
        n_free = bid_in_turn(weights, free, n_free, price, owner, choice)
    for k in range(n_free):
        augment(weights, free[k], price, owner, choice)
