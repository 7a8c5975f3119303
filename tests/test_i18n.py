"""Languages: no literal text in templates, complete catalogues, numbers in the reader's way."""

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from babel import Locale
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from jinja2 import Environment, nodes
from markupsafe import Markup

from app import i18n
from app.contract.alerts import MEANINGS
from app.contract.elsewhere import RunFacts
from app.contract.presets import PRESETS
from app.contract.states import MEANING, OF_A_LOG
from app.foreign.log import NOTES
from app.pages import dataset_form
from app.pages.launch_form import FIELDS

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
OURS = sorted(path for path in TEMPLATES.glob("*.html") if path.name != "api.html")
LITERAL = {
    "Plateau",
    "lr",
    "tok",
    "MFU",
    "GiB",
    "SHA",
    "MB",
    "FLOPs",
    "CLI",
    "JSON",
    "curl",
    "Esc",
    "Enter",
    "plateau",
    "link",
    "worker",
    "url",
    "token",
    "cat",
    "UTC",
    "nbsp",
}
"""Names, units, keys and commands that are the same in every language."""
TOLD = ("title", "aria-label", "placeholder", "alt")
COMPLETE = (
    "base.html",
    "runs.html",
    "_runs_table.html",
    "run.html",
    "_run_head.html",
    "_run_checkpoints.html",
    "_run_events.html",
    "_run_diagnosis.html",
    "run_new.html",
    "_field.html",
    "_preflight.html",
    "_script.html",
    "_cost.html",
    "_launch_live.html",
    "_parts.html",
    "datasets.html",
    "_datasets.html",
    "dataset.html",
    "dataset_new.html",
    "_dataset_head.html",
    "_dataset_body.html",
    "_dataset_report.html",
    "_dataset_epochs.html",
    "_dataset_words.html",
    "sweeps.html",
    "_sweeps.html",
    "sweep.html",
    "_sweep_body.html",
    "sweep_new.html",
    "_sweep_cost.html",
    "sweep_static.html",
    "_decay_groups.html",
    "_decay_words.html",
    "_run_decay.html",
    "_ready_made.html",
)
"""The runs, launch, run and dataset pages: German and Arabic say everything on them."""
SAME_EVERYWHERE = re.compile(r"[\d.\s/e–−-]*|β.*|ε|cpu|cuda|mps|float32|bfloat16|off|on")


class Words(HTMLParser):
    """Collects text and spoken attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in ("script", "style")
        self.found += [value for name, value in attrs if name in TOLD and value]

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found.append(data)


@pytest.mark.parametrize("template", OURS, ids=lambda path: path.name)
def test_a_template_has_no_literal_text(template: Path) -> None:
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", template.read_text(), flags=re.S)
    parser = Words()
    parser.feed(re.sub(r"\{\{.*?\}\}", "", source, flags=re.S))
    # a placeholder that is a command is the same in every language
    # and so are attributes that a block or macro adds to a tag of another template
    found = [re.sub(r'[a-z-]+="[^"]*"', "", text) for text in parser.found]
    spoken = [text for text in found if not text.startswith("python train.py")]
    words = {word for text in spoken for word in re.findall(r"[^\W\d_]{2,}", text)}
    assert words - LITERAL == set()


def calls(template: Path, name: str) -> Iterator[nodes.Call]:
    tree = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).parse(template.read_text())
    return (call for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name) and call.node.name == name)


def wanted() -> set[str]:
    """Every message of the three pages, the contract's texts included."""
    found = {
        call.args[0].value
        for name in COMPLETE
        for call in calls(TEMPLATES / name, "_")
        if isinstance(call.args[0], nodes.Const)
    }
    for module in (
        "diagnosis",
        "view",
        "run_list",
        "run_page",
        "launch",
        "launch_form",
        "decay_words",
        "run_decay",
        "../ready_made",
        "dataset_form",
        "dataset_report",
        "sweep_page",
        "sweep_figures",
        "alert_page",
        "import_log",
    ):
        tree = ast.parse((ROOT / "app" / "pages" / f"{module}.py").read_text())
        found |= {
            call.args[0].value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
            and (call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")) in ("N_", "speech", "say")
        }  # fmt: skip
    for section, info in FIELDS.values():
        extra = info.json_schema_extra
        found |= {section, info.title, info.description, extra["unit"], extra["usual"]}
        found |= set(get_args(info.annotation)) if get_origin(info.annotation) is Literal else set()
    for info in dataset_form.FIELDS.values():
        extra = info.json_schema_extra
        found |= {text for text in (info.title, info.description, extra["unit"], extra["usual"]) if text}
    found |= {text for preset in PRESETS.values() for text in (preset.title, preset.summary, preset.origin)}
    for info in RunFacts.model_fields.values():
        extra = info.json_schema_extra
        found |= {text for text in (info.title, info.description, extra["unit"], extra["usual"]) if text}
    found |= {*NOTES.values(), *MEANINGS.values(), *OF_A_LOG.values()}
    return {text for text in found | set(MEANING.values()) if not SAME_EVERYWHERE.fullmatch(text)}


@pytest.mark.parametrize("code", ["de", "ar"])
def test_the_runs_launch_and_run_pages_are_fully_translated(code: str) -> None:
    with (TEMPLATES / "locale" / code / "LC_MESSAGES" / "plateau.po").open("rb") as file:
        catalogue = read_po(file, locale=code, abort_invalid=True)
    done = {message.id for message in catalogue if message.id and isinstance(message.id, str) and message.string}
    pairs = [message.id for message in catalogue if isinstance(message.id, tuple) and all(message.string)]
    assert wanted() - done - {text for pair in pairs for text in pair} == set()
    plural = {one for one, _ in pairs}
    counted = {call.args[0].value for name in COMPLETE for call in calls(TEMPLATES / name, "plural")}
    assert counted - plural == set()


@pytest.mark.parametrize("code", ["de", "ar"])
def test_translations_keep_their_placeholders(code: str) -> None:
    with (TEMPLATES / "locale" / code / "LC_MESSAGES" / "plateau.po").open("rb") as file:
        for message in read_po(file, locale=code):
            if isinstance(message.id, str) and message.id:
                assert set(re.findall(r"%\(\w+\)s", message.id)) == set(
                    re.findall(r"%\(\w+\)s", str(message.string))
                ), message.id


def test_the_scripts_catalogues_have_equal_keys_and_placeholders() -> None:
    said = {code: json.loads((ROOT / "static" / "messages" / f"{code}.json").read_text()) for code in i18n.LANGUAGES}
    for code, messages in said.items():
        assert messages.keys() == said["en"].keys(), code
        for key, text in messages.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", said["en"][key])), (code, key)


def test_every_message_of_the_scripts_exists() -> None:
    known = json.loads((ROOT / "static" / "messages" / "en.json").read_text())
    used = {
        key
        for path in (ROOT / "static").glob("*.js")
        for key in re.findall(r'\b(?:t|say)\("([\w-]+)"', path.read_text())
    }
    assert used - known.keys() == set()


def test_a_module_has_one_job() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "static").glob("*.js")}
    assert {name: lines for name, lines in sizes.items() if lines >= 150} == {}
    knows_plotly = {path.name for path in (ROOT / "static").glob("*.js") if "Plotly." in path.read_text()}
    assert knows_plotly == {"charts.js"}


