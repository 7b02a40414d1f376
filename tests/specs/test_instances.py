"""The public VNN-COMP properties: all of them read, and what is known about them from elsewhere is what is read."""

import csv
from pathlib import Path

import pytest

from farkas.specs.boxes import Grid
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Property
from farkas.specs.vnnlib import read_property

pytestmark = pytest.mark.vnncomp


@pytest.fixture(scope="module")
def properties(vnncomp: Path) -> dict[str, Property]:
    """Every VNN-LIB 1.0 property that the manifest names, by its path."""
    with (vnncomp / "manifest.csv").open(newline="") as stream:
        names = {row["vnnlib"] for row in csv.DictReader(stream) if not row["category"].startswith("vnnlib2")}
    return {name: read_property((vnncomp / name).read_bytes()) for name in sorted(names)}


def of(properties: dict[str, Property], start: str) -> Property:
    """The one property whose path starts so."""
    (found,) = [prop for name, prop in properties.items() if name.startswith(start)]
    return found


def shape(prop: Property) -> list[list[int]]:
    """For every case, the number of atoms of every disjunct."""
    return [[len(atoms) for atoms in case.disjuncts] for case in prop.cases]


def test_every_public_property_reads(properties: dict[str, Property]) -> None:
    assert len(properties) > 100
    for name, prop in properties.items():
        assert prop.cases, name
        assert not prop.vacuous, name
        assert len(prop.sha256) == 64


# Inputs, outputs and the shape of the unsafe set, from the survey of the benchmark files (per category) and, for the
# ACAS Xu properties, from the definitions in Katz et al., Reluplex, CAV 2017, appendix VI.
@pytest.mark.parametrize(
    ("start", "inputs", "outputs", "wanted"),
    [
        ("acasxu_2023/vnnlib/prop_1.", 5, 5, [[1]]),  # clear-of-conflict score above a threshold
        ("acasxu_2023/vnnlib/prop_2.", 5, 5, [[4]]),  # ... is maximal
        ("acasxu_2023/vnnlib/prop_3.", 5, 5, [[4]]),  # ... is minimal
        ("acasxu_2023/vnnlib/prop_5.", 5, 5, [[1, 1, 1, 1]]),  # strong right is not minimal
        ("acasxu_2023/vnnlib/prop_6.", 5, 5, [[1, 1, 1, 1], [1, 1, 1, 1]]),  # two input boxes
        ("acasxu_2023/vnnlib/prop_7.", 5, 5, [[3, 3]]),  # strong right, or strong left, below three others
        ("acasxu_2023/vnnlib/prop_8.", 5, 5, [[2, 2, 2]]),  # one of three advisories scores below the first two
        ("test/vnnlib/test_nano.", 1, 1, [[1]]),
        ("mnist_fc/vnnlib/prop_0_0.03.", 784, 10, [[1] * 9]),
        ("yolo_2023/vnnlib/TinyYOLO_prop_000129", 8112, 21125, [[5]]),
        ("lsnc/vnnlib/quadrotor2d_state_0.", 6, 8, [[2] * 13]),
        ("lsnc/vnnlib/quadrotor2d_output_0.", 8, 10, [[2] * 17]),
        ("cctsdb_yolo_2023/vnnlib/spec_onnx_patch-1_idx_00206_0.", 12296, 1, [[1]]),
        ("nn4sys_2023/vnnlib/lindex_3000.", 1, 1, [[1, 1]] * 3000),
        ("nn4sys_2023/vnnlib/cardinality_0_750_128.", 154, 1, [[1, 1]] * 750),
        ("nn4sys_2023/vnnlib/pensieve_parallel_5.", 96, 1, [[1]]),
    ],
)
def test_public_properties_have_the_known_shape(
    properties: dict[str, Property], start: str, inputs: int, outputs: int, wanted: list[list[int]]
) -> None:
    prop = of(properties, start)
    assert (prop.inputs, prop.outputs) == (inputs, outputs)
    assert shape(prop) == wanted


def test_points_off_the_binary32_grid_are_as_many_as_counted_before(properties: dict[str, Property]) -> None:
    """A count made with other code, over the properties with one input box: 37 384 coordinates in 23 properties."""
    counts = []
    for prop in properties.values():
        boxes = [Grid().box(case.lower, case.upper) for case in prop.cases]
        assert not any(box.empty for box in boxes)
        if len(boxes) == 1:
            counts.append(boxes[0].off_grid)
    assert sum(counts) == 37_384
    assert sum(count > 0 for count in counts) == 23


def test_ill_formed_linearizenn_files_are_refused_if_present(vnncomp: Path) -> None:
    """The category once shipped files with `(<= (0.74 (- Y_0 ...)))`; text of that form is refused in any case."""
    files = list(vnncomp.glob("linearizenn*/**/prop_*_io*.vnnlib*"))
    ill_formed = [path.read_bytes() for path in files]
    head = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
    ill_formed.append((head + "(assert (<= (0.74 (- Y_0 (* 0.5 X_0)))))\n").encode())
    for data in ill_formed:
        with pytest.raises(MalformedProperty, match="wanted '\\+', '-' or '\\*'"):
            read_property(data)
