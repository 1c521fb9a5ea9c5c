"""The short form of ``python -m tests.fuzz``: damaged files give a value or one clear error, in time."""

from __future__ import annotations

import pytest

from tests.data_adapters.recordings.files import EVERY
from tests.fuzz import trials

COUNT = 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERY)
def test_damage_is_refused_with_a_clear_message(name):
    results = dict(trials(name, list(range(COUNT))))
    worse = {seed: result for seed, result in results.items() if result not in ("read", "refused")}
    assert not worse
    assert "refused" in results.values()  # the damage is real
