from arcface_mxnet.recognition.engine.checkpoint import Record, decide

from hypothesis import given
from hypothesis import strategies as st


def run(rule, validations):
    record, saved, best = Record(), [], []
    for accuracies in validations:
        record, save_as, is_best = decide(rule, record, accuracies)
        saved.append(save_as)
        best.append(is_best)
    return saved, best, record


COURSE = [(0.9, 0.5), (0.8, 0.6), (0.9, 0.6), (0.7, 0.6), (0.9, 0.55)]


def test_the_four_rules_on_one_course():
    assert run(0, COURSE)[0] == [None] * 5
    assert run(1, COURSE)[0] == [1, 2, 3, None, None]  # better; better; tie with the first sum seen; tie, lower sum
    assert run(2, COURSE)[0] == [1, 2, 3, 4, 5]
    assert run(3, COURSE)[0] == [1, 1, 1, None, None]


def test_best_is_by_the_mean_of_all_sets():
    assert run(1, COURSE)[1] == [True, False, True, False, False]


def test_without_verification_sets_only_rule_two_saves():
    assert [decide(rule, Record(), ()).save_as for rule in range(4)] == [None, None, 1, None]


def original_rule(validations):
    """The original's state machine, with its mutable lists (docs/original.md, section 4.5)."""
    best_last, best_sum, counter, saved = 0.0, 0.0, 0, []
    for accuracies in validations:
        counter += 1
        total, flag = sum(accuracies), False
        if accuracies[-1] >= best_last:
            if accuracies[-1] > best_last:
                flag = True
            elif total >= best_sum:
                flag, best_sum = True, total
            best_last = accuracies[-1]
        saved.append(counter if flag else None)
    return saved


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 0.75, 0.875])] * 3), max_size=30))
def test_equal_to_the_original_on_any_course(validations):
    assert run(1, validations)[0] == original_rule(validations)
