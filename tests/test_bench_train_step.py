import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench import train_step
from bench.rows import ROWS, Row

ROOT = Path(__file__).resolve().parent.parent
TINY = Row("tiny", "tiny", (65, 16, 1, 2, 16, 4), "float32", False, 1.0)


def test_the_table_says_losses_ceiling_and_ratio_and_the_baseline_computes_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_step.compare(TINY, tmp_path, rounds=2, budget_s=0.01)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "tiny: target 1.0 x"
    assert [line.split()[0] for line in lines if "tokens/s" in line] == ["plain", "plateau"]
    apart = next(line for line in lines if "equal batches differ" in line)
    assert float(apart.split()[-1]) < 1e-4
    ceiling = next(line for line in lines if "ceiling of this processor" in line)
    assert float(ceiling.split()[-2]) > float(lines[-1].split()[1]) > 0, "no loop is faster than its products"


def test_the_loss_in_chunks_has_a_row_with_the_peaks_of_both(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_step, "CHUNKED", TINY._replace(shape=(30_000, 64, 1, 2, 16, 16)))  # 117 MiB of logits
    train_step.compare_chunked(tmp_path, rounds=1, budget_s=0.01)
    lines = capfd.readouterr().out.splitlines()
    peaks = {line.split()[0]: int(line.split()[2].replace(",", "")) for line in lines if " peak " in line}
    assert set(peaks) == {"whole", "chunks"}
    assert 50 < peaks["chunks"] < peaks["whole"] - 50 < 50_000
    assert float(lines[-1].split()[1]) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the row would be measured")
def test_without_cuda_the_gpus_row_is_not_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (row,) = (row for row in ROWS if row.device == "cuda")
    train_step.compare(row, tmp_path, rounds=1, budget_s=0.01)
    assert "not measured" in capfd.readouterr().out


def needed(distribution: str) -> set[str]:
    """It and what it requires, as pip would install them."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", each)[0] for each in requirements if "extra ==" not in each]
    return found


def test_the_bench_runs_where_only_torch_and_numpy_are_installed(tmp_path: Path) -> None:
    there = needed("torch") | needed("numpy")
    absent = [
        module
        for module, owners in metadata.packages_distributions().items()
        if module not in ("app", "worker", "bench")  # of this checkout
        and not any(re.sub("[-_.]+", "-", owner).lower() in there for owner in owners)
    ]
    assert {"pydantic", "psutil", "httpx", "safetensors"} <= set(absent)
    (tmp_path / "sitecustomize.py").write_text(  # Python runs it at the start of each process, the sides' too
        f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
    )
    script = (
        "import json, sys; from pathlib import Path; from bench import train_step; from bench.rows import Row;"
        "train_step.compare(Row(**json.loads(sys.argv[1])), Path(sys.argv[2]), 1, 0.01)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(TINY._asdict()), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
