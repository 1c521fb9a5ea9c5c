from __future__ import annotations

import pytest

from repcompare import errors
from repcompare.errors import OptionError, RepcompareError, UnknownMeasureError, choose, some, suggest


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.RepcompareError, 1),
        (errors.OptionError, 2),
        (errors.UnknownMeasureError, 2),
        (errors.SchemaError, 3),
        (errors.FormatError, 3),
        (errors.MeasureError, 3),
        (errors.AlignmentError, 4),
    ],
)
def test_exit_codes_of_the_command_line(kind, code):
    assert kind("what").exit_code == code
    assert issubclass(kind, RepcompareError)
    assert str(kind("what was found")) == "what was found"


def test_a_measure_error_names_the_stimuli_at_fault():
    assert errors.MeasureError("constant", rows=[2, 5]).rows == [2, 5]
    assert errors.MeasureError("constant").rows is None
    assert errors.MeasureError().rows is None


def test_options_are_value_errors_too():
    with pytest.raises(ValueError, match="no measure"):
        raise UnknownMeasureError("no measure 'ckaa'")
    assert isinstance(UnknownMeasureError("x"), errors.MeasureError)


def test_suggest_takes_the_nearest_name_or_lists_all():
    assert suggest("regoin", ["region", "layer"]) == "; did you mean 'region'?"
    assert suggest("zzz", ["region", "layer"]) == "; known: region, layer"
    assert suggest("x", []) == "; known: "
    assert suggest(3, [3, 4]) == "; did you mean '3'?"
    assert suggest("b", iter(["a", "c"])) == "; known: a, c"


@pytest.mark.parametrize(
    ("names", "limit", "text"),
    [
        ([], 5, ""),
        (["a"], 5, "'a'"),
        (["a", "b"], 2, "'a', 'b'"),
        (["a", "b", "c", "d"], 2, "'a', 'b' and 2 more"),
        (iter([1, 2]), 5, "'1', '2'"),
    ],
)
def test_some_names_the_first_and_counts_the_rest(names, limit, text):
    assert some(names, limit=limit) == text


def test_choose_names_option_value_and_menu():
    choose("exact", ("exact", "intersection"), "stimuli")
    choose(None, ("split_half", None), "ceiling")
    with pytest.raises(OptionError, match=r"^stimuli='exat' is not an option; did you mean 'exact'\?$"):
        choose("exat", ("exact", "intersection"), "stimuli")
    with pytest.raises(OptionError, match=r"^nan=7 is not an option; known: raise, pairwise$"):
        choose(7, ("raise", "pairwise"), "nan")
