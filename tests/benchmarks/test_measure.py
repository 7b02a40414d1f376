"""A command in a process of its own, measured and limited."""

import os
import sys
import time
from pathlib import Path

from benchmarks.measure import measure


def test_a_process_is_killed_with_its_children_at_the_limit(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    done = measure([sys.executable, "-c", code], os.environ, str(tmp_path), 1.0)
    assert done.killed and done.code < 0
    assert time.monotonic() - start < 5


def test_measures_are_those_of_the_process(tmp_path: Path) -> None:
    code = "import sys, time; data = bytearray(200 << 20); sys.stderr.write('e'); print('o'); t = time.process_time()\n"
    code += "while time.process_time() < t + 0.3: pass\nsys.exit(7)"
    done = measure([sys.executable, "-c", code], os.environ, str(tmp_path), 30.0)
    assert (done.code, done.out, done.err, done.killed) == (7, "o\n", "e", False)
    assert 0.3 <= done.cpu_s < 5 and done.wall_s >= 0.3
    assert done.peak_mb >= 200
