"""What the machine does while a run trains: device, processor and memory, looked at every few seconds between two steps."""

import time
from collections.abc import Callable
from typing import NamedTuple

import psutil
import torch

from worker import devices

try:
    import pynvml  # what torch asks the driver through
except ImportError:
    pynvml = None

EVERY_S = 10.0
"""Between two looks: the driver answers in about a millisecond, so this costs a ten-thousandth."""


class Gauge(NamedTuple):
    """Something NVIDIA's driver can tell of a card."""

    key: str
    ask: Callable[[torch.device], float]
    unit: float  #: what it tells, times this, is in the metric's unit


DRIVER = (
    Gauge("system/device_util", torch.cuda.utilization, 1.0),
    Gauge("system/device_power_w", torch.cuda.power_draw, 1e-3),
    Gauge("system/device_temp_c", torch.cuda.temperature, 1.0),
)


class Telemetry:
    """Gauges as points of ordinary series; what the driver does not tell is not there, rather than zero."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._device, self._clock = device, clock
        self._process = psutil.Process()
        self._driver: tuple[Gauge, ...] = DRIVER if device.type == "cuda" and pynvml else ()
        psutil.cpu_percent()  # percentages are of the time since the call before
        self._process.cpu_percent()
        self._due = clock() + EVERY_S

    def due(self) -> bool:
        return self._clock() >= self._due

    def read(self) -> dict[str, float]:
        """Metric → value, now. Memory in GiB, shares in percent: system/cpu of all cores, system/process_cpu of one."""
        self._due = self._clock() + EVERY_S
        values = {
            "system/cpu": psutil.cpu_percent(),
            "system/process_cpu": self._process.cpu_percent(),
            "system/rss_gib": self._process.memory_info().rss / devices.GIB,
        }
        if memory := devices.memory_gib(self._device):
            values["system/device_mem_gib"] = memory
        told = []
        for gauge in self._driver:
            try:
                values[gauge.key] = gauge.ask(self._device) * gauge.unit
            except (pynvml.NVMLError, RuntimeError):  # this card or driver does not tell, nor will it the next time
                continue
            told.append(gauge)
        self._driver = tuple(told)
        return values
