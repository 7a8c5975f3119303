"""A pasted nanoGPT config file or command line as a part of our configuration; read, never executed. Pure.

Understands `name = value` lines with numbers, their arithmetic, strings, True, False and None, and
`python train.py config/x.py --name=value …` with line continuations. For every name the report says what
became of it, so that nothing is dropped in silence.
"""

import ast
import difflib
import operator
import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

from app.contract.presets import PRESETS

MOST_CHARACTERS = 50_000
LARGEST = 1e15
"""Numbers beyond this are no setting; it also bounds what 9**9**9 could cost."""


class Reading(NamedTuple):
    config: dict[str, Any]  #: partial RunConfig: {"optim": {"weight_decay": 0.1}}
    report: list[tuple[str, str]]  #: (nanoGPT's name, what became of it)


_FIELDS: dict[str, tuple[str, type]] = {
    "dataset": ("data.dataset", str),
    "gradient_accumulation_steps": ("batch.accumulation", int),
    "batch_size": ("batch.micro_batch", int),
    "block_size": ("model.block_size", int),
    "n_layer": ("model.n_layer", int),
    "n_head": ("model.n_head", int),
    "n_embd": ("model.n_embd", int),
    "dropout": ("model.dropout", float),
    "bias": ("model.bias", bool),
    "learning_rate": ("schedule.lr", float),
    "max_iters": ("schedule.steps", int),
    "warmup_iters": ("schedule.warmup_steps", int),
    "lr_decay_iters": ("schedule.decay_steps", int),
    "min_lr": ("schedule.min_lr", float),
    "weight_decay": ("optim.weight_decay", float),
    "beta1": ("optim.beta1", float),
    "beta2": ("optim.beta2", float),
    "grad_clip": ("optim.clip", float),
    "eval_interval": ("eval.every", int),
    "seed": ("system.seed", int),
}
"""nanoGPT's names that have one counterpart here; the others are handled in _rest."""

_IGNORED = {
    "log_interval": "not needed: every step is logged",
    "eval_only": "not here: a run always trains",
    "always_save_checkpoint": "not needed: start, best and end are always kept",
    "out_dir": "not needed: the run's folder is Plateau's",
    "wandb_log": "not needed: the run is on its own page",
    "wandb_project": "not needed: the run is on its own page",
    "wandb_run_name": "not taken: give the run a name in the form",
    "backend": "not needed: one device a run",
}
_SPECIAL = ("eval_iters", "decay_lr", "device", "dtype", "compile", "init_from")
_NAMES = (*_FIELDS, *_IGNORED, *_SPECIAL)

_DEFAULTS: dict[str, Any] = {
    "eval_iters": 200, "batch_size": 12, "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768,
    "dropout": 0.0, "bias": False, "gradient_accumulation_steps": 5 * 8, "learning_rate": 6e-4, "max_iters": 600_000,
    "weight_decay": 1e-1, "beta1": 0.9, "beta2": 0.95, "grad_clip": 1.0, "warmup_iters": 2000,
    "lr_decay_iters": 600_000, "min_lr": 6e-5, "eval_interval": 2000,
}  # fmt: skip
"""nanoGPT train.py's own, which hold for whatever the pasted text leaves out."""

_PRESET_OF = {"train_shakespeare_char.py": "shakespeare", "train_gpt2.py": "gpt2-124m"}

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def parse(*texts: str) -> Reading:
    """Read a config file or a command line; of several the later ones overrule. Never raises on odd text: what is not
    understood is in the report."""
    report: list[tuple[str, str]] = []
    preset: str | None = None
    values: dict[str, Any] = {}
    for text in texts:
        if len(text) > MOST_CHARACTERS:
            report.append(("", f"the text has more than {MOST_CHARACTERS:,} characters and was not read"))
            continue
        joined = re.sub(r"\\\s*\n", " ", text)
        command = re.search(r"(?m)^[^#\n]*(?:\btrain\.py\b|(?:^|\s)--\w).*$", joined)
        named, given = _command_line(command[0], report) if command else (None, _assignments(text, report))
        preset, values = named or preset, values | given
    if not values and preset is None:
        if not report or not report[0][1].startswith("the text has more"):
            report.append(("", "no settings were found; paste lines like learning_rate = 1e-3 or a command line"))
        return Reading({}, report)
    config = _mapped(values, report, preset)
    absent = [name for name in ("learning_rate", "max_iters", "n_layer", "batch_size") if name not in values]
    if preset is None and absent:
        report.append(("", f"not given, so nanoGPT's own defaults hold: {', '.join(absent)} and others"))
    return Reading(config, report)


