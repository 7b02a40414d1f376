"""The specifications of the examples have the answers that are expected for reasons of their own."""

import pytest

from examples.specifications import EXAMPLES, Example, main


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.ask.__name__)
def test_the_answer_is_the_expected_one(example: Example) -> None:
    assert example.ask() == example.expected


def test_the_table_is_printed_and_a_failure_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["advisory", "disc"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["advisory", "disc"]
    monkeypatch.setattr("examples.specifications.EXAMPLES", (EXAMPLES[1]._replace(expected="sat"),))
    assert main([]) == 1
