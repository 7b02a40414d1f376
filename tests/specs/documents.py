"""Random VNN-LIB 2.x documents: the formulas of `tests.specs.formulas`, with `==` and `!=`, in one network or two."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import strategies as st

from tests.specs.formulas import Query, Tree, queries


@dataclass(frozen=True)
class Written:
    """A formula over X and Y, and how many inputs and outputs belong to a first network (0: there is but one)."""

    query: Query
    inputs: int = 0
    outputs: int = 0

    @property
    def labels(self) -> dict[tuple[str, int], str]:
        """The names of all variables: a vector for one network; of two, the second one's are rows of matrices."""
        x, y = self.inputs, self.outputs
        names = {("X", i): f"A[{i}]" if i < x else f"X[0,{i - x}]" for i in range(self.query.inputs)}
        return names | {("Y", j): f"B[{j}]" if j < y else f"Y[{j - y},0]" for j in range(self.query.outputs)}

    def text(self, gaps: Sequence[str] = (" ",)) -> str:
        """The file; `gaps` are used in turn between tokens."""
        x, y = self.inputs, self.outputs
        words = ["(", "vnnlib-version", "<2.0>", ")"]
        sizes = [("A", "B", f"[{x}]", f"[{y}]")] if x else []
        sizes += [("X", "Y", f"[1,{self.query.inputs - x}]", f"[{self.query.outputs - y},1]")]
        for number, (a, b, shape, other) in enumerate(sizes):
            words += ["(", "declare-network", f"n{number}", "(", "declare-input", a, "float32", shape, ")"]
            words += ["(", "declare-output", b, "float32", other, ")", ")"]
        for assertion in self.query.assertions:
            words += ["(", "assert", *self._words(assertion), ")"]
        return "".join(word + gaps[k % len(gaps)] for k, word in enumerate(words))

    def _words(self, tree: Tree) -> list[str]:
        match tree:
            case ("X" | "Y" as kind, index):
                return [self.labels[kind, index]]
            case ("number", literal):
                return [literal]
            case ("+" | "-" | "*" | "and" | "or" as head, operands):
                return ["(", head, *(word for operand in operands for word in self._words(operand)), ")"]
            case (head, left, right):
                return ["(", head, *self._words(left), *self._words(right), ")"]
            case _:
                raise ValueError(tree)

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """The meaning, straight from the tree."""
        return self.query.holds(x, y)


def _twisted(tree: Tree, words: list[str]) -> Tree:
    """The tree with `==` or `!=` in place of some comparisons that are not bounds of a single input."""
    match tree:
        case ("and" | "or" as head, parts):
            return head, [_twisted(part, words[k:] + words[:k]) for k, part in enumerate(parts)]
        case (head, left, right) if left[0] not in ("X", "number") and right[0] != "number":
            return words[0] or head, left, right
    return tree


@st.composite
def documents(draw: st.DrawFn, *, polynomial: bool = False) -> Written:
    """Documents with a bounded box in every conjunction."""
    query = draw(queries(polynomial=polynomial))
    words: list[str] = [*draw(st.tuples(*[st.sampled_from(("", "", "==", "!="))] * 3))]
    query = replace(query, assertions=tuple(_twisted(tree, words) for tree in query.assertions))
    if query.inputs > 1 and query.outputs > 1 and draw(st.booleans()):
        return Written(query, draw(st.integers(1, query.inputs - 1)), 1)
    return Written(query)


@st.composite
def tied(draw: st.DrawFn) -> Written:
    """Documents in which only the first input is bounded; every other follows from those before it by sums."""
    inputs = draw(st.integers(2, 4))
    literals = st.sampled_from(("-2", "-0.1", "0", "0.25", "0.7", "1e-3", "3"))
    factors = st.sampled_from(("-3", "-1", "-0.1", "1", "1", "0.5", "7"))
    assertions: list[Tree] = []
    low, high = sorted((draw(literals), draw(literals)), key=float)
    assertions += [(">=", ("X", 0), ("number", low)), ("<=", ("X", 0), ("number", high))]
    for i in range(1, inputs):
        others = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2, unique=True))
        terms: list[Tree] = [("*", [("number", draw(factors)), ("X", k)]) for k in others]
        total: Tree = ("+", [*terms, ("number", draw(literals))])
        own: Tree = ("*", [("number", draw(factors)), ("X", i)])
        if draw(st.booleans()):
            assertions.append(("==", own, total))
        else:
            assertions += [("<=", own, total), (">=", own, ("-", [total, ("number", "1")]))]
    draw(st.randoms()).shuffle(assertions)
    return Written(Query(inputs, 1, (*assertions, ("<=", ("Y", 0), ("X", inputs - 1)))))
