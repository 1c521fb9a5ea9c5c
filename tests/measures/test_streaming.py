"""Streaming CKA equals the batch, whatever the chunks, shifts and workers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcompare.errors import MeasureError
from repcompare.measures.cka import cka
from repcompare.measures.streaming import StreamingCKA


def systems(n=90, offset=0.0):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 3))
    return [z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)) + offset for p in (5, 3, 8)]


def batch(sources):
    measure = cka()
    states = [measure.prepare(x) for x in sources]
    return np.array([[measure.compare(a, b) for b in states] for a in states])


def stream(sources, cuts, **options):
    sums = StreamingCKA(tuple(x.shape[1] for x in sources), **options)
    edges = [0, *cuts, len(sources[0])]
    for start, stop in pairwise(edges):
        sums = sums.update([x[start:stop] for x in sources])
    return sums


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, 89), max_size=12))
def test_chunks_do_not_matter(cuts):
    sources = systems()
    np.testing.assert_allclose(stream(sources, sorted(cuts)).scores(), batch(sources), rtol=0, atol=1e-12)


def test_large_offsets_keep_their_digits():
    """Minibatch averages give .5575 for .5536 on the page's example; uncentred sums lose the digits of an offset."""
    far = systems(offset=1e4)
    np.testing.assert_allclose(stream(far, [30, 60]).scores(), batch(systems()), rtol=0, atol=1e-9)


def test_workers_add_up():
    sources = systems()
    first = stream([x[:40] for x in sources], [20])
    second = stream([x[40:] for x in sources], [10], shift=first.shift)
    np.testing.assert_allclose(first.merge(second).scores(), batch(sources), rtol=0, atol=1e-12)
    np.testing.assert_allclose(second.merge(first).scores(), batch(sources), rtol=0, atol=1e-12)
    empty = StreamingCKA(first.widths)
    assert empty.merge(first) is first
    with pytest.raises(MeasureError, match="different shifts"):
        first.merge(stream([x[40:] for x in sources], []))


def test_averaging_minibatches_is_another_number():
    sources = systems()
    parts = [batch([x[i : i + 15] for x in sources])[0, 1] for i in range(0, 90, 15)]
    assert abs(np.mean(parts) - batch(sources)[0, 1]) > 1e-3


def test_errors():
    sources = systems()
    sums = StreamingCKA((5, 3, 8))
    with pytest.raises(MeasureError, match="expected the same number of stimuli"):
        sums.update([sources[0][:10], sources[1][:9], sources[2][:10]])
    with pytest.raises(MeasureError, match=r"shapes \[\(90, 3\)"):
        sums.update([sources[1], sources[1], sources[2]])
    with pytest.raises(MeasureError, match="missing or infinite"):
        sums.update([x * np.nan for x in sources])
    with pytest.raises(MeasureError, match="3 stimuli; expected at least 4"):
        sums.update([x[:3] for x in sources]).scores()
    with pytest.raises(MeasureError, match="no variance"):
        StreamingCKA((5, 2)).update([sources[0], np.ones((90, 2))]).scores()
    with pytest.raises(MeasureError, match="expected the same sources"):
        sums.update(sources).merge(StreamingCKA((5,)).update([sources[0]]))
