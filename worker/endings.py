"""How an attempt can end other than as planned: an exit code for the agent, sentences for the person."""

import sys
from pathlib import Path

from worker import checkpoint, devices
from worker.corpus import UnusableData
from worker.keeper import Misfit
from worker.report import NonFinite, Sink

EXIT_ERROR = 1
EXIT_NON_FINITE = 3
EXIT_OUT_OF_MEMORY = 4
EXPECTED = (UnusableData, Misfit, devices.Unavailable, NonFinite, MemoryError, RuntimeError)


def failed(error: Exception, step: int, run_dir: Path, journal: Sink) -> int:
    """Say why training ended after `step`; returns the exit code. Raises `error` again where it explains nothing."""
    if isinstance(error, UnusableData | Misfit | devices.Unavailable):
        _tell(journal, str(error), "error")
        return EXIT_ERROR
    if isinstance(error, NonFinite):
        newest = checkpoint.newest_verified(run_dir)
        kept = f" The last good checkpoint is {newest.name}." if newest else ""
        norms = ""
        if error.grad_norms:
            listed = ", ".join(f"{norm:.3g}" for norm in error.grad_norms.values())
            norms = f" The last {len(error.grad_norms)} gradient norms: {listed}."
        data = {"step": list(error.grad_norms), "value": list(error.grad_norms.values())}
        journal.event("alarm", step, text=f"{error}{kept}{norms}", grad_norms=data)
        _tell(journal, f"{error}{kept}", "non_finite")
        return EXIT_NON_FINITE
    if not devices.is_out_of_memory(error):
        raise error
    text = (
        f"Out of memory after step {step}. A smaller micro-batch with more accumulation makes the same step;"
        " recomputed activations, a shorter context or a smaller model need less as well."
    )
    journal.event("alarm", step, text=text)
    _tell(journal, f"{text} {error}", "oom")
    return EXIT_OUT_OF_MEMORY


def _tell(journal: Sink, sentence: str, reason: str) -> None:
    sys.stderr.write(sentence + "\n")  # the agent reports the end of what was printed as the cause
    journal.log(sentence, "error")
    journal.telemetry(outcome="failed", reason=reason)


def refused(journal: Sink, sentence: str) -> int:
    """A job that is no training cannot be done: say why; returns the exit code."""
    sys.stderr.write(sentence + "\n")
    journal.log(sentence, "error")
    journal.telemetry(outcome="failed", detail=sentence)
    return EXIT_ERROR
