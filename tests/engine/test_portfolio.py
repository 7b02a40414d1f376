"""Who works when: made-up arms with known progress, and the real ones each alone against exact enumeration."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from farkas.engine import portfolio as portfolio_module
from farkas.engine.arms import Task, arms
from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.falsify import Attack
from farkas.engine.options import Options
from farkas.engine.portfolio import Portfolio
from farkas.engine.replay import Replayer
from farkas.engine.tree import ProofTree
from farkas.engine.verdict import Holds, Unknown, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.query import Case, Semantics
from tests.engine.deciding import random_cases
from tests.engine.pieces import minimum, witness
from tests.nets import Box, Net, atom, boxes, case, dense, random_layers, seeds

BOX: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


@dataclass(eq=False)
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass(eq=False)
class Scripted:
    """An arm whose batches take `batch_s` each and close a share of the case each, until nothing is left."""

    name: str
    clock: Clock
    pace: float
    case: int = 0
    batch_s: float = 0.25
    progress: Progress = field(default_factory=Progress)
    tree: ProofTree = field(default_factory=ProofTree)
    stuck: int = 0
    programs: int = 0
    why: str = "it stands here"
    claim: str = ""
    refused: str = ""
    unstable: int | None = None
    ran: int = 0
    told: bool = False
    skipped: list[int] = field(default_factory=list)

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        while self.progress.share > 0:
            self.clock.now += self.batch_s
            self.ran += 1
            self.progress.share = max(0.0, self.progress.share - self.pace)
            yield []

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        fresh = self.progress.share == 0 and not self.told
        self.told = self.told or fresh
        return [(self.case, self.tree)] if fresh else []

    def skip(self, case: int) -> None:
        self.skipped.append(case)

    def proof(self, case: int) -> ProofTree | None:
        return self.tree

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        raise AssertionError("nothing is repaired here")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(portfolio_module, "time", made)
    return made


def finished(portfolio: Portfolio, batches: int = 10_000) -> Portfolio:
    for _, _ in zip(range(batches), portfolio.rounds(Budget.of(None)), strict=False):
        pass
    return portfolio


def quiet() -> Iterator[list[Candidate]]:
    return iter(())


def test_an_arm_that_ends_soon_is_not_left(clock: Clock) -> None:
    first, second = Scripted("first", clock, 1 / 5), Scripted("second", clock, 1.0)
    made = finished(Portfolio.of(1, [first, second], quiet(), Budget.of(None)))
    assert made.is_proved and made.switches == 0 and second.ran == 0
    assert made.proofs[0] == (first, first.tree)


def test_an_arm_that_stands_still_is_left_for_the_next(clock: Clock) -> None:
    first, second = Scripted("first", clock, 0.0), Scripted("second", clock, 1 / 40)
    made = finished(Portfolio.of(1, [first, second], quiet(), Budget.of(None)))
    assert made.is_proved and made.proofs[0] == (second, second.tree) and made.switches >= 1
    assert first.skipped == [0] and second.skipped == []


def test_most_of_the_time_goes_to_the_arm_that_should_end_first(clock: Clock) -> None:
    slow, fast = Scripted("slow", clock, 1e-4), Scripted("fast", clock, 1e-3)
    made = finished(Portfolio.of(1, [slow, fast], quiet(), Budget.of(None)))
    assert made.proofs[0] == (fast, fast.tree)
    assert slow.ran < fast.ran / 2, "but it is looked at again now and then"
    assert slow.ran > 20


def test_an_arm_that_never_ran_may_claim_its_turn_in_anothers_first_slice(clock: Clock) -> None:
    class Claiming(Scripted):
        def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
            for n, found in enumerate(super().rounds(budget)):
                other.claim = "3 neurons are unstable" if n == 1 else other.claim
                yield found

    first, other = Claiming("first", clock, 1 / 40), Scripted("other", clock, 0.0)
    made = finished(Portfolio.of(1, [first, other], quiet(), Budget.of(None)))
    told = [(choice.arm, choice.why) for choice in made.choices[:3]]
    assert told[:2] == [("first", "it stands here"), ("other", "3 neurons are unstable")]
    assert told[2] == ("first", "other does not come nearer to its end"), "the switch back, with its reason"
    assert made.proofs[0] == (first, first.tree) and made.switches == len(made.choices) - 1
    assert [choice.time_s for choice in made.choices] == sorted(choice.time_s for choice in made.choices)


def test_choices_tell_why_an_arm_was_left(clock: Clock) -> None:
    class Short(Scripted):
        def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
            yield []

    made = finished(Portfolio.of(1, [Short("a", clock, 0.0), Scripted("b", clock, 1.0)], quiet(), Budget.of(None)))
    assert [choice.why for choice in made.choices] == ["it stands here", "a has nothing left to try"]
    slow = finished(Portfolio.of(1, [Scripted("a", clock, 1e-3), Scripted("b", clock, 1.0)], quiet(), Budget.of(None)))
    assert slow.choices[1].why.startswith("a would need some ") and slow.choices[1].why.endswith(" s more")


def test_a_rising_margin_counts_as_progress(clock: Clock) -> None:
    """Neither closes anything for long; the second one's worst margin rises."""

    class Rising(Scripted):
        def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
            self.progress.best_bound, self.progress.open = -1.0, 1
            for found in super().rounds(budget):
                self.progress.best_bound *= 0.99
                yield found

    still, rising = Scripted("still", clock, 0.0), Rising("rising", clock, 0.0)
    finished(Portfolio.of(1, [still, rising], quiet(), Budget.of(None)), 2000)
    assert rising.ran > 1.5 * still.ran


