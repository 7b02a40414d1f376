"""The whole road on the example networks: verdict, certificate, and the checker alone with nothing installed."""

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CHECK = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from farkas.checker.check import main; sys.exit(main())"


@dataclass(frozen=True)
class Instance:
    network: Path
    property: Path
    expected: str


def suite() -> list[Instance]:
    with (EXAMPLES / "suite.csv").open(newline="") as file:
        return [Instance(EXAMPLES / row["onnx"], EXAMPLES / row["vnnlib"], row["expected"])
                for row in csv.DictReader(file)]


SUITE = suite()


def verify(instance: Instance, certificate: Path, semantics: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "farkas", "verify", str(instance.network), str(instance.property), "--quiet",
               "--timeout", "60", "--semantics", semantics, "--certificate", str(certificate)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def check(instance: Instance, certificate: Path, semantics: str = "f32-any") -> subprocess.CompletedProcess[str]:
    """The reference tier in an interpreter that cannot see any installed package."""
    command = [sys.executable, "-I", "-S", "-c", CHECK, str(certificate), "--network", str(instance.network),
               "--property", str(instance.property), "--semantics", semantics, "--verdict", instance.expected]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("semantics", ["f32-any", "real"])
@pytest.mark.parametrize("instance", SUITE, ids=lambda instance: instance.property.stem)
def test_the_verdict_is_the_judged_one_and_the_lone_checker_accepts_it(
    instance: Instance, semantics: str, tmp_path: Path
) -> None:
    certificate = tmp_path / "proof.nnc"
    verified = verify(instance, certificate, semantics)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.splitlines()[0] == instance.expected
    checked = check(instance, certificate, semantics)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_certificate_is_rejected_for_another_network_and_for_another_property(tmp_path: Path) -> None:
    certificate = tmp_path / "proof.nnc"
    proved = next(instance for instance in SUITE if instance.property.stem == "wave_amplitude")
    assert verify(proved, certificate, "f32-any").stdout.startswith("unsat")
    other_property = Instance(proved.network, EXAMPLES / "properties" / "wave_positive.vnnlib", "unsat")
    other_network = Instance(EXAMPLES / "networks" / "pendulum.onnx", proved.property, "unsat")
    assert check(proved, certificate).returncode == 0
    assert check(other_property, certificate).returncode == 3
    assert check(other_network, certificate).returncode == 3
