import io

from arcface_mxnet.runtime import progress as module
from arcface_mxnet.runtime.progress import bar, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_time_left():
    screen = Terminal()
    shown = bar(4, "reading", "records", screen)
    shown.update(2)
    shown.refresh()
    assert "reading" in screen.getvalue() and "2/4" in screen.getvalue() and "<" in screen.getvalue()
    shown.close()


def test_elsewhere_plain_lines_come_rarely_and_say_what_is_left(monkeypatch):
    clock = iter([0.0, 1.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    shown = bar(40, "reading", "records", stream)
    shown.update(1)
    shown.update(9)
    assert stream.getvalue() == "reading: 10 of 40 records, 01:00 left\n"


def test_before_the_first_item_nothing_is_known_of_what_is_left(monkeypatch):
    clock = iter([0.0, 15.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    bar(164, "fetching", "packages", stream).update(0)
    assert stream.getvalue() == "fetching: 0 of 164 packages\n"


def test_items_pass_through_in_order():
    assert list(progress(range(5), label="counting")) == [0, 1, 2, 3, 4]
