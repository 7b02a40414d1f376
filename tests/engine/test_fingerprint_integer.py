"""The probe of quantised networks: what it finds here, what it would say elsewhere, and the models that it writes."""

import numpy as np
import onnx
import pytest

from farkas.engine.fingerprint_integer import CODES, FORMS, Codes, Form, IntegerFingerprint, one_layer, probe_integer
from farkas.engine.onnx_writer import model, node


@pytest.fixture(scope="module")
def found() -> IntegerFingerprint:
    return probe_integer()


def test_quantised_operators_of_this_onnxruntime_are_as_stated(found: IntegerFingerprint) -> None:
    assert found.matches, found.differs
    assert set(found.differs) == {(form, codes, on) for form in FORMS for codes in CODES for on in (True, False)}


def test_unoptimised_graphs_are_computed_in_floats_here(found: IntegerFingerprint) -> None:
    # The accumulator times s_x s_w, against sums of products of dequantised numbers: most results differ in a bit.
    assert not found.fuses_without_optimisation
    assert found.differs["QDQ MatMul", "U8U8", False] > 100
    assert "computed in float32" in found.describe()[1]


def made(**differing: int) -> IntegerFingerprint:
    """A fingerprint in which the form and codes named 'Form_codes' differ, with optimisation."""
    differs: dict[tuple[Form, Codes, bool], int] = {(f, c, on): 0 for f in FORMS for c in CODES for on in (True, False)}
    for f, c, on in list(differs):
        differs[f, c, on] = differing.get(f"{f} {c}".replace(" ", "_"), 0) if on else 0
    return IntegerFingerprint("onnxruntime 9", differs)


def test_saturating_kernels_are_told_from_wrong_ones() -> None:
    saturating = made(QLinearMatMul_U8S8=5)
    assert (saturating.matches, saturating.saturates) == (True, True)
    assert "reduce_range" in saturating.describe()[2]
    wrong = made(QLinearMatMul_U8S8=5, QLinearMatMul_U8U8=1)
    assert (wrong.matches, wrong.saturates) == (False, False)
    assert wrong.describe() == ("int-exact does not hold for onnxruntime 9: QLinearMatMul U8S8, QLinearMatMul U8U8",)
    exact = made()
    assert (exact.matches, exact.saturates, exact.fuses_without_optimisation) == (True, False, True)
    assert "exact on this machine" in exact.describe()[2]


def test_inputs_at_full_range_would_saturate_sixteen_bits() -> None:
    # Codes from 200 and weights of 127: two products are at least 200 * 127 * 2 = 50800 > 32767.
    network = onnx.load_from_string(one_layer("QLinearMatMul", "U8S8", np.random.default_rng(0)))
    (weight,) = (onnx.numpy_helper.to_array(t) for t in network.graph.initializer if t.name == "w")
    assert set(np.unique(weight)) == {-128, 127}
    assert ((weight[:-1] == 127) & (weight[1:] == 127)).any()


def test_the_models_that_are_written_pass_the_checker_of_the_onnx_package() -> None:
    for form in FORMS:
        network = onnx.load_from_string(one_layer(form, "S8S8", np.random.default_rng(1)))
        onnx.checker.check_model(network, full_check=False)
    tiny = onnx.load_from_string(
        model([node("Add", ["x", "c"], "y")], {"c": np.ones((1, 2), np.float32)}, (1, 2), (1, 2))
    )
    assert [d.dim_value for d in tiny.graph.input[0].type.tensor_type.shape.dim] == [1, 2]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tiny.graph.initializer[0]), [[1, 1]])
