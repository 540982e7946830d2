import threading

import pytest

from abpnet.ahead import prepared_ahead


def helpers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_items(n):
    assert list(prepared_ahead(lambda item: 2 * item, range(n))) == [2 * item for item in range(n)]
    assert not helpers()


def test_one_item_is_prepared_while_the_caller_is_busy_with_the_one_before():
    begun = [threading.Event() for _ in range(4)]

    def prepare(item):
        begun[item].set()
        return item

    for item in prepared_ahead(prepare, range(4)):
        if item < 3:
            assert begun[item + 1].wait(10)
        assert not any(event.is_set() for event in begun[item + 2 :]), "no more than one"


def test_items_are_prepared_by_another_thread():
    (name,) = set(prepared_ahead(lambda _: threading.current_thread().name, range(3)))
    assert name != threading.current_thread().name


def test_an_error_is_raised_where_its_result_is_asked_for():
    def prepare(item):
        if item == 2:
            raise OSError("no such row")
        return item

    results = prepared_ahead(prepare, range(5))
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(OSError, match="no such row"):
        next(results)
    assert not helpers()


def test_the_thread_ends_with_an_iterator_that_is_closed():
    results = prepared_ahead(lambda item: item, range(5))
    next(results)
    assert len(helpers()) == 1
    results.close()
    assert not helpers()
