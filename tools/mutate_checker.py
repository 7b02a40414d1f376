"""Mutation score of the checker's arithmetic: how many small changes of the kernel do its tests notice?

    python tools/mutate_checker.py [--module checker/kernel.py] [--sample 400] [--seed 1] [--timeout 60]

Clones the checkout into a temporary folder, lets cosmic-ray list every mutant of the module, draws a sample by the
printed seed, runs the module's tests on each, and prints the score and every survivor as a diff.  cosmic-ray comes with
the development tools.  A survivor is either equivalent, which has to be argued, or a missing test.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = {
    "checker/kernel.py": "tests/checker/test_kernel.py tests/checker_fast/test_kernel.py tests/checker/test_tree.py "
    "tests/checker/test_check.py tests/checker/test_refine.py",
    "checker/refine.py": "tests/checker/test_refine.py tests/checker/test_walk.py",
    "checker/walk.py": "tests/checker/test_walk.py tests/checker/test_tree.py tests/checker/test_check.py",
    "checker/plan.py": "tests/checker/test_plan.py tests/checker/test_walk.py",
    "checker/tree.py": "tests/checker/test_tree.py tests/checker/test_walk.py tests/checker/test_check.py",
    "checker/query.py": "tests/checker/test_kernel.py tests/checker/test_tree.py tests/checker/test_check.py",
    "checker/ties.py": "tests/checker/test_ties.py",
    "checker/ellipsoid.py": "tests/checker/test_ellipsoid.py tests/checker_fast/test_balls.py",
    "checker/polynomials.py": "tests/checker/test_property.py tests/specs/test_checker_agreement.py",
    "checker/integer.py": "tests/checker/test_integer.py tests/checker/test_network.py tests/checker/test_check.py",
}


def main() -> int:
    options = _options()
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        total, drawn = _draw(clone, options)
        print(f"{options.module}: {total} mutants, {drawn} drawn with seed {options.seed}", flush=True)
        _cosmic_ray(clone, "exec", "cr.toml", "cr.sqlite")
        return _report(clone / "cr.sqlite")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", choices=sorted(TESTS), default="checker/kernel.py")
    parser.add_argument("--sample", type=int, default=400, help="mutants to run; 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for the tests of one mutant")
    return parser.parse_args()


def _draw(clone: Path, options: argparse.Namespace) -> tuple[int, int]:
    """Write the configuration, list the mutants, keep a sample; (all, kept)."""
    command = f"{sys.executable} -m pytest -x -q -m 'not slow' -p no:cacheprovider {TESTS[options.module]}"
    (clone / "cr.toml").write_text(
        f'[cosmic-ray]\nmodule-path = "{options.module}"\ntimeout = {options.timeout}\nexcluded-modules = []\n'
        f'test-command = "{command}"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    _cosmic_ray(clone, "init", "cr.toml", "cr.sqlite")
    with sqlite3.connect(clone / "cr.sqlite") as session:
        jobs = [row[0] for row in session.execute("SELECT job_id FROM work_items ORDER BY job_id")]
        order = [
            row[0]
            for row in session.execute(
                "SELECT job_id FROM mutation_specs ORDER BY start_pos_row, start_pos_col, operator_name, occurrence"
            )
        ]
        count = min(options.sample, len(order)) if options.sample else len(order)
        kept = set(random.Random(options.seed).sample(order, count))
        dropped = [(job,) for job in jobs if job not in kept]
        session.executemany("DELETE FROM mutation_specs WHERE job_id = ?", dropped)
        session.executemany("DELETE FROM work_items WHERE job_id = ?", dropped)
    return len(order), len(kept)


def _cosmic_ray(clone: Path, *arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).parent / "cosmic-ray"), *arguments], cwd=clone, check=True)


def _report(database: Path) -> int:
    """Print the score and the survivors; 1 when the score is under 95 %."""
    with sqlite3.connect(database) as session:
        rows = session.execute(
            "SELECT r.test_outcome, r.diff, s.operator_name, s.start_pos_row FROM work_results r "
            "JOIN mutation_specs s ON s.job_id = r.job_id ORDER BY s.start_pos_row"
        ).fetchall()
    survivors = [row for row in rows if row[0] == "SURVIVED"]
    for _, diff, operator, line in survivors:
        print(f"\nsurvivor: line {line}, {operator}\n{diff}")
    score = 1 - len(survivors) / len(rows)
    print(f"{len(rows)} mutants run, {len(survivors)} survived: score {100 * score:.1f} %")
    return 0 if score >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
