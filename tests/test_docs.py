"""The documents are complete: commands, settings, routes, targets, files; and their links lead somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli.commands import app as commandline
from app.main import create_app
from app.migrate import open_database
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench" / "README.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = [path for top in ("app", "worker") for path in sorted((ROOT / top).rglob("*.py"))]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command of `plateau`, groups followed to their ends: "up", "dataset add"…"""

    def walk(command: object, names: list[str]) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if not inner:
            yield " ".join(names)
        for name, child in sorted((inner or {}).items()):
            if not child.hidden:
                yield from walk(child, [*names, name])

    return list(walk(get_command(commandline), []))


def test_every_command_is_in_the_readme() -> None:
    missing = [name for name in commands() if f"plateau {name}" not in README]
    assert not missing, f"the README does not name: {', '.join(f'plateau {name}' for name in missing)}"


def test_every_setting_is_documented() -> None:
    used = {f"PLATEAU_{name.upper()}" for name in Settings.model_fields}
    for path in SOURCES:
        used |= set(re.findall(r"PLATEAU_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8")))
    documented = set(re.findall(r"`(PLATEAU_[A-Z0-9_]+)`", page("operations.md")))
    assert used == documented, f"undocumented: {sorted(used - documented)}; gone: {sorted(documented - used)}"


def test_every_group_of_routes_is_documented(settings: Settings) -> None:
    database = open_database(settings)
    try:
        paths = create_app(settings, database).openapi()["paths"]
    finally:
        database.close()
    groups = {"/".join(path.split("/")[:4]) for path in paths if path.startswith("/api/v1/")}
    assert groups, "the API has routes"
    missing = sorted(group for group in groups if f"`{group}`" not in page("api.md"))
    assert not missing, f"docs/api.md does not name: {', '.join(missing)}"


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    assert {"run", "test", "lint", "bench"} <= set(targets)
    written = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert not [target for target in targets if f"make {target}" not in written]


def test_the_file_map_names_every_file_and_no_other() -> None:
    mapped = re.findall(r"^- `([^`]+\.py)`: ", README, flags=re.M)
    idea = {str(path.relative_to(ROOT)): path for path in SOURCES if path.stat().st_size}
    missing = "\n".join(f"- `{name}`: {first_sentence(path)}" for name, path in idea.items() if name not in mapped)
    assert not missing, f"the README's file map lacks:\n{missing}"
    assert not [name for name in mapped if name not in idea], "the README's file map names files that are gone"


def first_sentence(path: Path) -> str:
    told = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", told)[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert not [target for target in local if not (path.parent / target).exists()]


def test_every_benchmark_is_described() -> None:
    from bench.__main__ import PROGRAMS

    described = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in PROGRAMS if f"[{name}.py]({name}.py)" not in described]
