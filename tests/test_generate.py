import math

import pytest
import torch

from worker.generate import Choice, choose, generate, generator
from worker.model import GPT

GREEDY = Choice(temperature=0)
MODERN = {"activation": "relu2", "positions": "rope", "qk_norm": True, "tied_head": False, "softcap": 15.0}


def model(**switches: object) -> GPT:
    torch.manual_seed(0)
    made = GPT(20, 8, 2, 2, 16, 0.3, **switches)
    for parameter in made.parameters():  # far from its initial weights, so that contexts matter
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def plainly(gpt: GPT, written: list[int], tokens: int) -> list[int]:
    """The most probable tokens, each from a whole pass over the last block_size tokens."""
    for _ in range(tokens):
        idx = torch.tensor([written[-gpt.block_size :]])
        with torch.no_grad():
            logits, _ = gpt(idx, idx)
        written = [*written, int(logits[0, -1].argmax())]
    return written


@pytest.mark.parametrize("switches", [{}, {"bias": True}, MODERN], ids=["gpt2", "biases", "modern"])
@pytest.mark.parametrize("prompt", [[3], [3, 1, 4, 1, 5], list(range(13))], ids=["one", "some", "past the context"])
def test_greedy_text_is_the_one_that_plain_passes_over_the_last_context_write(switches, prompt):
    gpt = model(**switches)
    written = list(generate(gpt, prompt, 20, GREEDY, generator(0, 0), entries=20))
    assert prompt + written == plainly(gpt, prompt, 20)


def test_each_token_within_the_context_costs_one_position(monkeypatch):
    gpt, seen = model(), []
    wte = gpt.transformer.wte.forward
    monkeypatch.setattr(gpt.transformer.wte, "forward", lambda idx: seen.append(idx.shape[1]) or wte(idx))
    list(generate(gpt, [1, 2, 3], 7, GREEDY, generator(0, 0), entries=20))
    assert seen == [3, 1, 1, 1, 1, 1, 8]  # the seventh needs a ninth position, so the last eight are read again


def test_one_seed_is_one_text_and_samples_do_not_know_of_each_other():
    gpt, warm = model(), Choice(temperature=1.0)
    texts = [list(generate(gpt, [1], 30, warm, generator(7, index), entries=20)) for index in (0, 1, 1, 0)]
    assert texts[0] == texts[3] != texts[1] == texts[2]
    assert texts[0] != list(generate(gpt, [1], 30, warm, generator(8, 0), entries=20))
    assert texts[1] != list(generate(gpt, [1], 30, warm, generator(6, 2), entries=20))


def test_no_random_number_of_anybody_else_is_drawn():
    gpt = model()
    before = torch.get_rng_state()
    list(generate(gpt, [1], 10, Choice(), generator(0, 0), entries=20))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_ends_at_the_end_of_text_and_never_writes_padding():
    gpt = model()
    free = list(generate(gpt, [2], 40, Choice(temperature=2.0), generator(0, 0), entries=12))
    assert max(free) < 12
    stop = free[5]
    assert list(generate(gpt, [2], 40, Choice(temperature=2.0), generator(0, 0), entries=12, stop=stop)) == free[
        : free.index(stop) + 1
    ]  # fmt: skip


def frequencies(choice: Choice, share: list[float]) -> list[float]:
    logits, draws = torch.tensor([math.log(p) for p in share]), generator(0, 0)
    drawn = [choose(logits, choice, draws) for _ in range(4000)]
    return [drawn.count(i) / len(drawn) for i in range(len(share))]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(temperature=1.0), [0.1, 0.4, 0.2, 0.3]),
        (Choice(temperature=0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3]),  # p^2, made to sum to one
        (Choice(temperature=1.0, top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Choice(temperature=1.0, top_p=0.6), [0, 4 / 7, 0, 3 / 7]),  # 0.4 is too little, 0.4 + 0.3 is enough
        (Choice(temperature=1.0, top_p=0.05), [0, 1, 0, 0]),
        (Choice(temperature=1.0, top_k=1), [0, 1, 0, 0]),
    ],
    ids=["as it is", "cooler", "top-k", "top-p", "at least one", "one"],
)
def test_tokens_are_drawn_with_the_probabilities_that_the_settings_leave(choice, expected):
    assert frequencies(choice, [0.1, 0.4, 0.2, 0.3]) == pytest.approx(expected, abs=0.025)  # 3 SE of 4,000 draws
