import gc
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_data import VOCAB, write_dataset

from worker import optim
from worker.batches import Batches, Tokens
from worker.loop import Loop, without_collector
from worker.model import GPT


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """At this size a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(tmp_path: Path, micro: int = 4, accumulation: int = 2, clip: float = 1.0, device: str = "cpu", **more) -> Loop:
    tokens = Tokens([write_dataset(tmp_path / "data", shards=1) / "train-000.bin"], "uint16")
    torch.manual_seed(0)
    model = GPT(VOCAB, 16, 2, 2, 16).to(device)
    optimizer = optim.adamw(optim.parameter_groups(model, 0.1), 1e-3, (0.9, 0.95), 1e-8)
    return Loop(
        model, optimizer, Batches(tokens, 16, micro, accumulation, "shuffled", 1), clip=clip, device=device, **more
    )


def losses(loop: Loop, steps: int, lr: float = 3e-3) -> list[float]:
    return [loop.step(update, lr).read()[0] for update in range(steps)]


def test_the_loss_falls(tmp_path: Path) -> None:
    curve = losses(make(tmp_path, micro=16), 80, lr=1e-2)
    assert curve[0] == pytest.approx(math.log(VOCAB), abs=0.1)
    assert curve[-1] < 0.6 * curve[0]


def test_the_logged_loss_is_the_mean_over_the_whole_accumulated_batch(tmp_path: Path) -> None:
    loop = make(tmp_path, micro=4, accumulation=3)
    with torch.no_grad():
        each = [loop.model(*loop.batches.batch(0, micro))[1].item() for micro in range(3)]
    assert loop.step(0, 1e-3).read()[0] == pytest.approx(sum(each) / 3, rel=1e-6)


def test_accumulation_changes_the_arithmetic_and_not_the_step(tmp_path: Path) -> None:
    whole, parts = make(tmp_path, micro=8, accumulation=1), make(tmp_path, micro=2, accumulation=4)
    for update in range(3):
        one, four = whole.step(update, 1e-3).read(), parts.step(update, 1e-3).read()
        assert one[:2] == pytest.approx(four[:2], rel=1e-4)


def test_the_gradient_norm_is_the_one_before_clipping(tmp_path: Path) -> None:
    free, clipped = make(tmp_path, clip=0), make(tmp_path, clip=1e-3)
    norms = [loop.step(0, 1e-3).read()[1] for loop in (free, clipped)]
    assert norms[0] == norms[1] > 1e-3


def test_between_is_called_after_every_micro_batch(tmp_path: Path) -> None:
    calls: list[int] = []
    make(tmp_path, accumulation=5).step(0, 1e-3, lambda: calls.append(1))
    assert len(calls) == 5


def test_the_learning_rate_of_the_update_is_the_one_given(tmp_path: Path) -> None:
    loop = make(tmp_path)
    before = {name: p.detach().clone() for name, p in loop.model.named_parameters()}
    loop.step(0, 0.0)
    assert all(torch.equal(before[name], p) for name, p in loop.model.named_parameters())


def test_a_rerun_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    assert losses(make(tmp_path), 5) == losses(make(tmp_path), 5)


def test_bfloat16_is_autocast_over_float32_weights(tmp_path: Path) -> None:
    exact, rough = make(tmp_path), make(tmp_path, dtype="bfloat16")
    a, b = losses(exact, 3), losses(rough, 3)
    assert a == pytest.approx(b, rel=0.02)
    assert a != b
    assert {p.dtype for p in rough.model.parameters()} == {torch.float32}


def test_float16_follows_float32_and_says_its_scale(tmp_path: Path) -> None:
    exact, rough = make(tmp_path), make(tmp_path, dtype="float16")
    scalars = [rough.step(update, 3e-3) for update in range(3)]
    assert [each.read()[0] for each in scalars] == pytest.approx(losses(exact, 3), rel=0.01)
    assert [each.scaling for each in scalars] == [(65536.0, False)] * 3
    assert exact.step(3, 1e-3).scaling is None


def test_a_step_that_overflows_float16_changes_nothing_and_is_no_update(tmp_path: Path) -> None:
    loop = make(tmp_path, dtype="float16")
    loop.step(0, 1e-3)
    before = {name: p.detach().clone() for name, p in loop.model.named_parameters()}
    moments = {name: t.clone() for name, t in optim.moments(loop.optimizer).items()}
    loop.scaler.load_state_dict({**loop.scaler.state_dict(), "scale": 2.0**100})
    skipped = loop.step(1, 1e-3)
    assert not math.isfinite(skipped.read()[1])
    assert skipped.scaling == (2.0**100, True)
    assert all(torch.equal(before[name], p) for name, p in loop.model.named_parameters())
    after = optim.moments(loop.optimizer)
    assert all(torch.equal(moments[name], after[name]) for name in moments), "the count of updates among them"
    assert loop.scaler.get_scale() == 2.0**99


def test_a_float16_step_that_ran_out_of_memory_after_unscaling_can_be_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, interrupted = (make(tmp_path, dtype="float16", clip=1e-3) for _ in range(2))
    for loop in (straight, interrupted):
        loop.scaler.load_state_dict({**loop.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7})

    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grads_with_norm_", no_room)
        with pytest.raises(torch.OutOfMemoryError):
            interrupted.step(0, 1e-3)
    interrupted.take_back()
    assert losses(interrupted, 3) == losses(straight, 3)
    assert interrupted.scaler.state_dict() == straight.scaler.state_dict()


def test_the_collector_is_off_around_the_steps_and_as_it_was_afterwards(tmp_path: Path) -> None:
    assert gc.isenabled()
    with without_collector():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        knot: list[object] = []
        knot.append(knot)
        make(tmp_path).interrupt()
        assert gc.collect() == 0, "the pause between steps has collected already"
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_batch_fetched_ahead_is_used_for_its_own_step_only(tmp_path: Path) -> None:
    loop = make(tmp_path)
    marked = loop.batches.batch(3, 1)
    loop._ahead = ((loop.batches, 3, 1), marked)
    assert torch.equal(loop._batch(3, 0)[0], loop.batches.batch(3, 0)[0])
    loop._ahead = ((loop.batches, 3, 1), marked)
    assert loop._batch(3, 1) is marked


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_scalars_arrive_later_and_equal_the_cpus(tmp_path: Path) -> None:
    loop = make(tmp_path, device="cuda")
    under_way = [loop.step(update, 1e-3) for update in range(5)]
    arrived = [scalars.read() for scalars in under_way]
    assert all(scalars.ready() for scalars in under_way)
    assert all(step_ms > 0 for _, _, step_ms in arrived)
    assert [loss for loss, _, _ in arrived] == pytest.approx(losses(make(tmp_path), 5, lr=1e-3), rel=1e-3)


def test_gradient_noise_is_measured_on_the_first_micro_batch_and_the_whole(tmp_path: Path) -> None:
    # science.md D18 needs |G_b|² and |G_B|² of the same update, both before clipping
    loop = make(tmp_path, micro=4, accumulation=3)
    loop.model(*loop.batches.batch(0, 0))[1].backward()
    alone = torch.nn.utils.get_total_norm([p.grad for p in loop.parameters]).item() ** 2
    loop.optimizer.zero_grad()
    scalars = loop.step(0, 1e-3)
    norm = scalars.read()[1]
    assert scalars.grad_squares == pytest.approx((alone, norm**2), rel=1e-5)
    between = loop.step(1, 1e-3)
    between.read()
    assert between.grad_squares is None, "every tenth update only"


def test_one_micro_batch_has_no_noise_to_compare(tmp_path: Path) -> None:
    scalars = make(tmp_path, accumulation=1).step(0, 1e-3)
    scalars.read()
    assert scalars.grad_squares is None
