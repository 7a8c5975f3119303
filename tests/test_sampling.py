import pytest
import torch

from app.contract.sampling import SampleSettings
from worker import tokenizers
from worker.model import GPT
from worker.sampling import Teller, Unwritable, begin, write, write_all

BYTES = tokenizers.Bytes()


def model(rows: int = 320) -> GPT:
    torch.manual_seed(0)
    return GPT(rows, 16, 1, 2, 16).eval()


def says(gpt: GPT, *tokens: int) -> GPT:
    """A model that writes these tokens one after the other, whatever the text: its position alone decides."""
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.zero_()
        gpt.transformer.ln_f.weight.fill_(1.0)
        for position, token in enumerate(tokens):
            gpt.transformer.wpe.weight[position, position] = 1.0
            gpt.lm_head.weight[token, position] += 1.0
        gpt.transformer.wte.weight = torch.nn.Parameter(torch.zeros_like(gpt.lm_head.weight))
    return gpt


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, int | None, dict[str, object]]] = []

    def event(self, kind: str, step: int | None = None, /, text: str = "", **data: object) -> None:
        self.told.append((kind, step, {"text": text, **data}))


def test_a_character_is_told_when_its_last_byte_is_written():
    gpt = says(model(), *"xé".encode(), *"€".encode())
    settings = SampleSettings(prompt="?", temperature=0, tokens=6)
    assert list(write(gpt, BYTES, settings, 0)) == ["?", "x", "é", "€"]


def test_bytes_that_never_become_a_character_are_shown_as_such():
    gpt = says(model(), 0xC3, ord("x"), 0xE2, 0x82)
    assert "".join(write(gpt, BYTES, SampleSettings(temperature=0, tokens=4), 0)) == "\ufffdx\ufffd"


def test_the_end_of_text_is_shown_and_is_the_last():
    gpt = says(model(), ord("a"), 256, ord("b"))
    assert "".join(write(gpt, BYTES, SampleSettings(temperature=0, tokens=9), 0)) == "a<|endoftext|>"


def test_without_a_prompt_a_text_begins_where_documents_do():
    assert begin(BYTES, "") == [256]
    assert begin(tokenizers.Characters("ab\n", with_eot=False), "") == [0]  # a line end, the first in code point order
    assert begin(tokenizers.Characters("ab", with_eot=False), "") == [0]


def test_a_character_outside_the_vocabulary_is_named():
    with pytest.raises(Unwritable, match="'ß' is not one of this vocabulary's 2 characters"):
        begin(tokenizers.Characters("ab", with_eot=False), "aß")


def test_a_model_with_fewer_rows_than_the_vocabulary_writes_nothing():
    with pytest.raises(Unwritable, match="257 entries, the model only 64"):
        list(write(model(64), BYTES, SampleSettings(), 0))


def test_each_of_several_samples_is_the_one_it_would_be_alone():
    gpt, settings = model(), SampleSettings(prompt="a", samples=3, tokens=20, temperature=1.0)
    together = [""] * 3
    for index, piece in write_all(gpt, BYTES, settings):
        together[index] += piece
    assert together == ["".join(write(gpt, BYTES, settings, index)) for index in range(3)]
    assert len(set(together)) == 3


def test_what_is_told_piece_by_piece_is_the_whole_text():
    sink = Events()
    teller = Teller(sink, 40, sample=7)  # type: ignore[arg-type]
    for index, piece in [(0, "a"), (0, "b"), (0, "c"), (1, "d"), (1, "e")]:
        teller.add(index, piece)
    teller.flush()
    texts = ["", ""]
    for kind, step, data in sink.told:
        assert (kind, step, data["sample"]) == ("sample", 40, 7)
        texts[int(str(data["index"]))] += str(data["written"])
    assert texts == ["abc", "de"]
    assert len(sink.told) < 5, "pieces of a tenth of a second travel together"
