"""Runs the benchmarks in turn, each in a process of its own: `python -m bench [NAME…]`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("train_step", "reporting", "prepare", "ingest", "chart_read", "compare", "run_list", "live", "page")


def main(wanted: list[str]) -> int:
    if unknown := [name for name in wanted if name not in PROGRAMS]:
        print(f"No benchmark {', '.join(unknown)}; there are {', '.join(PROGRAMS)}.", file=sys.stderr)
        return 2
    failed = []
    for name in wanted or PROGRAMS:
        print(f"\n── {name} " + "─" * (70 - len(name)), flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
