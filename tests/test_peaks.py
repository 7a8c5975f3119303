import pytest

from app.contract.peaks import peak_as_written, peak_flops

WHITE_PAPERS = {
    # "Peak FP16/BF16 Tensor TFLOPS with FP32 Accumulate", dense, of NVIDIA's architecture white papers
    "NVIDIA GeForce RTX 3070": 40.6, "NVIDIA GeForce RTX 3080": 59.5, "NVIDIA GeForce RTX 3090": 71.0,
    "NVIDIA RTX A6000": 154.8, "NVIDIA GeForce RTX 4080": 97.5, "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 5090": 209.5,
    # data sheets; "with sparsity" halved
    "NVIDIA A100-SXM4-80GB": 312, "NVIDIA A100-PCIE-40GB": 312, "NVIDIA H100 PCIe": 756, "NVIDIA H200": 989,
    "NVIDIA B200": 2250, "NVIDIA L4": 121, "NVIDIA L40S": 362, "NVIDIA A10": 125, "NVIDIA RTX A4000": 76.7,
    "NVIDIA RTX A5000": 111.1, "Tesla T4": 65, "Tesla V100-SXM2-16GB": 125,
}  # fmt: skip


@pytest.mark.parametrize(("name", "tflops"), WHITE_PAPERS.items())
def test_units_and_clocks_give_what_the_maker_states(name: str, tflops: float) -> None:
    assert peak_flops(name, "bfloat16") == pytest.approx(tflops * 1e12, rel=0.005)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA A10G", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "Apple M3 Max", "AMD EPYC 9654",
     "NVIDIA GeForce RTX 3060 Laptop GPU", "NVIDIA H100", "AMD Instinct MI300X"],
)  # fmt: skip
def test_another_devices_peak_is_never_used(name: str) -> None:
    assert peak_flops(name, "bfloat16") is None


def test_float32_has_no_peak_and_float16_has_bfloat16s() -> None:
    assert peak_flops("NVIDIA L4", "float32") is None
    assert peak_flops("NVIDIA L4", "float16") == peak_flops("NVIDIA L4", "bfloat16")


@pytest.mark.parametrize(
    ("written", "tflops"),
    [("RTX 4070", 58.3), ("rtx4070", 58.3), ("GeForce RTX 4070 Ti", 80.2), ("4070ti super", 88.2), ("RTX 3090", 71.0),
     ("A100", 312), ("A100-SXM4-40GB", 312), ("H100", 989), ("H100 SXM", 989), ("H100 PCIe", 756), ("H200", 989),
     ("V100", 125), ("Tesla V100-PCIE-16GB", 112), ("T4", 65), ("RTX A6000", 154.8), ("A6000", 154.8),
     ("nvidia l40s", 362), ("RTX 6000 Ada", 364.2), ("NVIDIA GeForce RTX 5090", 209.5)],
)  # fmt: skip
def test_a_device_is_known_as_people_write_it(written: str, tflops: float) -> None:
    assert peak_as_written(written, None) == pytest.approx(tflops * 1e12, rel=0.005)


@pytest.mark.parametrize(
    "written", ["RTX 4090 Laptop GPU", "RTX 4090 D", "A10G", "Potato 3000", "cpu", "", "RTX", "M3 Max", "RTX 40"]
)
def test_what_is_written_is_never_taken_for_another_variant(written: str) -> None:
    assert peak_as_written(written, "bfloat16") is None


def test_a_written_name_has_no_peak_in_float32_either() -> None:
    assert peak_as_written("A100", "float32") is None
