"""The short form of ``python -m tests.fuzz``: damaged files give a value or one clear error, in time."""

from __future__ import annotations

import pytest

from tests.fuzz import FINE, trials
from tests.fuzz_files import MAKERS, known

COUNT = 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MAKERS)
def test_damage_is_refused_with_a_clear_message(name):
    if name not in known():
        pytest.skip(f"{name} needs {', '.join(MAKERS[name][0])}")
    results = dict(trials(name, list(range(COUNT))))
    worse = {seed: result for seed, result in results.items() if result not in FINE}
    assert not worse
    assert "refused" in results.values()  # the damage is real
