"""The offset that is committed never passes a record that is not done."""

from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.kafka.progress import Progress


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms())
def test_in_whatever_order_records_end_nothing_unfinished_is_passed(
    gaps: list[int], random: object
) -> None:
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    progress: Progress[str] = Progress()
    lane = progress.lane("p")
    for offset in offsets:
        lane.take(offset)
    ended: set[int] = set()
    order = offsets.copy()
    random.shuffle(order)  # type: ignore[attr-defined]
    for offset in order:
        lane.done(offset)
        ended.add(offset)
        unfinished = [o for o in offsets if o not in ended]
        expected = max((o for o in offsets if o < min(unfinished, default=10**9)), default=None)
        assert lane.position == (None if expected is None else expected + 1)
    assert lane.idle
    assert progress.uncommitted() == {"p": offsets[-1] + 1}
    progress.committed(progress.uncommitted())
    assert progress.uncommitted() == {}


def test_work_that_ends_after_its_partition_went_to_others_no_longer_counts() -> None:
    progress: Progress[str] = Progress()
    lane = progress.lane("p")
    lane.take(5)
    progress.drop(["p"])
    lane.done(5)
    assert progress.uncommitted() == {}
    assert progress.in_flight == 0
    assert progress.lane("p") is not lane


def test_what_was_taken_from_a_partition_that_went_to_another_is_no_longer_ours() -> None:
    progress: Progress[str] = Progress()
    ours, theirs = progress.lane("a"), progress.lane("b")
    progress.drop(["b"])
    assert not ours.lost
    assert theirs.lost
    assert not progress.lane("b").lost, "should it come back, it begins again"
