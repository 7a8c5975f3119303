"""The arrows of docs/architecture.md: who may import whom, read from the source with ast."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 350
DRAWERS = {"utils", "util", "helpers", "helper", "common", "core", "misc", "shared"}
NUMERICS = {"worker.allocator", "worker.attention", "worker.autotune", "worker.batches", "worker.cautious", "worker.cross_entropy", "worker.evaluate", "worker.feed_forward", "worker.generate", "worker.linear", "worker.loop", "worker.model", "worker.muon", "worker.nanogpt_draws", "worker.optim", "worker.order", "worker.processes", "worker.signals",}  # fmt: skip
# The rooms at the edge of app/; every other module there is domain and knows nothing of the web.
EDGES = (
    "app.api", "app.pages", "app.stream", "app.security", "app.routing", "app.main", "app.server", "app.serving", "app.live",
)  # fmt: skip
MEETING = ("app.api", "app.pages", "app.stream")


class Import(NamedTuple):
    module: str  # who imports
    name: str  # what, as a dotted name; `from a import b` gives both a and a.b
    function: str | None  # inside which function, if any
    line: int


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for top in ("app", "worker") for path in sorted((ROOT / top).rglob("*.py"))}
COMMAND_LINE = tuple(name for name in MODULES if name.startswith("app.cli"))
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), path) for name, path in MODULES.items()}


def imports(module: str) -> Iterator[Import]:
    """Every import of a module, inside functions too; those under TYPE_CHECKING count as well."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]

    def walk(node: ast.AST, function: str | None) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, function, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield Import(module, source, function, node.lineno)
            for alias in node.names:
                yield Import(module, f"{source}.{alias.name}", function, node.lineno)
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(TREES[module], None)


ALL = [found for module in MODULES for found in imports(module)]


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def told(found: list[Import]) -> str:
    return "\n".join(f"{item.module}:{item.line} imports {item.name}" for item in found)


def test_app_imports_neither_the_worker_nor_torch_nor_tiktoken() -> None:
    wrong = [i for i in ALL if within(i.module, "app") and within(i.name, "worker", "torch", "tiktoken")]
    assert not wrong, told(wrong)


def test_pyarrow_enters_app_in_one_function_of_export_only() -> None:
    found = [i for i in ALL if within(i.module, "app") and within(i.name, "pyarrow")]
    wrong = [i for i in found if i.module != "app.export" or i.function is None]
    assert not wrong, told(wrong)
    assert len({i.function for i in found}) <= 1, told(found)


def test_worker_imports_nothing_of_app_but_the_contract() -> None:
    found = [i for i in ALL if within(i.module, "worker") and within(i.name, "app")]
    wrong = [i for i in found if i.name != "app" and not within(i.name, "app.contract")]
    assert not wrong, told(wrong)


def test_worker_knows_neither_the_web_framework_nor_the_database() -> None:
    wrong = [
        i for i in ALL if within(i.module, "worker") and within(i.name, "fastapi", "starlette", "sqlalchemy", "sqlite3")
    ]
    assert not wrong, told(wrong)


def test_one_worker_module_speaks_http() -> None:
    speakers = {
        i.module
        for i in ALL
        if within(i.module, "worker") and within(i.name, "httpx", "urllib.request", "http.client", "requests")
    }
    assert speakers <= {"worker.client"}, f"only worker.client speaks HTTP, yet so do {sorted(speakers)}"


def test_the_numerics_know_torch_numpy_and_the_schedule_only() -> None:
    own = {*NUMERICS, "app.contract.arithmetic", "app.contract.schedule", "app.contract.metrics"}
    wrong = [
        i
        for i in ALL
        if i.module in NUMERICS
        and not within(i.name, "torch", "numpy", *own)
        and i.name not in ("app", "app.contract", "worker")
        and i.name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong, told(wrong)


def test_contract_imports_the_standard_library_and_pydantic_only() -> None:
    wrong = [
        i
        for i in ALL
        if within(i.module, "app.contract")
        and not within(i.name, "app.contract", "pydantic", "pydantic_core")
        and i.name != "app"
        and i.name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong, told(wrong)


def test_the_agent_leaves_torch_alone() -> None:
    # In a fresh interpreter: what the agent imports may import torch in turn, which ast does not see.
    script = "import sys, worker.agent; print(sorted({'torch', 'tiktoken', 'pyarrow'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


def test_the_server_starts_without_the_libraries_that_few_pages_need() -> None:
    heavy = {"scipy", "statsmodels", "pandas", "optuna", "pyarrow", "alembic", "markdown_it", "yaml", "torch", "babel.messages"}  # fmt: skip
    script = f"import sys, app.serving; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


def test_app_takes_special_functions_of_scipy_and_nothing_else() -> None:
    # scipy.stats would take the server 60 MiB at its first diagnosis, scipy.special takes 15.
    found = [i for i in ALL if within(i.module, "app") and within(i.name, "scipy")]
    wrong = [i for i in found if i.function is None or not within(i.name, "scipy.special")]
    assert found
    assert not wrong, told(wrong)


def test_domain_modules_never_import_the_web_framework() -> None:
    wrong = [
        i
        for i in ALL
        if within(i.module, "app")
        and not within(i.module, *EDGES)
        and within(i.name, "fastapi", "starlette", "uvicorn")
    ]
    assert not wrong, told(wrong)


def test_domain_modules_never_import_the_edges() -> None:
    wrong = [i for i in ALL if within(i.module, "app") and not within(i.module, *EDGES) and within(i.name, *EDGES)]
    assert not wrong, told(wrong)


def test_api_pages_and_stream_never_import_each_other() -> None:
    wrong = [
        i
        for i in ALL
        for room in MEETING
        if within(i.module, room) and within(i.name, *(other for other in MEETING if other != room))
    ]
    assert not wrong, told(wrong)


def test_the_command_line_knows_the_rest_api_only() -> None:
    # a log file is read and judged where it lies; nothing else is done without a server
    known = ("app.contract", "app.errors", "app.foreign", "app.log_diagnosis", *COMMAND_LINE)
    found = [i for i in ALL if i.module in COMMAND_LINE]
    wrong = [i for i in found if within(i.name, "app") and i.name != "app" and not within(i.name, *known)]
    wrong += [i for i in found if within(i.name, "fastapi", "starlette", "sqlalchemy", "worker")]
    assert not wrong, told(wrong)


def test_every_module_states_its_idea() -> None:
    # app/__init__.py stays empty: the worker needs nothing of app but the contract.
    silent = [name for name, tree in TREES.items() if name != "app" and not ast.get_docstring(tree)]
    assert not silent, f"no module docstring: {', '.join(silent)}"


def test_no_module_is_a_drawer() -> None:
    drawers = [name for name in MODULES if DRAWERS & set(name.split("."))]
    assert not drawers, f"name the idea instead: {', '.join(drawers)}"


@pytest.mark.parametrize("folder", ["app", "worker", "tests", "static", "migrations", "bench"])
def test_no_file_holds_two_ideas(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".js") and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"past {MAX_LINES} lines, split by idea: {long}"
