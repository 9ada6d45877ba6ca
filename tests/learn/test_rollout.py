"""Rollouts are cut into pieces and put together without mixing up whose response is whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import property_test, ragged_groups, rollout_of

from consilience.errors import InputError
from consilience.learn.rollout import merge


@given(st.sampled_from((1, 2, 3, 6)), st.integers(1, 4))
@property_test
def test_pieces_of_a_rollout_are_whole_problems_and_merge_into_it_again(pieces: int, size: int) -> None:
    groups = [group for _ in range(2) for group in ragged_groups(size)][:6]
    rollout = rollout_of(groups, [i / 100 for i in range(len(groups) * size)])
    assert len(groups) == 6
    cut = rollout.split(pieces)
    assert len(cut) == pieces
    assert [len(piece.problems) for piece in cut] == [6 // pieces] * pieces
    for first, piece in zip(range(0, 6, 6 // pieces), cut, strict=True):
        assert piece.rewards_BG.tolist() == rollout.rewards_BG[first : first + 6 // pieces].tolist()
        assert piece.lengths == [len(tokens) for tokens in piece.logprobs]
    assert vars(merge(cut)) == vars(rollout)


@pytest.mark.parametrize(("problems", "pieces"), [(3, 2), (3, 0), (0, 1)])
def test_problems_that_cannot_be_divided_are_refused(problems: int, pieces: int) -> None:
    rollout = rollout_of(ragged_groups(2)[:problems], [0.0] * problems * 2)
    with pytest.raises(InputError, match=f"{problems} problems cannot be divided into {pieces} equal pieces"):
        rollout.split(pieces)
