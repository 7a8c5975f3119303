import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from worker.allocator import huge_pages

SCRIPT = """
import resource, sys, torch
from worker.allocator import keep_freed_memory
torch.set_num_threads(1)
how, mib = sys.argv[1], int(sys.argv[2])
kept = keep_freed_memory(large=how == "large") if how != "as ever" else None

def step():
    held = [torch.ones(mib << 18) for _ in range(6)]  # freed in the order in which they were made
    for i in range(6):
        held[i] = None

for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, mib: int) -> tuple[str, int]:
    """What the allocator answered, and the page faults of ten steps with blocks of so many MiB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how, str(mib)], capture_output=True, text=True, check=True, timeout=60
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.parametrize(("how", "mib", "otherwise"), [("keep", 12, "as ever"), ("large", 48, "keep")])
def test_memory_that_a_step_freed_is_there_for_the_next_one_without_a_page_fault(
    how: str, mib: int, otherwise: str
) -> None:
    kept, count = faults(how, mib)
    if kept == "False":
        pytest.skip("this C library has no mallopt")
    assert count < faults(otherwise, mib)[1] / 10


IN_HUGE_PAGES = """
import torch
held = [torch.ones(3 << 20) for _ in range(8)]
for line in open("/proc/self/smaps_rollup"):
    if line.startswith("AnonHugePages:"):
        print(line.split()[1])
"""


def test_a_process_started_for_huge_pages_holds_its_tensors_in_them() -> None:
    switch = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not switch.exists() or "[madvise]" not in switch.read_text():
        pytest.skip("this system gives huge pages to everybody or to nobody")
    if platform.libc_ver()[0] != "glibc" or tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35):
        pytest.skip("this C library does not ask for huge pages")
    bare = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    held = [
        int(subprocess.run([sys.executable, "-c", IN_HUGE_PAGES], env=env, capture_output=True, check=True).stdout)
        for env in (bare, {**bare, **huge_pages(bare)})
    ]
    assert held[0] < 8 << 10 < 64 << 10 < held[1]  # KiB, of 96 MiB


def test_tunables_of_the_users_own_stay() -> None:
    assert huge_pages({}) == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    assert huge_pages({"GLIBC_TUNABLES": "glibc.malloc.check=1"}) == {
        "GLIBC_TUNABLES": "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    }
    assert huge_pages({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}) == {}