@pytest.fixture(scope="module")
def speak() -> dict[str, i18n.Speech]:
    return {code: i18n.Speech(code, catalogue) for code, catalogue in i18n.Catalogues(TEMPLATES).items()}


def test_the_cookie_wins_over_the_browsers_list_and_nonsense_means_english() -> None:
    assert i18n.choose({"plateau_lang": "ar"}, "de") == "ar"
    assert i18n.choose({}, "fr;q=0.9, de-AT;q=0.8, en;q=0.1") == "de"
    assert i18n.choose({"plateau_lang": "xx"}, "q=;;,;q=x") == "en"


def test_numbers_follow_the_language(speak: dict[str, i18n.Speech]) -> None:
    assert speak["en"].number(19073) == "19,073"
    assert speak["de"].number(3.4071, 3) == "3,407"
    assert speak["en"].signed(-0.0128) == "−0.0128"
    assert speak["en"].short(6.24e9) == "6.24 B"
    assert speak["en"].short(96_400) == "96.4 k"
    assert speak["en"].duration(39_000) == "10 h 50 min"
    assert speak["en"].setting(6e-4) == "6e-4"
    assert speak["en"].setting(0.1) == "0.1"
    assert speak["en"].number(float("nan")) == "NaN"
    assert speak["de"].number(-1e308, 3) == "−1e308"


@pytest.mark.parametrize("digits", [0, 1, 2, 4, None])
def test_numbers_are_written_as_babel_writes_them(speak: dict[str, i18n.Speech], digits: int | None) -> None:
    pattern = "#,##0." + "#" * 6 if digits is None else "#,##0" + ("." + "0" * digits if digits else "")
    values = [0, 1, 2.675, 0.5, 1.5, 999.9995, 1e15, 1e-7, 5e-324, 1234567, *(1.7**n for n in range(-20, 60, 3))]
    for code, said in speak.items():
        for value in values:
            assert said.number(value, digits) == format_decimal(value, format=pattern, locale=code), (code, value)


def test_a_page_runs_in_the_direction_that_babel_knows(speak: dict[str, i18n.Speech]) -> None:
    assert speak.keys() == i18n.LANGUAGES.keys()
    for code, said in speak.items():
        assert said.direction == Locale.parse(code).text_direction


def test_values_are_escaped_inside_markup(speak: dict[str, i18n.Speech]) -> None:
    said = speak["en"]("step %(step)s of %(steps)s", step=Markup("<b>5</b>"), steps="<i>")
    assert said == "step <b>5</b> of &lt;i&gt;"
