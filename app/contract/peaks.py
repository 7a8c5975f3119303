"""What a device can compute at most, for MFU; a device that is not in the table has no peak, and no MFU is shown.

Dense products of bfloat16 (of float16 where a card has no bfloat16) with float32 accumulation, in FLOP/s. The names are
torch.cuda.get_device_name()'s and must match as a whole: another variant's peak would make MFU a lie. Apple states no
peak for its M series, and CPUs differ by clock and library: none of them is here.
"""

import re

UNIT = 512
"""FLOP per clock of one SM of a GeForce from Ampere to Blackwell, adding up in float32: half of what the same SM reaches
on a workstation or data-centre card. 128 SM × 512 × 2,520 MHz = 165.2 TFLOP/s, as the white paper of the RTX 4090 says."""
FULL_UNIT = 2 * UNIT

PEAKS: tuple[tuple[str, float], ...] = (
    # NVIDIA's data sheets of the products; those that name the rate with sparsity only are halved.
    (r"NVIDIA A100.*", 312e12),  # A100 data sheet, PCIe and SXM alike
    (r"NVIDIA A30", 165e12),  # A30 data sheet
    (r"NVIDIA A10", 125e12),  # A10 data sheet
    (r"NVIDIA A40", 149.7e12),  # A40 data sheet
    (r"NVIDIA H100 80GB HBM3", 989e12),  # H100 data sheet, SXM
    (r"NVIDIA H100 PCIe", 756e12),  # H100 data sheet of 2022, PCIe
    (r"NVIDIA H100 NVL", 835e12),  # H100 data sheet, NVL
    (r"NVIDIA H200", 989e12),  # H200 data sheet, SXM
    (r"NVIDIA H200 NVL", 835e12),  # H200 data sheet, NVL: 1,671 with sparsity
    (r"NVIDIA B200", 2250e12),  # DGX B200 data sheet: 36 PFLOP/s with sparsity for eight
    (r"NVIDIA L4", 121e12),  # L4 data sheet: 242 with sparsity
    (r"NVIDIA L40", 181e12),  # L40 data sheet
    (r"NVIDIA L40S", 362e12),  # L40S data sheet
    (r"Tesla T4", 65e12),  # T4 data sheet; float16
    (r"Tesla V100-SXM[23]-(16|32)GB.*", 125e12),  # V100 data sheet; float16
    (r"Tesla V100-PCIE-(16|32)GB", 112e12),  # V100 data sheet; float16
    (r"Tesla V100S-PCIE-32GB", 130e12),  # V100S data sheet; float16
    # RTX A-series and Ada workstation cards: SMs × 1,024 × boost clock of their data sheets, which is half of the
    # "Tensor Performance" (with sparsity) that they name for the A-series.
    (r"NVIDIA RTX A2000( 12GB)?", 26 * FULL_UNIT * 1200e6),  # 31.9; sheet: 63.9 with sparsity
    (r"NVIDIA RTX A4000", 48 * FULL_UNIT * 1560e6),  # 76.7; sheet: 153.4
    (r"NVIDIA RTX A4500", 56 * FULL_UNIT * 1650e6),  # 94.6; sheet: 189.2
    (r"NVIDIA RTX A5000", 64 * FULL_UNIT * 1695e6),  # 111.1; sheet: 222.2
    (r"NVIDIA RTX A5500", 80 * FULL_UNIT * 1665e6),  # 136.4; sheet: 272.8
    (r"NVIDIA RTX A6000", 84 * FULL_UNIT * 1800e6),  # 154.8; GA102 white paper
    (
        r"NVIDIA RTX 6000 Ada Generation",
        142 * FULL_UNIT * 2505e6,
    ),  # 364.2; a quarter of the sheet's 1,457 (FP8, sparse)
    # GeForce RTX 30, GA102 white paper and NVIDIA's product pages: SMs and boost clock.
    (r"NVIDIA GeForce RTX 3060", 28 * UNIT * 1777e6),  # 25.5
    (r"NVIDIA GeForce RTX 3060 Ti", 38 * UNIT * 1665e6),  # 32.4
    (r"NVIDIA GeForce RTX 3070", 46 * UNIT * 1725e6),  # 40.6
    (r"NVIDIA GeForce RTX 3070 Ti", 48 * UNIT * 1770e6),  # 43.5
    (r"NVIDIA GeForce RTX 3080", 68 * UNIT * 1710e6),  # 59.5; the 12 GB card has two SMs more and the same name
    (r"NVIDIA GeForce RTX 3080 Ti", 80 * UNIT * 1665e6),  # 68.2
    (r"NVIDIA GeForce RTX 3090", 82 * UNIT * 1695e6),  # 71.2
    (r"NVIDIA GeForce RTX 3090 Ti", 84 * UNIT * 1860e6),  # 80.0
    # GeForce RTX 40, Ada white paper and NVIDIA's product pages.
    (r"NVIDIA GeForce RTX 4060", 24 * UNIT * 2460e6),  # 30.2
    (r"NVIDIA GeForce RTX 4060 Ti", 34 * UNIT * 2535e6),  # 44.1
    (r"NVIDIA GeForce RTX 4070", 46 * UNIT * 2475e6),  # 58.3
    (r"NVIDIA GeForce RTX 4070 SUPER", 56 * UNIT * 2475e6),  # 71.0
    (r"NVIDIA GeForce RTX 4070 Ti", 60 * UNIT * 2610e6),  # 80.2
    (r"NVIDIA GeForce RTX 4070 Ti SUPER", 66 * UNIT * 2610e6),  # 88.2
    (r"NVIDIA GeForce RTX 4080", 76 * UNIT * 2505e6),  # 97.5
    (r"NVIDIA GeForce RTX 4080 SUPER", 80 * UNIT * 2550e6),  # 104.4
    (r"NVIDIA GeForce RTX 4090", 128 * UNIT * 2520e6),  # 165.2
    # GeForce RTX 50, RTX Blackwell white paper and NVIDIA's product pages.
    (r"NVIDIA GeForce RTX 5070", 48 * UNIT * 2512e6),  # 61.7
    (r"NVIDIA GeForce RTX 5070 Ti", 70 * UNIT * 2452e6),  # 87.9
    (r"NVIDIA GeForce RTX 5080", 84 * UNIT * 2617e6),  # 112.6
    (r"NVIDIA GeForce RTX 5090", 170 * UNIT * 2407e6),  # 209.5
)


