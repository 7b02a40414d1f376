"""The driver's side of a cluster, with a Ray that does what a test says: whom it asks, what it takes for lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farkas.batch import cluster
from farkas.batch.bench import Bench
from farkas.batch.cluster import Cluster
from farkas.batch.cluster_worker import About, Report
from farkas.batch.connection import BadCluster
from farkas.batch.outcomes import MANY
from farkas.batch.plan import Plan
from farkas.batch.store import Store
from farkas.batch.tasks import NO_ROOM, End, Limits, Outcome, Task
from farkas.batch.workers import HERE, Local
from tests.batch.test_bench import Ears, asked, rows, verdicts

GB = 1 << 30


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Call:
    """An answer that is awaited: None until there is one; an exception is raised."""

    def __init__(self, method: str, words: tuple[Any, ...]) -> None:
        self.method, self.words = method, words
        self.answer: Any = None

    def remote(self, *words: Any) -> "Call":
        self.words = words
        return self


@dataclass
class Actor:
    """calls: the methods that were called, the last ones last."""

    calls: list[Call] = field(default_factory=list)
    is_killed: bool = False

    def __getattr__(self, name: str) -> Call:
        self.calls.append(Call(name, ()))
        return self.calls[-1]

    def answers(self, method: str, answer: object) -> None:
        """The last call of a method is answered so."""
        next(call for call in reversed(self.calls) if call.method == method).answer = answer


class Ray:
    """Answers nothing by itself."""

    class exceptions:
        RayError = RayError
        RayTaskError = RayTaskError

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.options: list[dict[str, Any]] = []
        self.open = ExitStack()

    def remote(self, **options: Any) -> Callable[[type], Any]:
        self.options.append(options)

        class Kind:
            @staticmethod
            def remote(**_: Any) -> Actor:
                self.actors.append(Actor())
                return self.actors[-1]

        return lambda _: Kind

    def wait(self, calls: Sequence[Call], *, num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        found = [call for call in calls if call.answer is not None][:num_returns]
        return found, []

    def get(self, call: Call) -> Any:
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, actor: Actor, *, no_restart: bool) -> None:
        actor.is_killed = True

    def put(self, data: bytes) -> bytes:
        return data

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


def about(node: str = "n", code: str = "code") -> About:
    return About(code, node, "a processor", 100 * GB, 50 * GB)


def task(folder: Path, name: str = "t") -> Task:
    return Task(name, str(folder / name), Limits(5.0), "m:f", {})


def ended(name: str = "t", **files: bytes) -> Report:
    return Report(0, 50 * GB, Outcome(name, 0, End.ITSELF, 1.0, 1.0, 1), {"result.json": b"{}", **files})


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    found = Ray()
    monkeypatch.setattr(cluster, "connected", lambda address: (found, False))
    with found.open:
        yield found


def entered(ray: Ray, *answers: Any, **options: Any) -> tuple[Cluster, Ears]:
    """A cluster whose first workers have answered so at their start."""
    ears = Ears()
    found = ray.open.enter_context(Cluster("there:1", "code", ears, **options))
    for actor, answer in zip(ray.actors, answers, strict=False):
        actor.answers("about", answer)
    assert found.wait(0.0) == []
    return found, ears


def test_workers_are_as_many_as_cores_unless_it_is_said_and_each_asks_for_a_gpu_where_one_is_wanted(ray: Ray) -> None:
    entered(ray)
    assert [(one["num_cpus"], one["num_gpus"]) for one in ray.options] == [(1, 0), (1, 0)]
    entered(ray, jobs=1, gpu=True)
    assert [(one["num_cpus"], one["num_gpus"]) for one in ray.options[2:]] == [(1, 1)]


def test_a_cluster_without_gpus_is_refused_unless_it_is_said_how_many_to_wait_for(ray: Ray) -> None:
    with pytest.raises(BadCluster, match="it has no GPU"):
        entered(ray, gpu=True)


def test_workers_of_one_machine_are_one_place_whose_memory_counts_what_its_own_tasks_have(
    ray: Ray, tmp_path: Path
) -> None:
    found, _ = entered(ray, about("m"), about("m"), about("k"), jobs=4)
    assert [(place.name, place.cores, place.processor) for place in found.places()] == [
        ("m", 2, "a processor"), ("k", 1, "a processor")
    ]  # fmt: skip
    found.start(task(tmp_path), "m")
    ray.actors[0].answers("begin", Report(0, 40 * GB))
    found.wait(0.0)
    ray.actors[0].answers("wait", Report(8 * GB, 40 * GB))
    found.wait(0.0)
    assert found.resident == {"t": 8 * GB}
    first, second = found.places()
    assert (first.available, first.budget) == (40 * GB, int(48 * GB * 0.95))
    assert (second.available, second.budget) == (50 * GB, int(50 * GB * 0.95))
    assert first.reserve > 5 * GB  # of 100: before Ray begins to end workers


def test_a_worker_that_dies_costs_a_try_only_if_it_had_begun(ray: Ray, tmp_path: Path) -> None:
    found, ears = entered(ray, about(), about())
    found.start(task(tmp_path), "n")
    ray.actors[0].answers("begin", RayError("died"))
    assert [outcome.end for outcome in found.wait(0.0)] == [End.REFUSED]
    found.start(task(tmp_path), "n")
    ray.actors[1].answers("begin", Report(0, None))
    assert found.wait(0.0) == []
    ray.actors[1].answers("wait", RayError("died"))
    assert [outcome.end for outcome in found.wait(0.0)] == [End.GONE]
    assert [actor.is_killed for actor in ray.actors] == [True, True, False, False]  # two that came for them
    assert len(ears.said) == 2 and "died" in ears.said[0]
    assert found.places() == []


def test_a_worker_whose_own_code_fails_costs_a_try(ray: Ray, tmp_path: Path) -> None:
    found, _ = entered(ray, about())
    found.start(task(tmp_path), "n")
    ray.actors[0].answers("begin", RayTaskError("PermissionError: /tmp"))
    assert [outcome.end for outcome in found.wait(0.0)] == [End.GONE]


def test_a_silent_worker_is_ended_and_its_late_answer_is_not_heard(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = entered(ray, about())
    found.start(task(tmp_path), "n")
    ray.actors[0].answers("begin", Report(0, None))
    assert found.wait(0.0) == []
    monkeypatch.setattr(cluster, "SILENT_S", -1.0)
    assert [outcome.end for outcome in found.wait(0.0)] == [End.GONE]
    ray.actors[0].answers("wait", ended())
    assert ray.actors[0].is_killed and found.wait(0.0) == [] and not (tmp_path / "t").exists()


def test_a_worker_with_another_program_gets_nothing_to_do(ray: Ray) -> None:
    found, ears = entered(ray, about(code="other"), about("k"))
    assert [place.name for place in found.places()] == ["k"]
    assert "another version of farkas" in ears.said[0]


def test_a_cluster_whose_workers_all_have_another_program_is_given_up(ray: Ray) -> None:
    with pytest.raises(BadCluster, match="no worker has this version"):
        entered(ray, about(code="other"), about(code="other"))


def test_a_cluster_on_which_no_worker_starts_is_given_up(ray: Ray) -> None:
    found, _ = entered(ray)
    with pytest.raises(BadCluster, match="no worker starts: No module named 'farkas'"):
        for _ in range(cluster.FAILURES):
            ray.actors[-1].answers("about", RayError("...\nNo module named 'farkas'"))
            found.wait(0.0)


def test_a_task_where_nobody_is_idle_is_refused(ray: Ray, tmp_path: Path) -> None:
    found, _ = entered(ray, about())
    found.start(task(tmp_path, "a"), "n")
    found.start(task(tmp_path, "b"), "n")
    assert found.ready()
    assert [(outcome.id, outcome.end) for outcome in found.wait(0.0)] == [("b", End.REFUSED)]


def test_who_is_evicted_is_told_and_what_comes_back_lies_in_the_tasks_folder(ray: Ray, tmp_path: Path) -> None:
    found, _ = entered(ray, about(), about())
    found.start(task(tmp_path, "a"), "n")
    found.start(task(tmp_path, "b"), "n")
    for actor in ray.actors:
        actor.answers("begin", Report(0, None))
    found.wait(0.0)
    found.evict("b")
    assert [[call.words for call in actor.calls if call.method == "evict"] for actor in ray.actors] == [[], [("b",)]]
    ray.actors[0].answers("wait", ended("a", witness=b"((X_0 1))"))
    assert [outcome.id for outcome in found.wait(0.0)] == ["a"]
    assert (tmp_path / "a" / "witness").read_bytes() == b"((X_0 1))"


def test_a_disk_without_room_for_what_comes_back_is_the_disks_fault(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(files: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cluster, "delivered", full)
    found, _ = entered(ray, about())
    found.start(task(tmp_path), "n")
    ray.actors[0].answers("begin", Report(0, None))
    ray.actors[0].answers("wait", ended())
    assert found.wait(0.0) == []
    assert [outcome.code for outcome in found.wait(0.0)] == [NO_ROOM]


def test_a_task_that_has_no_room_there_is_over_and_what_else_was_asked_about_it_is_not_heard(
    ray: Ray, tmp_path: Path
) -> None:
    found, _ = entered(ray, about())
    found.start(task(tmp_path, "a"), "n")
    ray.actors[0].answers("begin", Report(0, None, Outcome("a", NO_ROOM, End.ITSELF, 0.0, 0.0, 0)))
    ray.actors[0].answers("wait", Report(0, None))
    assert [outcome.code for outcome in found.wait(0.0)] == [NO_ROOM]
    assert found.wait(0.0) == []
    found.start(task(tmp_path, "b"), "n")
    ray.actors[0].answers("begin", Report(0, None))
    ray.actors[0].answers("wait", ended("b"))
    assert [found.wait(0.0), [outcome.id for outcome in found.wait(0.0)]] == [[], ["b"]]


class Reluctant(Local):
    """Workers of this machine that refuse the first tasks."""

    def __init__(self, times: int) -> None:
        super().__init__(1, warm=False)
        self.times = times
        self.refused: list[Outcome] = []

    def start(self, task: Task, place: str) -> None:
        self.times -= 1
        if self.times >= 0:
            self.refused.append(Outcome(task.id, -9, End.REFUSED, 0.0, 0.0, 0))
        else:
            super().start(task, HERE)

    def wait(self, timeout_s: float) -> list[Outcome]:
        found, self.refused = self.refused, []
        return found or super().wait(timeout_s)


def test_a_task_that_was_never_begun_may_begin_however_often_it_was_refused(tmp_path: Path) -> None:
    suite = rows(tmp_path, 1)
    with Store.open(tmp_path / "s") as store:
        run = store.begin("suite", {}, {}, suite)
        plan = Plan(verifier="tests.batch.misbehaving:counting")
        Bench(store, plan, "code", Ears(), workers=lambda _: Reluctant(3 * MANY)).run(run, suite)
        assert verdicts(store, run) == ["unsat"]
    assert asked(tmp_path, 0) == 1
