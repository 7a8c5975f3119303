"""What the machine tells while a run trains."""

from collections.abc import Callable

import pytest
import torch

from app.contract.metrics import METRICS
from worker import telemetry
from worker.telemetry import Gauge, Telemetry

CPU = torch.device("cpu")


class Refused(Exception):
    pass


def fails(error: Exception) -> Callable[[torch.device], float]:
    def ask(_device: torch.device) -> float:
        raise error

    return ask


def test_a_look_is_due_every_ten_seconds() -> None:
    now = 0.0
    gauges = Telemetry(CPU, lambda: now)
    assert not gauges.due()
    now = 10.0
    assert gauges.due()
    gauges.read()
    assert not gauges.due()
    now = 20.0
    assert gauges.due()


def test_a_processor_is_measured_and_no_card_is_invented() -> None:
    gauges = Telemetry(CPU)
    sum(i * i for i in range(300_000))
    values = gauges.read()
    assert set(values) == {"system/cpu", "system/process_cpu", "system/rss_gib"}
    assert 0.01 < values["system/rss_gib"] < 100
    assert values["system/process_cpu"] > 0
    assert 0 <= values["system/cpu"] <= 100


def test_a_card_that_tells_something_is_shown_that_and_not_asked_again_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Library:
        NVMLError = Refused

    asked = []
    monkeypatch.setattr(telemetry, "pynvml", Library)
    monkeypatch.setattr(telemetry.devices, "memory_gib", lambda _device: 3.0)
    monkeypatch.setattr(
        telemetry,
        "DRIVER",
        (
            Gauge("system/device_power_w", lambda _device: 71_500.0, 1e-3),
            Gauge("system/device_temp_c", lambda device: asked.append(device) or fails(Refused())(device), 1.0),
            Gauge("system/device_util", fails(RuntimeError("Driver not loaded")), 1.0),
        ),
    )
    gauges = Telemetry(torch.device("cuda", 0))
    for _ in range(2):
        values = gauges.read()
        assert values["system/device_power_w"] == 71.5
        assert values["system/device_mem_gib"] == 3.0
        assert not {"system/device_temp_c", "system/device_util"} & set(values)
    assert len(asked) == 1


def test_every_gauge_is_a_metric_with_a_unit() -> None:
    units = {metric.key: metric.unit for metric in METRICS}
    assert all(units[key] for key in (*Telemetry(CPU).read(), *(gauge.key for gauge in telemetry.DRIVER)))
