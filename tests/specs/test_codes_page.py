"""The page about codes says what `explain` does, and shows what bad specifications are told."""

from farkas.specs.diagnostics_codes import CODES
from tools.codes_page import PAGE, examples, page


def test_the_page_is_the_one_that_the_codes_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tools/codes_page.py --write"


def test_most_codes_have_an_example() -> None:
    shown = examples()
    assert len(shown) >= 35 and set(shown) <= set(CODES)
    assert "fk.between(0, rho, 1)" in shown["FK101"]
