"""The picture of a certificate's trees against trees that were made here, and against the counts of `farkas show`."""

import json
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas import api
from farkas.certificate_file import read_certificate_file, tree_shape
from farkas.reports.trees import CUTS, Trees, bands, read_trees

Tree = int | tuple[int, "Tree", "Tree"]  # a leaf's kind, or an input that is halved
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def leb(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def preorder(tree: Tree, inputs: int) -> list[int]:
    if isinstance(tree, int):
        return [inputs + tree]
    return [tree[0], *preorder(tree[1], inputs), *preorder(tree[2], inputs)]


def certificate(trees: list[Tree], inputs: int) -> bytes:
    """As section 1 of docs/certificate.md, of the rule crown-fp-1; the hashes are not looked at."""
    numbers = [number for tree in trees for number in preorder(tree, inputs)]
    leaves = sum(number >= inputs for number in numbers)
    kinds = [[[0, [[0, 1]]]], [[0, [[0, 1], [1, 1]]]], [[0, []]]]
    head = json.dumps({"leaves": leaves}).encode()
    found = b"NNC1" + struct.pack("<I", len(head)) + head
    for kind, payload in ((1, json.dumps(kinds).encode()), (2, b"".join(map(leb, numbers)))):
        stored = zlib.compress(payload)
        found += struct.pack("<BI", kind, len(stored)) + stored + bytes(16)
    return found


def read(trees: list[Tree], inputs: int) -> Trees:
    found = read_trees(certificate(trees, inputs))
    assert found is not None
    return found


def test_a_tree_that_was_drawn_by_hand_is_read_as_it_was_drawn() -> None:
    """Input 3 at the root; on its left input 200 over two leaves; on its right a leaf."""
    found = read([(3, (200, 0, 1), 2)], inputs=300)
    nodes = [(node.kind, node.which, node.level, node.first, node.count) for node in found.nodes]
    assert nodes == [
        ("input", 3, 0, 0, 3), ("input", 200, 1, 0, 2), ("rule", None, 2, 0, 1), ("combination", None, 2, 1, 1),
        ("empty", None, 1, 2, 1),
    ]  # fmt: skip
    assert (found.trees, found.leaves, found.depth) == (1, 3, 2)


def trees() -> st.SearchStrategy[Tree]:
    return st.recursive(st.integers(0, 2), lambda below: st.tuples(st.integers(0, 130), below, below), max_leaves=40)


def leaves_of(tree: Tree) -> int:
    return 1 if isinstance(tree, int) else leaves_of(tree[1]) + leaves_of(tree[2])


def depth_of(tree: Tree) -> int:
    return 0 if isinstance(tree, int) else 1 + max(depth_of(tree[1]), depth_of(tree[2]))


def uses_the_first_kind(tree: Tree) -> Tree:
    """The format counts from the first kind of leaf, which is in use."""
    return (0, 0, tree)


@given(st.lists(trees().map(uses_the_first_kind), min_size=1, max_size=4))
def test_every_tree_has_its_leaves_below_its_root(made: list[Tree]) -> None:
    found = read(made, inputs=131)
    roots = [node for node in found.nodes if node.level == 0]
    assert [root.count for root in roots] == [leaves_of(tree) for tree in made]
    assert found.depth == max(map(depth_of, made)) and found.trees == len(made)
    leaves = [node for node in found.nodes if node.kind not in CUTS]
    assert [leaf.first for leaf in leaves] == list(range(found.leaves))


@given(trees().map(uses_the_first_kind), st.floats(10, 900), st.floats(0.5, 20))
def test_cells_of_a_level_stay_inside_and_do_not_overlap(made: Tree, width: float, least: float) -> None:
    cells = list(bands(read([made], inputs=131), width, least))
    for level in {cell.level for cell in cells}:
        row = sorted((cell.left, cell.width) for cell in cells if cell.level == level)
        assert row[0][0] >= 0 and row[-1][0] + row[-1][1] <= width * (1 + 1e-9)
        assert all(a + b <= c + 1e-6 * width for (a, b), (c, _) in pairwise(row))
    assert all(cell.width >= least for cell in cells if cell.node is not None)


@pytest.mark.parametrize(
    ("network", "query"),
    [("avoidance", "avoidance_astern_is_clear"), ("wave", "wave_extremes"), ("wide", "wide_horizontal_near")],
)
def test_certificates_have_the_counts_that_show_finds(network: str, query: str, tmp_path: Path) -> None:
    """Inputs are halved in the first, the second has two cases, in the third goals are shared out and signs decided."""
    place = tmp_path / "proof.nnc"
    question = EXAMPLES / "properties" / f"{query}.vnnlib"
    net = api.load(EXAMPLES / "networks" / f"{network}.onnx")
    assert isinstance(api.verify(net, question, timeout=60, certificate=place), api.Holds)
    data = place.read_bytes()
    file = read_certificate_file(data)
    tree = file.frame("TREE")
    found = read_trees(data)
    assert tree is not None
    plan = file.frame("PLAN")
    lists = {"recipes": [], "forks": []} if plan is None else json.loads(plan.payload)
    shape = tree_shape(tree.payload, file.header["leaves"], len(lists["recipes"]), len(lists["forks"]))
    assert found is not None
    assert (found.trees, found.leaves, found.depth) == (shape.trees, shape.leaves, shape.depth)
    with_inputs = read_trees(data, net.inputs)
    assert with_inputs is not None
    for (kind, which), count in with_inputs.cuts.items():
        if which is not None:
            assert shape.cuts[which if kind == "input" else which + net.inputs] == count
    forks = sum(node.kind == "fork" for node in found.nodes)
    assert (sum(found.cuts.values()) - forks, forks) == (shape.cuts.total(), shape.forks.total())


def test_what_is_no_tree_has_no_picture() -> None:
    good = certificate([(0, 0, 1)], 5)
    assert read_trees(good) is not None
    assert read_trees(b"NNC2") is None and read_trees(good[:40]) is None
    assert read_trees(certificate([0, 0], 5)[:-17]) is None
    for place in range(len(good)):
        read_trees(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])  # never an exception
