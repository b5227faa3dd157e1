from jupyter_ext.progress import ProgressBars, Task, duration


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, progress):
        self.shown.append(repr(progress))


def bar(times):
    """A progress whose clock reads ``times`` one after the other, and what it drew."""
    shown, clock = [], iter(times)

    def show(progress, display_id):
        shown.append(repr(progress))
        return Handle(shown)

    return ProgressBars(show, clock=lambda: next(clock)), shown


def test_quick_work_draws_nothing():
    progress, shown = bar([0.0, 0.1, 0.2, 0.3])
    for done in range(3):
        progress("sweep", done, 2)
    progress.close()
    assert shown == []


def test_long_work_says_the_time_left_and_in_the_end_the_time_taken():
    progress, shown = bar([0.0, 0.0, 10.0, 40.0, 41.0])
    progress("sweep", 0, 100)
    progress("sweep", 25, 100)
    progress("sweep", 100, 100)
    progress.close()
    assert shown == ["sweep: 25 of 100, 30 s left", "sweep: 100 in 40 s", "sweep: 100 in 40 s"]


def test_frequent_calls_draw_seldom():
    progress, shown = bar([0.0, *(1 + i / 1000 for i in range(1000)), 3.0])
    for done in range(1000):
        progress("sweep", done, 1000)
    progress.close()
    assert 5 < len(shown) < 10


def test_stopped_work_keeps_its_state_without_a_moving_bar():
    progress, shown = bar([0.0, 1.0, 2.0])
    progress("<b>sweep</b>", 3, 10)
    progress.close("stopped")
    assert shown[-1].splitlines() == ["<b>sweep</b>: 3 of 10", "stopped"]
    html = progress._repr_html_()
    assert "<progress" not in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_durations_read_as_people_say_them():
    said = [duration(s) for s in (0.04, 9.94, 9.96, 59.4, 59.6, 200, 3600, 7500)]
    assert said == ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]


def test_one_piece_is_not_counted():
    assert Task("waiting", 0.0, 2.0, 0, 1).words() == "waiting"
    assert Task("waiting", 0.0, 2.0, 1, 1).words() == "waiting: 2.0 s"
