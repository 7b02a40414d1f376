"""What begins next: cores and memory are never given out twice, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from farkas.batch.schedule import SKIPS, Waiting, choose, expected_bytes, to_evict

GB = 1 << 30


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=12),
    st.integers(1, 4),
    st.integers(1, 16),
    st.data(),
)
def test_running_tasks_fit_into_cores_and_budget_and_all_come_to_run(
    sizes: list[tuple[int, bool]], cores: int, budget: int, data: st.DataObject
) -> None:
    queue = [Waiting(k, size, alone) for k, (size, alone) in enumerate(sizes)]
    running: dict[int, Waiting] = {}
    seen: list[int] = []
    while queue or running:
        chosen, queue = choose(queue, running, {}, cores, budget)
        if chosen is None:
            assert running, "an idle machine always begins something"
            del running[data.draw(st.sampled_from(sorted(running)))]
            continue
        running[chosen.number] = chosen
        seen.append(chosen.number)
        assert len(running) <= cores
        assert sum(task.bytes for task in running.values()) <= budget or len(running) == 1
        assert len(running) == 1 or not any(task.alone for task in running.values())
    assert sorted(seen) == list(range(len(sizes)))


def test_a_smaller_task_goes_before_one_that_does_not_fit_but_not_for_ever() -> None:
    running = {9: Waiting(9, 3 * GB)}
    large, small = Waiting(0, 2 * GB), Waiting(1, GB)
    chosen, queue = choose([large, small], running, {}, 4, 4 * GB)
    assert chosen == small and queue == [Waiting(0, 2 * GB, skipped=1)]
    assert choose([Waiting(0, 2 * GB, skipped=SKIPS), small], running, {}, 4, 4 * GB)[0] is None


def test_a_task_counts_with_what_it_has_where_that_is_more_than_expected() -> None:
    running = {9: Waiting(9, GB)}
    assert choose([Waiting(0, GB)], running, {9: GB}, 2, 3 * GB)[0] is not None
    assert choose([Waiting(0, GB)], running, {9: 3 * GB}, 2, 3 * GB)[0] is None


def test_what_was_needed_before_is_expected_and_never_more_than_the_limit() -> None:
    assert expected_bytes(5 * GB, 10, None) == 5 * GB
    assert expected_bytes(5 * GB, 10, GB) == GB
    assert expected_bytes(None, 100 << 20, None) > 1000 << 20


def test_the_largest_goes_when_memory_ends_unless_it_is_the_only_one() -> None:
    assert to_evict({1: GB, 2: 2 * GB}, 100, 1000) == 2
    assert to_evict({1: GB, 2: 2 * GB}, 2000, 1000) is None
    assert to_evict({2: 2 * GB}, 100, 1000) is None
    assert to_evict({1: GB, 2: 2 * GB}, None, 1000) is None
