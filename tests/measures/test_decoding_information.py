"""Information between true and decoded classes: formulas by hand, its range, and its bias on noise."""

import numpy as np
import pytest

import repcompare as rc
from repcompare.measures.decoding._information import information_bias, plugin_information, possible


def naive_plugin(table):
    total = table.sum()
    found = 0.0
    for s in range(len(table)):
        for r in range(len(table)):
            if table[s, r]:
                p = table[s, r] / total
                found += p * np.log2(p / (table[s].sum() / total * (table[:, r].sum() / total)))
    return found


def naive_possible(counts, most):
    """The count of Panzeri & Treves 1996, section 4, one candidate at a time."""
    trials, came = counts.sum(), int((counts > 0).sum())
    distances = []
    for more in range(most - came + 1):
        g = more * (1 - (trials / (trials + came)) ** (1 / trials))
        if g >= 1:
            break
        shares = [(1 - g) * (n + 1) / (trials + came) for n in counts if n > 0] + [g / more for _ in range(more)]
        distances.append(abs(sum(1 - (1 - min(q, 1.0)) ** trials for q in shares) - came))
    return came + int(np.argmin(np.round(distances, 12)))


def naive_bias(table):
    r_all = naive_possible(table.sum(axis=0), len(table))
    excess = sum(naive_possible(row, r_all) - 1 for row in table) - (r_all - 1)
    return max(0.0, excess / (2 * table.sum() * np.log(2)))


@pytest.mark.parametrize(("n_classes", "trials"), [(2, 6), (3, 8), (5, 4), (8, 12)])
def test_information_and_bias_are_those_of_loops(n_classes, trials):
    rng = np.random.default_rng(n_classes)
    tables = rng.multinomial(trials, np.full(n_classes, 1 / n_classes), size=(4, 5, n_classes))
    tables[0, 0] = trials * np.eye(n_classes, dtype=int)
    expected = [[(naive_plugin(t), naive_bias(t)) for t in row] for row in tables]
    found = np.stack([plugin_information(tables), information_bias(tables)], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_tables_by_hand():
    errors = np.array([[8, 2], [2, 8]])
    entropy = -(0.8 * np.log2(0.8) + 0.2 * np.log2(0.2))
    assert plugin_information(errors) == pytest.approx(1 - entropy, abs=1e-12)
    assert information_bias(errors) == pytest.approx((2 * 1 - 1) / (2 * 20 * np.log(2)), abs=1e-12)
    unequal = np.array([[30, 0], [0, 10]])  # perfect: the entropy of the classes
    assert plugin_information(unequal) == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)), abs=1e-12)
    assert information_bias(unequal) == 0


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_perfect_decoding_has_the_logarithm_of_the_classes_and_one_answer_has_nothing(n_classes):
    perfect = 7 * np.eye(n_classes, dtype=int)[:, ::-1]  # under other names too
    assert plugin_information(perfect) - information_bias(perfect) == pytest.approx(np.log2(n_classes), abs=1e-12)
    majority = np.zeros((n_classes, n_classes), dtype=int)
    majority[:, 0] = 7
    assert plugin_information(majority) == 0
    assert information_bias(majority) == 0


@pytest.mark.parametrize(("n_classes", "trials"), [(2, 20), (4, 20), (8, 40)])
def test_bias_is_taken_off(n_classes, trials):
    """Noise, and a decoder that is right in 60 % and guesses else: the truth is known."""
    rng = np.random.default_rng(0)
    for right in (0.0, 0.6):
        shares = right * np.eye(n_classes) + (1 - right) / n_classes
        truth = (shares / n_classes * np.log2(shares * n_classes)).sum()
        tables = np.stack([rng.multinomial(trials, row, size=1000) for row in shares], axis=1)
        raw, bias = plugin_information(tables), information_bias(tables)
        excess = raw.mean() - truth
        assert excess > 5 * raw.std() / np.sqrt(1000)
        assert abs((raw - bias).mean() - truth) < 0.55 * excess
        if right == 0:
            assert abs((raw - bias).mean()) < 0.02


def test_answers_that_have_not_come_are_counted():
    """Ten answers, ten trials: 6.5 come on average, and taking these for all leaves half of the bias."""
    rng = np.random.default_rng(1)
    counts = rng.multinomial(10, np.full(10, 0.1), size=500)
    came = (counts > 0).sum(axis=1)
    counted = possible(counts, np.full(500, 10))
    assert (counted >= came).all() and (counted <= 10).all()
    assert came.mean() < 6.8 and counted.mean() > 8.5
    assert possible(np.array([10] + 9 * [0]), np.array(10)) == 1


def test_results_have_information_also_over_time():
    rng = np.random.default_rng(2)
    labels = np.repeat(["a", "b", "c"], 20)
    x = rng.normal(size=(60, 8, 3))
    x[:, :3, 1] += 6 * np.eye(3)[np.repeat(range(3), 20)]
    flat = rc.decode(x[:, :, 1], labels, model="ridge")
    assert isinstance(flat.information, float)
    assert flat.information == pytest.approx(np.log2(3), abs=0.05)
    assert flat.information_plugin == pytest.approx(naive_plugin(flat.confusion), abs=1e-12)
    course = rc.decode(x, labels, model="ridge")
    assert course.information.shape == (3,)
    assert course.information[1] == flat.information
    assert (course.information[[0, 2]] < 0.15).all()
    assert (course.information <= course.information_plugin).all()
    square = rc.decode(x, labels, model="ridge", generalize=True)
    np.testing.assert_array_equal(np.diagonal(square.information), course.information)


def test_continuous_labels_have_none():
    rng = np.random.default_rng(3)
    found = rc.decode(rng.normal(size=(40, 3)), rng.normal(size=40), model="ridge_regression")
    assert found.information is None and found.information_plugin is None
