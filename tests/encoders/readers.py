"""Files of linear models, read back by other programs than the one that wrote them; and models to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highspy
import numpy as np
from hypothesis import strategies as st

from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder
from farkas.encoders.sparse import SparseRows

INF = float("inf")


def by_highs(path: Path) -> Any:
    """HiGHS with the file's model in it; raises where it cannot read the file (tiny coefficients it drops)."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    if highs.readModel(str(path)) == highspy.HighsStatus.kError:
        raise ValueError(f"HiGHS does not read {path.name}")
    return highs


def optimum(highs: Any) -> float:
    """The optimal value; inf: infeasible, -inf: unbounded, nan: anything else."""
    highs.run()
    kinds = highspy.HighsModelStatus
    answers = {kinds.kInfeasible: INF, kinds.kUnbounded: -INF, kinds.kUnboundedOrInfeasible: -INF}
    if highs.getModelStatus() == kinds.kOptimal:
        return float(highs.getInfo().objective_function_value)
    return answers.get(highs.getModelStatus(), float("nan"))


def statement(highs: Any) -> dict[str, Any]:
    """What HiGHS holds, by names: bounds, costs and kinds of columns; every row's bounds joined over its halves."""
    lp = highs.getLp()
    matrix = np.zeros((lp.num_row_, lp.num_col_))
    part = lp.a_matrix_
    for i in range(len(part.start_) - 1):
        for k in range(part.start_[i], part.start_[i + 1]):
            where = (i, part.index_[k]) if part.format_ == highspy.MatrixFormat.kRowwise else (part.index_[k], i)
            matrix[where] = part.value_[k]
    kinds = lp.integrality_ or [highspy.HighsVarType.kContinuous] * lp.num_col_
    columns = {
        name: (lp.col_lower_[j], lp.col_upper_[j], lp.col_cost_[j], kinds[j] == highspy.HighsVarType.kInteger)
        for j, name in enumerate(lp.col_names_)
    }
    rows: dict[str, Any] = {}
    for i, name in enumerate(lp.row_names_):
        low, high = lp.row_lower_[i], lp.row_upper_[i]
        terms = {lp.col_names_[j]: float(matrix[i, j]) for j in np.flatnonzero(matrix[i])}
        if name.endswith("_hi"):
            name = name.removesuffix("_hi")
            before = rows[name]
            assert before[2] == terms, f"the halves of {name} differ"
            low, high = max(low, before[0]), min(high, before[1])
        rows[name] = (low, high, terms)
    return {"columns": columns, "rows": rows}


def said(model: LinearModel) -> dict[str, Any]:
    """The same of a model in memory."""
    names = model.column_names()
    columns = {
        name: (model.lower[j], model.upper[j], model.cost[j], bool(model.integral[j])) for j, name in enumerate(names)
    }
    rows, part = {}, model.rows
    for i, name in enumerate(model.row_names()):
        here = slice(part.start[i], part.start[i + 1])
        terms = {names[j]: float(w) for j, w in zip(part.index[here], part.values[here], strict=True)}
        if np.isfinite([model.row_lower[i], model.row_upper[i]]).any():
            rows[name] = (model.row_lower[i], model.row_upper[i], terms)
    return {"columns": columns, "rows": rows}


numbers = st.one_of(
    st.integers(-9, 9).map(float), st.sampled_from([0.1, 1 / 3, -1e-7, 123456.789, 2.0**-20, -7.3e5])
).filter(bool)


@st.composite
def models(draw: st.DrawFn) -> LinearModel:
    """Small models with every kind of bound, of row and of number, over boxes that keep their optimum finite."""
    builder = ModelBuilder()
    count = draw(st.integers(1, 5))
    for j in range(count):
        integral = draw(st.booleans())
        low, high = sorted(draw(st.tuples(st.integers(-5, 5), st.integers(-5, 5))))
        cost = draw(st.sampled_from([0.0, 1.0, -2.5, 0.1]))
        free = cost == 0.0 and draw(st.booleans())
        lower, upper = draw(st.sampled_from([(-INF, INF), (low, INF), (-INF, high)])) if free else (low, high)
        group = Group("xyz"[j % 3], j, (0,), draw(st.sampled_from(["", "/conv.1/Relu", "a b:c", "9", "end"])))
        builder.add_columns(group, lower, upper, cost=cost, integral=integral)
    for i in range(draw(st.integers(0, 5))):
        index = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=count))
        values = [draw(numbers) for _ in index]
        low, high = sorted((draw(numbers), draw(numbers)))
        ends = draw(st.sampled_from([(low, low), (low, high), (-INF, high), (low, INF), (-INF, INF), (0.0, 0.0)]))
        part = SparseRows(np.array([0, len(index)]), np.array(index, dtype=np.int64), np.array(values))
        builder.add_rows(Group("row", -1, (i,)), part, *ends)
    return builder.build()