def test_each_case_is_proved_by_one_arm_and_the_others_hear_of_it(clock: Clock) -> None:
    first, second = Scripted("first", clock, 1 / 8, case=1), Scripted("second", clock, 1 / 8, case=0)
    made = finished(Portfolio.of(2, [first, second], quiet(), Budget.of(None)))
    assert made.proofs == {1: (first, first.tree), 0: (second, second.tree)}
    assert first.skipped == [0] and second.skipped == [1]


def test_when_every_arm_has_ended_the_portfolio_ends(clock: Clock) -> None:
    class Short(Scripted):
        def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
            yield []

    made = finished(Portfolio.of(1, [Short("a", clock, 0.0), Short("b", clock, 0.0)], quiet(), Budget.of(None)))
    assert not made.is_proved and all(turn.ended for turn in made.turns)


def test_the_attack_has_its_part_of_the_time_and_no_more(clock: Clock) -> None:
    def attack() -> Iterator[list[Candidate]]:
        while True:
            clock.now += 0.01
            yield []

    made = Portfolio.of(1, [Scripted("arm", clock, 1 / 400)], attack(), Budget.of(None))
    finished(made)
    assert made.is_proved and made.seconds == pytest.approx(100.0, abs=0.5)
    assert made.attack_s == pytest.approx(10.0, abs=0.5)


def test_what_the_first_batch_proves_is_not_attacked(clock: Clock) -> None:
    def attack() -> Iterator[list[Candidate]]:
        raise AssertionError("nothing is left to attack")
        yield []

    assert finished(Portfolio.of(1, [Scripted("arm", clock, 1.0)], attack(), Budget.of(None))).is_proved


# The real arms -------------------------------------------------------------------------------------------------------


def task(net: Net, cases: Sequence[Case]) -> Task:
    program = net.program
    return Task(
        prepare(program, binary32=False, backend=numpy_backend()),
        net.query(cases).families[0],
        False,
        0.0,
        lambda x: np.asarray(run_float(program, x)[program.output]),
        1 << 30,
        "sensitivity",
    )


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (3, ["input-splitting", "relu-splitting", "milp"]),
        (20, ["relu-splitting", "milp", "input-splitting"]),
        (90, ["relu-splitting", "milp"]),
    ],
)
def test_structure_orders_the_arms(inputs: int, names: list[str]) -> None:
    net = dense(random_layers(np.random.default_rng(0), (inputs, 4, 1)))
    assert [arm.name for arm in arms(task(net, [case([-1] * inputs, [1] * inputs, [atom([1], -1000)])]))] == names


@pytest.mark.parametrize("name", ["input-splitting", "relu-splitting", "milp"])
@pytest.mark.parametrize("sizes", [(3, 4, 1), (90, 4, 1), (90, 2)])
def test_an_arm_named_alone_works_whatever_the_structure(name: str, sizes: tuple[int, ...]) -> None:
    net = dense(random_layers(np.random.default_rng(0), sizes))
    query = case([-1] * sizes[0], [1] * sizes[0], [atom([1] * sizes[-1], -1000)])
    assert [arm.name for arm in arms(replace(task(net, [query]), engines=frozenset({name, "lra"})))] == [name]


def test_arms_that_are_not_named_do_not_work() -> None:
    net = dense(random_layers(np.random.default_rng(0), (20, 4, 1)))
    made = task(net, [case([-1] * 20, [1] * 20, [atom([1], -1000)])])
    two = replace(made, engines=frozenset({"input-splitting", "milp"}))
    assert [arm.name for arm in arms(two)] == ["milp", "input-splitting"]
    assert arms(replace(made, engines=frozenset({"lra"}))) == []


def test_fixed_inputs_do_not_count() -> None:
    net = dense(random_layers(np.random.default_rng(0), (90, 4, 1)))
    made = arms(task(net, [case([-1] * 90, [1] * 5 + [-1] * 85, [atom([1], -1000)])]))
    assert made[0].name == "input-splitting"


def test_where_no_neuron_can_be_split_inputs_are_and_linear_programs_decide_conjunctions() -> None:
    net = dense(random_layers(np.random.default_rng(0), (90, 2)))
    made = arms(task(net, [case([-1] * 90, [1] * 90, [atom([1], -1000)])]))
    assert [arm.name for arm in made] == ["input-splitting", "milp"]


ARMS = ("input-splitting", "relu-splitting", "milp")


def alone(name: str, timeout_s: float, *, certify: bool = False) -> Options:
    return Options(timeout_s=timeout_s, certify=certify, engines=frozenset({name}))


