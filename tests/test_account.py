"""app/foreign/account.py: what is known of a run from elsewhere, and no more than that."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.foreign.account import account, imported
from app.foreign.reader import read_bytes
from tests.foreign_logs import GOLDEN_ARGS, golden


def told(text: str = "", **more):
    return account(read_bytes((text or golden()).encode())[0].as_json(), **more)


def test_the_40m_run_with_its_command_line():
    found = told(args=GOLDEN_ARGS, supplied={"train_tokens": 700_000_000})
    assert (found.state, found.detail, found.steps) == ("stopped", "the log ends at step 14,501 of 20,000", 20_000)
    assert (found.config.schedule.lr, found.config.schedule.warmup_steps, found.config.optim.beta2) == (1e-3, 500, 0.99)
    assert (found.facts["parameters"], found.facts["tokens_per_step"]) == (40_953_216, 524_288)
    assert found.asks == ("val_tokens", "device", "vocab_size")
    assert {"schedule.steps", "model.dropout", "eval.windows"} <= set(found.known)


def test_without_a_config_nothing_of_it_is_known():
    found = told()
    assert found.known == ()
    assert found.asks == ("train_tokens", "val_tokens", "device", "vocab_size", "steps", "config")
    assert (found.state, found.config.schedule.steps) == ("finished", 14_501)


def test_planned_steps_that_somebody_supplies_say_that_the_log_ends_early():
    assert told(supplied={"steps": 20_000}).state == "stopped"


def test_code_in_a_config_is_named_and_never_run(tmp_path):
    code = f"__import__('pathlib').Path({str(tmp_path / 'x')!r}).touch()\nmax_iters = 20000\nlearning_rate = open('/etc/passwd')\n"
    found = told(config=code)
    assert found.config.schedule.steps == 20_000
    assert not (tmp_path / "x").exists()
    notes = " ".join(note.text for note in found.notes)
    assert "pathlib" in notes
    assert "learning_rate: not read" in notes


def test_what_the_configuration_refuses_is_left_out_and_said():
    found = told(
        config="max_iters = 20000\nlearning_rate = -3\nmin_lr = 1e-4\nn_embd = 385\nn_head = 12\nblock_size = 1024\n"
    )
    assert "schedule.lr" not in found.known
    assert "schedule.steps" in found.known
    refused = [note.values["text"] for note in found.notes if note.kind == "refused"]
    assert any("schedule.lr" in one for one in refused)
    assert any("model.n_embd" in one for one in refused)


def test_a_default_shape_that_the_logs_count_contradicts_is_not_taken():
    found = told(
        "number of parameters: 10.65M\nstep 0: train loss 4, val loss 4\n", args="python train.py --max_iters=500"
    )
    assert not any(name.startswith("model.") for name in found.known)
    assert "shape" in {note.kind for note in found.notes}
    assert found.facts["parameters"] == 10_650_000


def test_what_is_stored_is_json_with_every_note_as_a_sentence():
    import json

    stored = json.loads(json.dumps(imported(told(args=GOLDEN_ARGS)), allow_nan=False))
    assert set(stored) == {"known", "facts", "asks", "notes"}
    assert all("%(" not in note["text"] for note in stored["notes"])


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=200),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["max_iters", "n_embd", "n_head", "min_lr", "learning_rate", "warmup_iters", "lr_decay_iters", "x"]
            ),
            st.integers() | st.floats() | st.text(max_size=5),
        )
    ),
)
def test_no_config_raises(text, pairs):
    found = told(config=text, args="python train.py " + " ".join(f"--{name}={value}" for name, value in pairs))
    assert set(found.known) <= set(found.config.flat())
