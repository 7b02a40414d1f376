"""The page in Chromium: it opens without complaint, sorts and filters, and is light or dark as the reader wants.

Debian and Ubuntu: apt-get install chromium.  Without it these tests are left out, and counted.
"""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from farkas.batch.store import Store
from farkas.reports.command import write
from tests.conftest import browser

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--window-size=1200,1600", "--virtual-time-budget=2000",
)  # fmt: skip
# What a reader does, in order, and what is then to be seen; its results are attributes of the root.
ACTIONS = """
const out = (name, value) => { document.documentElement.setAttribute("data-" + name, value); };
const rows = () => [...document.getElementById("all").tBodies[0].rows].filter((row) => !row.hidden);
const names = () => rows().map((row) => row.cells[3].textContent).join(",");
const press = (word) => [...document.querySelectorAll("#all thead button")].find((b) => b.textContent === word).click();
press("seconds");
const times = rows().map((row) => row.cells[6].dataset.v);
out("ascending", String(times.filter((v) => v !== "").every((v, k, all) => !k || +all[k - 1] <= +v)));
out("sort", document.querySelector("#all th[aria-sort]").ariaSort);
press("#");
const words = document.getElementById("words"), standing = document.getElementById("standing");
const type = (field, text) => { field.value = text; field.dispatchEvent(new Event("input", {bubbles: true})); };
type(words, "WITHIN radii");
out("words", names());
type(standing, "violated");
out("both", names());
out("count", document.getElementById("count").textContent);
document.querySelector("a[data-filter]").click();
out("reason", names());
document.querySelector("nav button").click();
out("first", document.documentElement.dataset.theme);
document.querySelector("nav button").click();
out("second", document.documentElement.dataset.theme);
"""


@pytest.fixture(scope="module")
def page(decided: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with Store.open(decided) as store:
        write(store, folder)
    return folder / "report.html"


def opened(place: Path, folder: Path, *words: str) -> tuple[str, str]:
    """What Chromium prints about a page, and what it complains about."""
    program = browser()
    assert program is not None, "the marker leaves these tests out where there is none"
    done = subprocess.run([program, *FLAGS, f"--user-data-dir={folder / 'profile'}", *words, place.as_uri()],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(complaints)


def test_the_page_opens_without_complaint_and_its_script_runs(page: Path, tmp_path: Path) -> None:
    dom, complaints = opened(page, tmp_path, "--dump-dom")
    assert complaints == ""
    assert "Dark colours" in dom and '<output id="count" for="words standing">10 of 10</output>' in dom
    assert '<form class="controls" role="search">' in dom


def test_a_script_that_is_not_the_page_s_own_does_not_run(page: Path, tmp_path: Path) -> None:
    """The policy holds, so that nothing that gets into a name could act."""
    bad = tmp_path / "bad.html"
    bad.write_text(page.read_text().replace("</main>", "</main><script>document.title = 'taken'</script>"))
    dom, complaints = opened(bad, tmp_path, "--dump-dom")
    assert "taken</title>" not in dom and "Content Security Policy" in complaints


def test_tables_sort_and_filter_and_colours_change(page: Path, tmp_path: Path) -> None:
    acted = tmp_path / "acted.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    acted.write_text(text.replace("</body>", f"<script>{{{ACTIONS}}}</script></body>"))
    dom, complaints = opened(acted, tmp_path, "--dump-dom")
    assert complaints == ""
    (root,) = re.findall(r"<html[^>]*>", dom)
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', root))
    assert found == {
        "ascending": "true", "sort": "ascending", "words": "within_0.5,within_1,within_2,within_3,within_1",
        "both": "within_2,within_3", "count": "2 of 10", "reason": "within_1", "first": "dark", "second": "light",
        "theme": "light",
    }  # fmt: skip


def brightness(place: Path) -> float:
    """The mean over the bytes of a screenshot's rows, with their filters undone."""
    data = place.read_bytes()
    at, packed = 8, b""
    width = height = channels = 0
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", body[:10])
            channels = {2: 3, 6: 4}[colour]
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    raw, size = zlib.decompress(packed), width * channels
    before, total = bytes(size), 0
    for row in range(height):
        start = row * (size + 1)
        before = unfiltered(raw[start], raw[start + 1 : start + 1 + size], before, channels)
        total += sum(before[:: 7 * channels])
    return total / (height * len(range(0, size, 7 * channels)))


def unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    """A row of a PNG file, by the filters of its specification."""
    found = bytearray(line)
    for k in range(len(found)):
        left = found[k - step] if k >= step else 0
        corner = above[k - step] if k >= step else 0
        guess = left + above[k] - corner
        nearest = min((left, above[k], corner), key=lambda value: abs(guess - value))
        found[k] = (found[k] + (0, left, above[k], (left + above[k]) // 2, nearest)[kind]) & 0xFF
    return bytes(found)


def test_the_page_is_light_and_dark_as_the_system_is(page: Path, tmp_path: Path) -> None:
    shots = {}
    for name, words in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        shots[name] = tmp_path / f"{name}.png"
        opened(page, tmp_path / name, f"--screenshot={shots[name]}", "--window-size=500,300", *words)
    assert brightness(shots["light"]) > 200 > 80 > brightness(shots["dark"])