@pytest.mark.parametrize("name", ARMS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(seed=seeds, box=boxes(2))
def test_every_arm_alone_decides_as_exact_enumeration_does(name: str, seed: int, box: Box) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (2, 5, 4, 2)))
    cases = random_cases(rng, net.program, box, conjunctive=bool(rng.random() < 0.5))
    unsafe = any(witness(net.program, c) is not None for c in cases)
    verdict = verify(net.query(cases), alone(name, 3.0))
    assert [arm.name for arm in verdict.statistics.arms] in ([], [name])
    assert not (isinstance(verdict, Holds) and unsafe) and not (isinstance(verdict, Violated) and not unsafe)


@pytest.mark.parametrize("name", ARMS)
def test_no_arm_proves_what_a_planted_witness_violates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The witness is the corner of least output; no attack and no candidate may find it, so nothing may be said."""
    monkeypatch.setattr(Replayer, "attempt", lambda self, number, case, point: None)
    for seed in range(3):
        net = dense(random_layers(np.random.default_rng(seed), (2, 6, 5, 2)))
        row = [Fraction(1), Fraction(-2)]
        planted = minimum(net.program, *BOX, row, ()) + Fraction(1, 512)
        for semantics in (Semantics.REAL, Semantics.F32_ANY):
            verdict = verify(net.query([case(*BOX, [atom(row, planted)])], semantics), alone(name, 0.4))
            assert isinstance(verdict, Unknown)


def test_statistics_say_which_arms_ran() -> None:
    net = dense(random_layers(np.random.default_rng(1), (20, 12, 8, 1)))
    verdict = verify(net.query([case([-1] * 20, [1] * 20, [atom([-1], -300)])]), Options(timeout_s=10.0))
    told = verdict.statistics
    assert told.arms[0].name == "relu-splitting" and told.boxes > 0
    assert told.boxes == sum(arm.boxes for arm in told.arms)
    assert sum(arm.time_s for arm in told.arms) + told.attack_s <= told.time_s + 0.01
    as_dict: dict[str, Any] = told.as_dict()
    assert as_dict["arms"][0]["name"] == "relu-splitting" and isinstance(as_dict["rules"], dict)


def test_linear_programs_come_first_where_a_root_leaves_few_neurons_unstable() -> None:
    """Twenty inputs; nine tenths of the least sampled output are below what the root can prove."""
    rng = np.random.default_rng(5)
    net = dense(random_layers(rng, (20, 8, 6, 1), eighths=False))
    values = run_float(net.program, rng.uniform(-1, 1, (4000, 20)))[net.program.output]
    query = net.query([case([-1] * 20, [1] * 20, [atom([1], round(float(values.min()) * 8) / 4)])])
    verdict = verify(query, Options(timeout_s=10.0, certify=False))
    told = verdict.statistics.as_dict()
    assert isinstance(verdict, Holds) and told["unstable"] == 14
    assert [choice["arm"] for choice in told["choices"]] == ["relu-splitting", "milp"]
    assert told["choices"][0]["why"] == "20 inputs are free"
    assert told["choices"][1]["why"].startswith("14 neurons are unstable at the root")
    assert told["programs"] > 1 and told["switches"] == 1
    many = verify(query, replace(Options(timeout_s=10.0), engines=frozenset({"relu-splitting"}))).statistics
    assert [choice.arm for choice in many.choices] == ["relu-splitting"] and many.unstable == 14


def test_conjunctions_go_to_linear_programs_among_more_unstable_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Violated here and there, but nothing is replayed, so that the arms have to work."""
    monkeypatch.setattr(Replayer, "attempt", lambda self, number, case, point: None)
    net = dense(random_layers(np.random.default_rng(6), (20, 24, 20, 2), eighths=False))
    atoms = [atom([1, 0], 0), atom([-1, 1], 0)]
    options = Options(timeout_s=1.0, engines=frozenset(ARMS))
    told = verify(net.query([case([-1] * 20, [1] * 20, atoms)]), options).statistics
    assert told.unstable is not None and 30 < told.unstable <= 44
    assert [choice.arm for choice in told.choices[:2]] == ["relu-splitting", "milp"]
    assert told.choices[1].why.endswith("at most 100, and several atoms hold together")
    told = verify(net.query([case([-1] * 20, [1] * 20, atoms[:1], atoms[1:])]), options).statistics
    assert told.choices and all("unstable" not in choice.why for choice in told.choices)


def test_an_undecided_answer_names_margin_open_nodes_and_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attack, "strong", lambda self, budget, share_s: iter(()))
    net = dense(random_layers(np.random.default_rng(11), (12, 60, 60, 60, 1), eighths=False))
    start = time.monotonic()
    verdict = verify(net.query([case([-1] * 12, [1] * 12, [atom([-1], -20_000)])]), Options(timeout_s=1.0))
    assert isinstance(verdict, Unknown) and time.monotonic() - start < 2.0
    assert "open" in verdict.detail and "worst margin -" in verdict.detail
    assert "--timeout" in verdict.detail or "smaller input set" in verdict.detail