def _assignments(text: str, report: list[tuple[str, str]]) -> dict[str, Any]:
    """`name = value` lines. Statement by statement, so that one line that cannot be read costs only itself."""
    values: dict[str, Any] = {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        body = [statement for line in text.splitlines() for statement in _line(line, report)]
    for statement in body:
        if (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            name, expression = statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            name, expression = statement.target.id, statement.value
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        else:
            report.append((ast.unparse(statement)[:60], "not read: only lines of the form name = value are"))
            continue
        try:
            values[name] = _constant(expression, values)
        except (ValueError, ArithmeticError, TypeError, RecursionError):
            report.append((name, "not read: its value is not a plain number, text, True or False"))
    return values


def _line(line: str, report: list[tuple[str, str]]) -> list[ast.stmt]:
    try:
        return ast.parse(line.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        report.append((line.strip()[:60], "not read: only lines of the form name = value are"))
        return []


def _constant(node: ast.expr, known: dict[str, Any]) -> Any:
    """Numbers, their arithmetic, names set above, text, True, False, None; ValueError for anything else."""
    match node:
        case ast.Constant(value=bool() | str() | None as value):
            return value
        case ast.Constant(value=int() | float() as value) if abs(value) <= LARGEST:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_constant(operand, known))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _number(_OPERATORS[type(op)](_number(_constant(left, known)), _number(_constant(right, known))))
        case ast.Name(id=name) if name in known:
            return known[name]
    raise ValueError(f"not a constant: {type(node).__name__}")


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError("not a number of a setting's size")
    return value


def _command_line(line: str, report: list[tuple[str, str]]) -> tuple[str | None, dict[str, Any]]:
    """`… train.py config/train_x.py --name=value …` -> (our preset, values)."""
    preset: str | None = None
    values: dict[str, Any] = {}
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    words = words[1 + max((i for i, word in enumerate(words) if word.endswith("train.py")), default=-1) :]
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals:
            values[name] = _word(value)
        elif word.startswith("--"):
            report.append((name, f"not read: nanoGPT wants --{name}=value"))
        elif word.endswith(".py"):
            file = word.rpartition("/")[2]
            preset = _PRESET_OF.get(file, preset)
            became = (
                f"starts from the preset {PRESETS[_PRESET_OF[file]].title}"
                if file in _PRESET_OF
                else "this file is not known here; paste its lines too"
            )
            report.append((word, became))
    return preset, values


def _word(text: str) -> Any:
    try:
        return _constant(ast.parse(text, mode="eval").body, {})
    except (SyntaxError, ValueError, ArithmeticError, TypeError, RecursionError, MemoryError):
        return text


def _mapped(given: dict[str, Any], report: list[tuple[str, str]], preset: str | None) -> dict[str, Any]:
    """Our configuration: the preset's or nanoGPT's defaults, with what was given over them."""
    config: dict[str, Any] = PRESETS[preset].config.model_dump() if preset else {}
    config["data"] = {"sampler": "random"}  # the dataset stays the form's unless the text names one
    values = given if preset else {**_DEFAULTS, **given}
    for name, value in values.items():
        if name in _FIELDS:
            became = _take(config, *_FIELDS[name], value)
        elif name in _IGNORED:
            became = _IGNORED[name]
        elif name in _SPECIAL:
            became = _rest(config, name, value, values, preset)
        elif near := difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.6):
            became = f"not a setting of nanoGPT; did you mean {near[0]}?"
        else:
            became = "not a setting of nanoGPT"
        if name in given:
            report.append((name, became))
    if values.get("decay_lr") is False and "lr" in config.get("schedule", {}):
        config["schedule"]["min_lr"] = config["schedule"]["lr"]  # a floor at the peak is a constant rate
    if (schedule := config.get("schedule", {})).get("decay_steps") == schedule.get("steps"):
        schedule.pop("decay_steps", None)
    report.append(("sampler", "random: windows drawn with replacement, as nanoGPT does"))
    return config


def _take(config: dict[str, Any], path: str, kind: type, value: Any) -> str:
    """Put the value at "section.field" and say so; a value of another kind is refused."""
    if kind is float and type(value) is int:
        value = float(value)
    if kind is int and type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        wanted = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}[kind]
        return f"not taken: {value!r:.40} is not {wanted}"
    section, _, field = path.partition(".")
    config.setdefault(section, {})[field] = value
    return f"{section}.{field} = {value}"


def _rest(config: dict[str, Any], name: str, value: Any, values: dict[str, Any], preset: str | None) -> str:
    """The names without one plain counterpart."""
    match name, value:
        case "eval_iters", int():
            batch = values.get(
                "batch_size", PRESETS[preset].config.batch.micro_batch if preset else _DEFAULTS["batch_size"]
            )
            windows = value * batch if isinstance(batch, int) else value
            return _take(config, "eval.windows", int, max(2, windows)) + f" ({value} batches of {batch})"
        case "decay_lr", True:
            return "already so: the learning rate follows a cosine"
        case "decay_lr", False:
            return "the learning rate stays at its peak: schedule.min_lr = schedule.lr"
        case "device", str():
            kind = value.partition(":")[0]
            if kind in ("cpu", "cuda", "mps"):
                return _take(config, "system.device", str, kind)
        case "dtype", "float32" | "bfloat16":
            return _take(config, "system.dtype", str, value)
        case "dtype", "float16":
            return (
                _take(config, "system.dtype", str, "auto")
                + ": float16 with loss scaling is not offered; bfloat16 where the device has it, else float32"
            )
        case "compile", bool():
            return _take(config, "system.compile", str, "on" if value else "off")
        case "init_from", "scratch":
            return "already so: a run starts from its seed"
        case "init_from", str():
            return f"not taken: starting from {value:.40} is not offered; the run starts from its seed"
    return f"not taken: {value!r:.40} is not a value that is known here"