WRITTEN = ("NVIDIA ", "NVIDIA GeForce ", "NVIDIA GeForce RTX ", "NVIDIA RTX ", "Tesla ")
"""What people leave out of a device's name."""
SHORT: tuple[tuple[str, float], ...] = (
    (r"H100( SXM5?)?( 80GB)?", 989e12),  # H100 data sheet, SXM; PCIe and NVL cards are written with those words
    (r"V100( SXM[23]?)?( (16|32)GB)?", 125e12),  # V100 data sheet; float16
    (r"V100 PCIE( (16|32)GB)?", 112e12),
    (r"RTX 6000 ADA", 142 * FULL_UNIT * 2505e6),
)
"""Other names that people give to devices of the table."""


def peak_flops(device_name: str, dtype: str) -> float | None:
    """Of one such device at a run's precision; None where it is not known. Products of float32 have no peak here."""
    if dtype == "float32":
        return None  # float16 has bfloat16's peak on every card that has both
    return next((peak for name, peak in PEAKS if re.fullmatch(name, device_name)), None)


def peak_as_written(device: str, dtype: str | None) -> float | None:
    """Of one device as a person names it: "RTX 4070", "4070 Ti", "A100-SXM4-80GB", "H100". None where no name of the table
    is meant as a whole ("RTX 4090 Laptop"). A precision that is not known counts as 16 bit, as a GPU trains by default."""
    if dtype == "float32":
        return None
    name = re.sub(r"(?i)^(nvidia|tesla|geforce)[ _-]+(?=\S)", "", " ".join(device.split()))
    name = re.sub(r"(?i)^geforce ", "", name)
    name = re.sub(r"(?i)^(rtx|gtx)[ _-]*(?=\d)", "RTX ", name)
    name = re.sub(r"(?i)(?<=\d)[ _-]*(ti|super)\b", r" \1", name)
    spaced = re.sub(r"[ _-]+", " ", name)
    for known, peak in SHORT:
        if re.fullmatch(known, spaced, re.IGNORECASE):
            return peak
    written = [device, *(before + one for before in WRITTEN for one in (name, spaced))]
    return next((peak for known, peak in PEAKS for one in written if re.fullmatch(known, one, re.IGNORECASE)), None)
