"""The line of progress: when it appears, what it says, and that a terminal is left clean."""

import io
import re
import subprocess
import sys
import time

import pytest

from farkas import progress
from farkas.engine.bab import Progress
from farkas.process import OutOfTime, alarm
from tests.farkas.queries import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_names_gap_leaves_open_boxes_and_rate() -> None:
    state = Progress(boxes=600, leaves=200, open=17, best_bound=-0.03125)
    assert progress.line(state, 12.34, 3.0) == "12.3 s  gap 0.0312  leaves 200  open 17  200 boxes/s"


def test_an_unknown_gap_is_a_dash() -> None:
    assert "gap -  " in progress.line(Progress(), 1.0, 0.0)


def test_nothing_is_said_in_the_first_two_seconds() -> None:
    stream = io.StringIO()
    line = progress.ProgressLine(stream, start=time.monotonic() - 1.5)
    line(Progress(), 1.5)
    line.close()
    assert stream.getvalue() == ""


def test_without_a_terminal_lines_come_every_few_seconds() -> None:
    stream = io.StringIO()
    line = progress.ProgressLine(stream, start=time.monotonic() - 3)
    for _ in range(20):
        line(Progress(boxes=1), 3.0)
    line.close()
    assert re.fullmatch(r"farkas: 3\.\d s  gap -  leaves 0  open 0  0 boxes/s\n", stream.getvalue())


def test_a_terminal_sees_one_line_that_is_wiped_in_the_end() -> None:
    stream = Terminal()
    line = progress.ProgressLine(stream, start=time.monotonic() - 3)
    line(Progress(boxes=1), 3.0)
    line.close()
    line.close()
    shown = stream.getvalue()
    assert "\n" not in shown
    _, first, blank, end = shown.split("\r")
    assert len(first) == len(blank) == progress.WIDTH
    assert "leaves 0" in first and not blank.strip() and end == ""


def test_an_alarm_interrupts_a_loop_and_is_taken_down_afterwards() -> None:
    start = time.monotonic()
    with pytest.raises(OutOfTime), alarm(0.05):
        while time.monotonic() < start + 5:
            pass
    assert time.monotonic() - start < 1
    with alarm(0.02):
        pass
    while time.monotonic() < start + 0.2:  # were the alarm still set, it would ring here
        pass


def test_a_young_process_knows_its_age() -> None:
    code = "import time; time.sleep(0.5); from farkas.process import started; print(time.monotonic() - started())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert 0.45 <= float(done.stdout) < 5


def test_a_shell_that_waited_before_exec_does_not_count() -> None:
    code = "import time; from farkas.process import started; print(time.monotonic() - started())"
    command = ["bash", "-c", f"sleep 5.5; exec {sys.executable} -c '{code}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert 0 <= float(done.stdout) < 4
