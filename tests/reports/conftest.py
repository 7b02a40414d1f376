"""A store of a real run: proofs with certificates, violations, a file that is missing, and radii around one point."""

from pathlib import Path

import pytest

from farkas import cli
from tests.farkas.queries import BOX, absolute, prop

ROOT = Path(__file__).resolve().parents[2]
ROWS = (
    ("avoidance", "avoidance_astern_is_clear", "unsat"), ("avoidance", "avoidance_wide_is_clear", "sat"),
    ("glyphs", "glyphs_rising_middle", "sat"), ("wide", "wide_horizontal_near", "unsat"),
)  # fmt: skip


@pytest.fixture(scope="session")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store."""
    folder = tmp_path_factory.mktemp("decided")
    (folder / "absolute.onnx").write_bytes(absolute())
    radii = {"0.5": "unsat", "1": "unsat", "2": "sat", "3": "sat"}  # |x| reaches 1.5 first with the radius 1.5
    for radius in radii:
        text = prop(f"(>= X_0 -{radius})", f"(<= X_0 {radius})", "(>= Y_0 1.5)")
        (folder / f"within_{radius}.vnnlib").write_bytes(text)
    (folder / "<b>&amp;.vnnlib").write_bytes(prop(*BOX, "(>= Y_0 1.5)"))
    examples = ROOT / "examples"
    lines = ["onnx,vnnlib,timeout,expected,category"]
    lines += [f"{examples}/networks/{net}.onnx,{examples}/properties/{query}.vnnlib,60,{word},examples"
              for net, query, word in ROWS]  # fmt: skip
    lines += [f"absolute.onnx,within_{radius}.vnnlib,60,{word},radii" for radius, word in radii.items()]
    lines += ["absolute.onnx,<b>&amp;.vnnlib,60,,odd & <i>names</i>", "absent.onnx,within_1.vnnlib,60,,radii"]
    (folder / "suite.csv").write_text("\n".join(lines) + "\n")
    words = [
        "bench",
        str(folder / "suite.csv"),
        "--store",
        str(folder / "store"),
        "--jobs",
        "2",
        "--certify",
        "--plain",
    ]
    assert cli.main(words) == 0
    return folder / "store"
