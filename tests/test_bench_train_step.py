import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import train_step
from bench.train_step import Row

TINY = (65, 16, 1, 2, 16, 4)


def test_the_table_says_losses_and_ratio_and_the_baseline_computes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_step.compare(Row("tiny", "tiny", TINY, "float32", False, 1.0), tmp_path, rounds=2, budget_s=0.01)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: target 1.0 x"
    apart = next(line for line in lines if "equal batches differ" in line)
    assert float(apart.split()[-1]) < 1e-4
    assert float(lines[-1].split()[1]) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the row would be measured")
def test_without_cuda_the_gpus_row_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = (row for row in train_step.ROWS if row.device == "cuda")
    train_step.compare(row, tmp_path, rounds=1, budget_s=0.01)
    assert "not measured" in capsys.readouterr().out


def test_a_side_tells_its_own_peak_in_mib(tmp_path: Path) -> None:
    row = Row("tiny", "tiny", TINY, "float32", False, 1.0)
    with train_step.side("plateau", row, train_step.tokens_file(tmp_path, 65)) as one:
        assert 50 < one.ask("peak") < 50_000


def test_the_bench_needs_torch_and_numpy_only() -> None:
    script = (
        "import sys; import bench.train_step; "
        "print(sorted({'pydantic', 'psutil', 'httpx', 'safetensors', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
