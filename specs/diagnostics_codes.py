"""The codes of diagnostics: what kind of mistake each is, and why it is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code says in a few words, and why, with what to write instead."""

    title: str
    text: str


_ALL = {
    "FK101": Explanation(
        "chained comparison",
        "Python evaluates `lo <= x <= hi` as `(lo <= x) and (x <= hi)`, and `and` asks the first condition for a truth "
        "value, which it has only once x has one.  Write fk.between(lo, x, hi).",
    ),
    "FK102": Explanation(
        "`and` or `or` between conditions",
        "Python's `and` and `or` choose one of their operands by its truth value; they cannot be overloaded.  Write "
        "`&` and `|`, with parentheses around every comparison.",
    ),
    "FK103": Explanation(
        "`not` before a condition", "Python's `not` wants a truth value and cannot be overloaded.  Write `~(...)`."
    ),
    "FK104": Explanation(
        "branch on a condition",
        "`if`, `while`, `assert` and conditional expressions run once, when the specification is built, and not once "
        "for each input.  Say `fk.implies(condition, consequence)`.",
    ),
    "FK105": Explanation(
        "truth value of a condition",
        "Functions such as Python's own all, any, min, max and sorted, and the operator `in`, ask conditions for their "
        "truth values.  Use fk.all, fk.any, fk.min, fk.max.",
    ),
    "FK106": Explanation(
        "logical operator between values",
        "`&`, `|` and `~` bind more tightly than comparisons: `x >= 0 & x <= 1` means `x >= (0 & x) <= 1`.  Put every "
        "comparison in parentheses.",
    ),
    "FK107": Explanation(
        "function of NumPy",
        "NumPy's functions compute with numbers, and an expression has none before its variables have values.  The "
        "operators are those of NumPy; its functions are here under the names fk.abs, fk.sum, fk.max, fk.argmax ...",
    ),
    "FK201": Explanation(
        "text that is no number", "Strings are decimal numbers or quotients of two: '0.1', '-2e-3', '1/255'."
    ),
    "FK202": Explanation("number that is not finite", "NaN and infinities have no place in exact arithmetic."),
    "FK203": Explanation(
        "value that is no number",
        "Numbers are int, float (its shortest decimal), str (a rational), Fraction, Decimal and NumPy's numbers (their "
        "binary values).  Truth values, complex numbers and conditions are none.",
    ),
    "FK204": Explanation(
        "number that was computed in floating point",
        "A float stands for its shortest decimal: 0.1 is one tenth.  One with 15 digits and more is the rounded result "
        "of a computation, and its decimals are exact about the wrong number.  Write the quotient as a string.",
    ),
    "FK301": Explanation("shapes that do not fit", "Shapes broadcast as in NumPy: equal, or 1, from the last axis on."),
    "FK302": Explanation("index that selects nothing", "Indices are those of NumPy arrays, and labels."),
    "FK303": Explanation("shape of another size", "A reshaped tensor has as many entries as before."),
    "FK304": Explanation(
        "shapes that do not multiply", "In `a @ b` the last axis of a is as long as the one before the last of b."
    ),
    "FK305": Explanation("input of another shape", "A network is called with tensors of the shapes of its inputs."),
    "FK306": Explanation(
        "axes in another order",
        "The tensor has the network's axes in another order, as NHWC beside NCHW.  Transposing and reshaping are "
        "different things: a reshape would put pixels in the wrong places without a complaint.",
    ),
    "FK307": Explanation("ragged list", "The rows of a nested list have one length."),
    "FK308": Explanation("labels that do not fit", "Labels are distinct names, one for every entry of the variable."),
    "FK309": Explanation("unknown label", "Attributes of a tensor are its own and its labels."),
    "FK310": Explanation("shape that is none", "A shape is a tuple of positive integers."),
    "FK311": Explanation("axis that there is not", "Axes count from 0, or from -1 backwards."),
    "FK312": Explanation("number of inputs", "A network is called with one tensor for each of its inputs."),
    "FK313": Explanation("reduction of nothing", "The greatest, least or mean of no entries is nothing."),
    "FK401": Explanation(
        "product of too many terms",
        "Products of sums are multiplied out.  Those of a few entries each are meant.",
    ),
    "FK402": Explanation(
        "division by an expression",
        "Specifications are polynomial: multiply by the divisor, whose sign is known, first.",
    ),
    "FK403": Explanation("power", "Exponents are integers from 0 to 16.  For a root, compare the square."),
    "FK404": Explanation(
        "input that is computed",
        "The entries of a network's input are sums of entries of variables, each times a number, plus a number.  "
        "Products, maxima and the outputs of networks are no inputs; join networks before they are loaded.",
    ),
    "FK405": Explanation("position that there is not", "argmax and argmin are positions from 0 on."),
    "FK406": Explanation(
        "position compared with something else", "argmax and argmin compare with integers and each other."
    ),
    "FK407": Explanation("division by zero", "A divisor is not 0."),
    "FK408": Explanation(
        "several Euclidean norms",
        "A comparison with fk.l2 becomes one of squares, which is exact for one norm beside expressions without "
        "norms.  Bound each norm by a number, or use fk.linf.",
    ),
    "FK409": Explanation(
        "Euclidean norm and a negative number", "A norm is at least 0, so the comparison is always or never true."
    ),
    "FK410": Explanation("number of positions", "fk.top_k names some of the positions: at least one, and not all."),
    "FK411": Explanation("name of a parameter", "A parameter has a name that `Spec.at` can be called with."),
    "FK501": Explanation(
        "nothing is given", "`given` says which inputs are meant; every input has a bound on both sides."
    ),
    "FK502": Explanation("input without a bound", "`given` bounds every input of every network on both sides."),
    "FK503": Explanation(
        "no input is given", "The bounds in `given` contradict each other: whatever is proved is about no input at all."
    ),
    "FK504": Explanation("constant conclusion", "`prove` is true or false whatever the inputs are."),
    "FK505": Explanation("conclusion about inputs only", "`prove` mentions no output, so no network takes part in it."),
    "FK506": Explanation("no condition", "`given`, `prove` and logical operators take comparisons of expressions."),
    "FK507": Explanation(
        "too many cases",
        "Absolute values, maxima and disjunctions multiply the cases of a specification.  The l1 norm of n entries "
        "has 2^n; linf has none.",
    ),
    "FK508": Explanation("too deeply nested", "Use fk.all and fk.any on lists instead of one operator after another."),
    "FK509": Explanation("variable that no network takes", "Every entry of a variable is an input of some network."),
    "FK510": Explanation("network that was not loaded", "Specifications are about networks that fk.load returned."),
    "FK511": Explanation(
        "network with several tensors",
        "`net.input` and `net(x)` are for networks with one input and one output.  Others are called by "
        "`net.outputs_at(a, b)`, which returns one tensor for each output.",
    ),
    "FK512": Explanation(
        "parameter without a value",
        "A specification with fk.parameter is asked about with a value of each: spec.at(eps='0.01').check(), or "
        "spec.critical('eps', 0, 1) for the greatest value with which it holds.",
    ),
    "FK513": Explanation("value of no parameter", "Spec.at gives values to the parameters that a specification has."),
    "FK514": Explanation(
        "semantics of computed inputs",
        "Where one entry of a variable is used for several inputs in different ways, or several for one, an affine map "
        "stands in front of the network.  Nobody runs its arithmetic, so the question is about the reals.  An input "
        "that is `a * x + b` with an entry x of its own has no such map, and every semantics.",
    ),
    "FK515": Explanation(
        "centre that does not fit",
        "The centre of a specification is the values of its one variable, or conditions `x == x0` for all entries of "
        "all variables.",
    ),
    "FK516": Explanation(
        "centre that is not given", "`given` is false at the centre, so the specification says nothing about it."
    ),
    "FK517": Explanation(
        "violated at its centre",
        "The network does not do at the centre itself what is to be proved around it: a misclassified image, say.  "
        "There is nothing to prove; count the point as violated and go on.",
    ),
    "FK601": Explanation(
        "argument of a pattern",
        "A pattern of fk.patterns was called with an argument that it cannot use; its docstring says what each one is.",
    ),
    "FK602": Explanation(
        "more than one value to optimise",
        "fk.maximize, fk.minimize and fk.bounds are about an expression with one entry.  Of several, one is meant, or "
        "the greatest or least of them: y[0, 1], fk.max(y), fk.min(y), fk.linf(y).",
    ),
}

CODES: Mapping[str, Explanation] = MappingProxyType(_ALL)


def explain(code: str) -> str:
    """What a code means and what to write instead; the list of all codes for one that there is not."""
    known = CODES.get(code.upper())
    if known is None:
        return f"there is no code '{code}'; known are\n" + "\n".join(f"  {c}  {e.title}" for c, e in CODES.items())
    return f"{code.upper()}: {known.title}\n{known.text}"
