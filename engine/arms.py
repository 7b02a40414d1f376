"""The arms of the portfolio, and in which order a query's structure calls for them.

- *input-splitting* (`bab`): all cases of the family at once.  First where few inputs are free: a cut of one of them
  narrows every neuron.
- *relu-splitting* (`relu_split`): case by case.  First everywhere else; its root bounds settle most cases.
- *milp* (`milp_arm`): disjunct by disjunct, before all others as soon as a root is seen to leave few neurons unstable:
  trees guided by linear programs, and incumbents as candidates.

The roots of the last two are one: bounded once, planted into the tree of each.  Their modules are loaded when they
first work: a query that boxes decide does not wait for them.

Where the limits lie was measured in CPU time, with boxes in public fully connected networks shrunk until a given number
of neurons was unstable, and thresholds between the root's bound and the least sample.  Up to 14 free inputs: input
splitting took less than both others 50 times of 52, mostly a tenth.  From 30 on, for single atoms, trees of linear
programs took 1.3 times as long as ReLU splitting up to 45 unstable neurons and twice as long above, mostly less than a
tenth of a second; now and then, in deep networks, they end where ReLU splitting does not (19 programs; not in 8000
nodes).  For conjunctions of three atoms it is the other way round: ReLU splitting keeps the weights of the atoms that
were best at the root, a linear program finds them anew at every node.  Of 11 that the root did not decide, with 12 to
48 unstable neurons, ReLU splitting decided 3 within 5 s, linear programs all of them, 7 with the first.

Where values are multiplied with each other (polynomial atoms) only boxes are cut: a decided sign makes no product
linear, a narrow box nearly does.  But where the products only say that inputs lie in an ellipsoid (`engine.ball`), the
task is about the network alone, with rows bounded over the ellipsoid; linear programs know nothing of that.

Options.engines names those that may work.  An arm that is asked for alone takes what comes: any number of inputs or
of unstable neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from farkas.engine.arm_milp import MilpArm
from farkas.engine.arm_parts import Roots, Task, inputs_free
from farkas.engine.arm_relu import ReluArm
from farkas.engine.bab import Candidate, Progress, Search
from farkas.engine.budget import Budget
from farkas.engine.portfolio import Arm
from farkas.engine.repair import restore
from farkas.engine.tree import ProofTree

__all__ = ["InputArm", "MilpArm", "ReluArm", "Roots", "Task", "arms"]

FEW_INPUTS = 12  # free inputs up to which boxes are cut first; twice as many where a root of all neurons is dear
MANY_INPUTS = 64  # beyond which they are not cut at all
FEW_UNSTABLE = 30  # neurons up to which linear programs guide a tree before anything else is tried
MANY_UNSTABLE = 100  # the same for conjunctions; beyond it they do so only where no other arm is allowed


def arms(task: Task) -> list[Arm]:
    """The arms that fit the structure and are allowed, in the order in which they first run.

    None where every point is unsafe: bounds prove nothing there, and no point is a better candidate than another.
    """
    if task.family.disjuncts and not len(task.family.y_rows):
        return []
    allowed = [name for name in _order(task) if task.allows(name)]
    limits = (FEW_UNSTABLE, MANY_UNSTABLE) if len(allowed) > 1 else None
    roots = Roots(task)
    makers: dict[str, Callable[[], Arm]] = {
        "input-splitting": lambda: InputArm(task),
        "relu-splitting": lambda: ReluArm(task, roots),
        "milp": lambda: MilpArm(task, roots, limits),
    }
    return [makers[name]() for name in allowed]


def _order(task: Task) -> tuple[str, ...]:
    """All arms that fit; one that is named alone always does."""
    if task.net.program.has_products:
        return ("input-splitting",)  # the others state neurons' signs, and lines that these make exact
    if task.family.ball is not None:
        alone = task.engines is not None and len(task.engines & {"input-splitting", "relu-splitting"}) == 1
        both = ("input-splitting", "relu-splitting")
        return both if alone or task.free_inputs <= FEW_INPUTS else both[::-1]
    by_neuron = ("relu-splitting", "milp")
    if task.engines is not None and len(task.engines & {"input-splitting", *by_neuron}) == 1:
        return ("input-splitting", *by_neuron)
    if not task.net.slots:
        return "input-splitting", "milp"
    if task.free_inputs <= (FEW_INPUTS if task.net.is_dense else 2 * FEW_INPUTS):
        return ("input-splitting", *by_neuron)
    return (*by_neuron, "input-splitting") if task.free_inputs <= MANY_INPUTS else by_neuron


class InputArm:
    """Input splitting of the whole family."""

    name = "input-splitting"
    claim = refused = ""
    unstable = None

    def __init__(self, task: Task) -> None:
        self.why = inputs_free(task)
        trees = [ProofTree() for _ in task.family.members]
        self.search = Search(
            task.net, task.family, task.binary32, task.margin, task.evaluate, trees, memory_bytes=task.memory_bytes
        )
        self._team = task.team
        self._number = 0 if task.team is None else task.team.enrol(self.search)
        self._started = False
        self._told: set[int] = set()

    @property
    def progress(self) -> Progress:
        return self.search.progress

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        if not self._started:
            self._started = True
            self.search.start()
        yield from self.search.rounds(budget) if self._team is None else self._team.rounds(self._number, budget)

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        if not self._started:
            return []
        done = [c for c in self.search.closed_cases() if c not in self._told]
        self._told.update(done)
        return [(c, self.search.trees[c]) for c in done]

    def skip(self, case: int) -> None:
        if self._started:
            self.search.drop(case)

    @property
    def stuck(self) -> int:
        return len(self.search.stuck)

    @property
    def programs(self) -> int:
        return 0

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self.search.trees[case].reopen(node)
        self.search.cut(restore(self.search, case, node), budget)

    def proof(self, case: int) -> ProofTree | None:
        return self.search.trees[case] if case in self.search.closed_cases() else None
