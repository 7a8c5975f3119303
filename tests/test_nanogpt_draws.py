"""nanoGPT's order of draws, written out as its train.py makes them from torch's own generator."""

import numpy as np
import pytest
import torch

from worker.nanogpt_draws import Draws

TRAIN, VAL = 900, 90  # offsets


def draws(micro_batch: int = 4, accumulation: int = 1, seed: int = 1337) -> Draws:
    made = Draws(TRAIN, VAL, micro_batch=micro_batch, accumulation=accumulation, eval_every=3, eval_batches=2)
    made.begin(torch.Generator().manual_seed(seed).get_state())
    return made


def as_nanogpt(updates: int, accumulation: int) -> tuple[list[list[int]], dict[int, list[list[int]]]]:
    """(micro-batches trained on, {step: [train, val] evaluated on}): the calls of train.py, get_batch for get_batch."""
    torch.manual_seed(1337)

    def get_batch(split: str) -> list[int]:
        return torch.randint(TRAIN if split == "train" else VAL, (4,)).tolist()

    trained, evaluated = [], {}
    batch = get_batch("train")
    for update in range(updates + 1):
        if update % 3 == 0:
            evaluated[update] = [get_batch(split) + get_batch(split) for split in ("train", "val")]
        for _ in range(accumulation):
            trained.append(batch)
            batch = get_batch("train")
    return trained, evaluated


@pytest.mark.parametrize("accumulation", [1, 2])
def test_windows_and_evaluations_come_in_nanogpts_order(accumulation: int) -> None:
    trained, evaluated = as_nanogpt(10, accumulation)
    ours = draws(accumulation=accumulation)
    assert [ours.windows(4 * micro, 4).tolist() for micro in range(10 * accumulation)] == trained[: 10 * accumulation]
    ours = draws(accumulation=accumulation)
    for step, pair in evaluated.items():
        ours.windows(4 * accumulation * step, 4)  # as training goes along
        assert [starts.tolist() for starts in ours.evaluation(step)] == pair


def test_evaluations_out_of_turn_and_looking_ahead_move_nothing() -> None:
    plain, watched = draws(), draws()
    expected = [plain.windows(4 * update, 4).tolist() for update in range(12)]
    seen = []
    for update in range(12):
        watched.windows(4 * (update + 3), 4)  # a loop that fetches ahead
        watched.evaluation(update)
        assert watched.evaluation(update).val.tolist() == watched.evaluation(update).val.tolist()
        seen.append(watched.windows(4 * update, 4).tolist())
        torch.rand(5)  # someone else's draws
    assert seen == expected


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("at", [0, 3, 4])
def test_begun_with_a_saved_state_it_goes_on_the_same(accumulation: int, at: int) -> None:
    straight, saved = draws(accumulation=accumulation), draws(accumulation=accumulation)
    size = 4 * accumulation
    expected = [straight.windows(update * size, size).tolist() for update in range(12)]
    saved.windows((at + 2) * size, 4)  # the loop is ahead of the step that is saved
    resumed = draws(accumulation=accumulation, seed=1)
    resumed.begin(saved.state(at), at)
    assert [resumed.windows(update * size, size).tolist() for update in range(at, 12)] == expected[at:]
    assert resumed.evaluation(6).val.tolist() == draws(accumulation=accumulation).evaluation(6).val.tolist()


def test_half_the_micro_batch_and_twice_the_accumulation_is_the_same_step() -> None:
    # after running out of memory the batch is served in halves; the draws stay those of the configured micro-batch
    whole, halves = draws(), draws()
    for update in range(6):
        parts = [halves.windows(4 * update + 2 * half, 2) for half in range(2)]
        assert np.concatenate(parts).tolist() == whole.windows(4 * update, 4).tolist()


def test_memory_does_not_grow_with_the_run() -> None:
    ours = draws()
    for update in range(200):
        ours.windows(4 * update, 4)
    assert len(ours._drawn) == len(ours._states) == 8
    with pytest.raises(AssertionError, match="further back than 8 updates"):
        ours.windows(0, 4)
