"""The form that adds a dataset: made of the contract's fields, filled from another dataset, judged by DatasetSpec."""

from app.contract.dataset import DatasetSpec
from app.errors import FieldError
from app.i18n import Catalogues, Speech
from app.pages.dataset_form import FIELDS, GUESS, DatasetForm
from app.pages.forms import Form
from app.settings import assets

SHA = "ab" * 32
ENGLISH = Speech("en", Catalogues(assets() / "templates")["en"])


def filled(**fields: str) -> DatasetForm:
    form = DatasetForm(ENGLISH)
    form.read(Form([(key.replace("__", "."), value) for key, value in fields.items()]))
    return form


def test_every_field_of_a_spec_has_an_input() -> None:
    by_hand = {"name", "kind", "files"}
    assert {key.split(".")[0] for key in FIELDS} == DatasetSpec.model_fields.keys() - by_hand
    form = DatasetForm(ENGLISH)
    shown = [*form.basics(), *form.rest()]
    assert sorted(field.name for field in shown) == sorted(FIELDS)
    assert all(field.title for field in shown)


def test_an_untouched_form_with_a_path_is_the_contracts_default_spec() -> None:
    form = filled(name="mine", paths="/data/a.txt\n\n  /data/b.txt ")
    spec = DatasetSpec.model_validate(form.spec())
    assert spec == DatasetSpec.model_validate(
        {"name": "mine", "kind": "text", "files": [{"name": "a.txt", "path": "/data/a.txt"}, {"name": "b.txt", "path": "/data/b.txt"}]}
    )  # fmt: skip


def test_numbers_are_numbers_and_nonsense_is_left_to_the_contract() -> None:
    form = filled(tokenizer__vocab_size="8_192", val_share="a lot")
    assert form.spec()["tokenizer"]["vocab_size"] == 8192
    assert form.spec()["val_share"] == "a lot"


def test_a_dataset_of_the_hub_needs_no_other_choice_than_its_name() -> None:
    assert filled(name="x", kind=GUESS, hub__repo="owner/name").spec()["kind"] == "hub"


def test_another_datasets_spec_fills_the_form_whole() -> None:
    spec = DatasetSpec.model_validate(
        {"name": "old", "kind": "parquet", "val_share": 0.02, "tokenizer": {"kind": "gpt2"},
         "files": [{"name": "up.parquet", "sha256": SHA}, {"name": "b.parquet", "path": "/data/b.parquet"}]}
    )  # fmt: skip
    form = DatasetForm(ENGLISH, spec.model_dump(mode="json"), "d-0001")
    assert DatasetSpec.model_validate(form.spec()) == spec


def test_a_spec_from_before_a_field_existed_has_its_default() -> None:
    form = DatasetForm(ENGLISH, {"name": "old", "kind": "text", "files": [], "tokenizer": {"kind": "bytes"}})
    assert form.typed["tokenizer.kind"] == "bytes"
    assert form.typed["val_share"] == "0.1"


def test_errors_stand_at_their_fields() -> None:
    form = DatasetForm(ENGLISH)
    form.take(
        [
            FieldError("/tokenizer/vocab_size", "small"),
            FieldError("/files/3/path", "where"),
            FieldError("/hub", "which"),
            FieldError("/oddity", "what"),
        ]
    )
    assert form.errors == {"tokenizer.vocab_size": "small", "files": "where", "hub.repo": "which", "oddity": "what"}
    assert form.homeless() == ["what"]
