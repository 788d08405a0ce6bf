"""Team draft: both rankings fill the slate, neither has better places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import team_draft

RANKING = st.lists(st.integers(0, 12), unique=True, max_size=10)


@given(RANKING, RANKING, st.integers(1, 12), st.integers(-(2**63), 2**63 - 1))
def test_a_draft_takes_the_best_items_of_both_once(
    first: list[int], second: list[int], n: int, seed: int
) -> None:
    items, teams = team_draft(first, second, n, seed)
    assert len(items) == len(set(items)) == len(teams) == min(n, len({*first, *second}))
    for team, ranking in enumerate((first, second)):
        own = [item for item, by in zip(items, teams, strict=True) if by == team]
        assert own == [item for item in ranking if item in own]  # in the order of the ranking
        # whatever a ranking passed over was in the slate already
        last = ranking.index(own[-1]) if own else -1
        assert set(ranking[: last + 1]) <= set(items)
    assert (items, teams) == team_draft(first, second, n, seed)


def test_each_round_has_a_place_of_each_ranking() -> None:
    for seed in range(50):
        _, teams = team_draft(range(10), range(100, 110), 10, seed)
        assert all({*teams[at : at + 2]} == {0, 1} for at in range(0, 10, 2))


def test_neither_ranking_has_better_places() -> None:
    """Of 4,000 drafts of disjoint rankings, the first place is that of each about half the time."""
    first = sum(team_draft((1, 2), (3, 4), 3, seed)[1][0] for seed in range(4_000))
    assert abs(first - 2_000) < 4 * 4_000**0.5 / 2
    third = sum(team_draft((1, 2), (3, 4), 3, seed)[1][2] for seed in range(4_000))
    assert abs(third - 2_000) < 4 * 4_000**0.5 / 2
