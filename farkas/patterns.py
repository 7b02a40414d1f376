"""Patterns: questions that many ask, each a function that returns a `Spec` built from the public language.

    fk.patterns.robust(net, image, label, "1/64").check(timeout=60)

| about one image | `robust`, `targeted`, `in_top`, `photometric` |
| about a box of inputs | `advised`, `in_range`, `monotone` |
| about two executions | `fair`, `equivalent`, `lipschitz` |
| answered by a certified interval | `range_of`, `modulus` |

Each says in its docstring what shapes and units its arguments have, and where it comes from.  They are short: when
none fits, take the nearest one as a beginning.
"""

from farkas.patterns_controls import advised, in_range, monotone, range_of
from farkas.patterns_images import in_top, photometric, robust, targeted
from farkas.patterns_pairs import equivalent, fair, lipschitz, modulus

__all__ = [
    "advised", "equivalent", "fair", "in_range", "in_top", "lipschitz", "modulus", "monotone", "photometric",
    "range_of", "robust", "targeted",
]  # fmt: skip
