"""Lines that training programs print: nanoGPT of any version, llm.c's main.log, build-nanogpt, modded-nanogpt.

Steps become Plateau's, the number of finished updates: nanoGPT's “iter N” is printed after update N (counted from 0), hence
N + 1, and its “step N” is an evaluation after N updates.
"""

import re

from app.foreign.log import Log
from app.foreign.numbers import NUMBER, number, whole
from app.foreign.order import Order

_N = f"({NUMBER})"
_STEP = re.compile(rf"\bstep\s+(\d+)\s*:\s*train loss\s+{_N}\s*[,;]?\s*val loss\s+{_N}", re.I)
_ITER = re.compile(
    rf"\biter\s+(\d+)\s*:\s*loss\s+{_N}(?:\s*[,;]?\s*time\s+{_N}\s*(ms|s)\b)?(?:\s*[,;]?\s*mfu\s+{_N}\s*%)?", re.I
)
_LLMC = re.compile(rf"^\s*s:(\d+)\s+(tel|trl|eval):{_N}(?:\s+lr:{_N})?(?:\s+norm:{_N})?", re.I)
_BUILD = re.compile(rf"^\s*(\d+)\s+(train|val|hella)\s+{_N}\s*$", re.I)
_MODDED = re.compile(
    rf"\bstep:(\d+)(?:/(\d+))?\s+(train|val)_loss:{_N}(?:.*?\btrain_time:{_N}ms)?(?:.*?\bstep_avg:{_N}ms)?", re.I
)
_PIPED = re.compile(rf"\bstep\s+(\d+)(/\d+)?\s*\|\s*(?:train )?loss:?\s+{_N}", re.I)
_PIPED_VAL = re.compile(rf"^\s*val(?:idation)? loss:?\s+{_N}\s*$", re.I)
_PIPED_MORE = tuple(
    (key, scale, re.compile(pattern, re.I))
    for key, scale, pattern in (
        ("train/grad_norm", 1.0, rf"\bnorm:?\s+{_N}"),
        ("train/lr", 1.0, rf"\blr:?\s+{_N}"),
        ("train/step_ms", 1.0, rf"(?:\bdt:\s*|\|\s*){_N}\s*ms\b"),
        ("train/mfu", 0.01, rf"{_N}\s*%\s*(?:bf16\s*)?mfu"),
        ("train/tok_per_s", 1.0, rf"(?:\btok/sec:\s*{_N}|\|\s*{_N}\s*tok/s)"),
    )
)
_KEYS = {"tel": "val/loss", "eval": "val/hellaswag", "val": "val/loss", "hella": "val/hellaswag"}

_PARAMETERS = re.compile(rf"number of parameters:\s*{_N}\s*M\b", re.I)
_TENSORS = re.compile(r"num (non-)?decayed parameter tensors:\s*\d+, with ([\d,.]+) parameters", re.I)
_TOKENS = re.compile(r"tokens per iteration will be:\s*([\d,.]+)", re.I)
_VOCABULARY = re.compile(r"(?:found vocab_size\s*=|vocab_size of GPT-2 to)\s*(\d+)", re.I)
_OVERRIDE = re.compile(r"^\s*Overriding:\s*(\w+)\s*=\s*(.+?)\s*$")
_FILE = re.compile(r"^\s*Overriding config with \S+:?\s*$")
_OOM = re.compile(r"out of memory|OutOfMemoryError", re.I)
_BAR = re.compile(r"\d+%\||\bit/s\b|\bs/it\b")
_QUIET = re.compile(
    r"^\s*$|^\s*(?:saving checkpoint|using fused|compiling the model|Initializing|Resuming|WARNING|\[?W\d+|wandb:|total number of tokens"
    r"|No meta\.pkl|num (?:non-)?decayed|number of parameters|defaulting to vocab_size|Overriding|Loading|loaded|warn)",
    re.I,
)
MOST_TOLD, LONGEST_TOLD = 400, 120
"""Lines of a config that the log repeats, and characters of each."""
MOST_COUNT = 10**12


class Printed:
    """Takes one line after the other."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._order = Order(log)
        self._in_file = 0  # lines of the config file that may follow, as nanoGPT prints it
        self._step = 0
        self._tensors: dict[bool, int] = {}

    def line(self, text: str, number_: int) -> None:
        if self._measured(text, number_):
            self._in_file = 0
            self._log.ending = None
        elif not self._told(text, number_) and not _QUIET.match(text) and not _BAR.search(text):
            self._log.count("noise", line=number_, text=text.strip()[:80])

    def end(self) -> None:
        return

    def _measured(self, text: str, line: int) -> bool:
        """Whether it is a line of numbers."""
        lower = text.lower()
        if "loss" in lower:
            if found := _ITER.search(text):
                self._iter(found, line)
            elif found := _STEP.search(text):
                step, train, val = whole(found[1]), number(found[2]), number(found[3])
                self._put("nanogpt", "eval", step, line, {"eval/train_loss": train, "val/loss": val})
            elif "step:" in lower and (found := _MODDED.search(text)):
                train = found[3].lower() == "train"
                values = {"train/loss" if train else "val/loss": number(found[4])}
                took = number(found[6]) if found[6] else None
                if took is not None and took > 0:  # nan until it has been measured
                    values["train/step_ms"] = took
                self._put("modded-nanogpt", found[3], whole(found[1]), line, values)
            elif "|" in text and (found := _PIPED.search(text)):
                self._piped(text, found, line)
            elif found := _PIPED_VAL.search(text):
                self._put(self._log.format or "llm.c", "val", self._step, line, {"val/loss": number(found[1])})
            else:
                return False
            return True
        if lower.lstrip().startswith("s:") and (found := _LLMC.match(text)):
            kind, step = found[2].lower(), whole(found[1])
            if kind == "trl":
                values = {"train/loss": number(found[3])}
                values |= {key: number(found[at]) for key, at in (("train/lr", 4), ("train/grad_norm", 5)) if found[at]}
                self._put("llm.c", kind, step, line, values, shift=1)
            else:
                self._put("llm.c", kind, step, line, {_KEYS[kind]: number(found[3])})
            return True
        if found := _BUILD.match(text):
            kind, step = found[2].lower(), whole(found[1])
            values = {_KEYS.get(kind, "train/loss"): number(found[3])}
            self._put("build-nanogpt", kind, step, line, values, shift=int(kind == "train"))
            return True
        return False

    def _iter(self, found: re.Match[str], line: int) -> None:
        values = {"train/loss": number(found[2])}
        took = number(found[3]) if found[3] else None
        if took is not None and took > 0:
            step_ms = took * (1000 if found[4].lower() == "s" else 1)
            values["train/step_ms"] = step_ms
            if tokens := self._log.facts.get("tokens_per_step"):
                values["train/tok_per_s"] = tokens / step_ms * 1000
        mfu = number(found[5]) if found[5] else None
        if mfu is not None and mfu > 0:  # −100 % until it has been measured
            values["train/mfu"] = mfu / 100
            self._log.facts["mfu_peak_flops"] = 312e12  # nanoGPT divides by an A100's, whatever the device
        self._put("nanogpt", "iter", whole(found[1]), line, values, shift=1)

    def _piped(self, text: str, found: re.Match[str], line: int) -> None:
        """ "step 20/19560 | loss …": with the total, llm.c's, which counts from 1; without, build-nanogpt's."""
        values = {"train/loss": number(found[3])}
        for key, scale, pattern in _PIPED_MORE:
            if more := pattern.search(text):
                value = number(next(one for one in more.groups() if one))
                if value is not None:
                    values[key] = value * scale
        step = whole(found[1])
        self._step = (step or 0) + (not found[2])
        name = "llm.c" if found[2] else "build-nanogpt"
        self._put(name, "piped", step, line, values, shift=int(not found[2]))

    def _put(
        self, format: str, kind: str, step: int | None, line: int, values: dict[str, float | None], *, shift: int = 0
    ) -> None:
        good = {key: value for key, value in values.items() if value is not None}
        if step is None or step > 2**52 or not self._order.take(kind, step, tuple(good.values()), line):
            return
        if not self._log.format:
            self._log.format = format
            if format in ("nanogpt", "llm.c"):  # drawn anew each time, or the first batches of the validation file
                self._log.facts["fixed_eval"] = format == "llm.c"
        if kind == "iter" and "train_loss_is" not in self._log.facts:
            self._log.facts |= {"train_loss_is": "last micro-batch", "train_loss_mode": "train"}
            self._log.note("iter")
        for key, value in good.items():
            self._log.point(key, step + shift, value)

    def _told(self, text: str, line: int) -> bool:
        """Whether it says something about the run."""
        log, facts = self._log, self._log.facts
        if "arameter" in text:
            if found := _PARAMETERS.search(text):
                self._fact("parameters_printed", (number(found[1]) or 0) * 1e6)
                return True
            if found := _TENSORS.search(text):
                self._tensors[found[1] is None] = whole(found[2]) or 0
                if len(self._tensors) == 2:
                    self._fact("parameters_all", sum(self._tensors.values()))
                return True
        if found := _TOKENS.search(text):
            self._fact("tokens_per_step", whole(found[1]) or 0)
            self._in_file = 0
        elif found := _VOCABULARY.search(text):
            self._fact("vocab_size", whole(found[1]) or 0)
        elif found := _OVERRIDE.match(text):
            self._in_file = 0
            self._tell(f"{found[1]} = {found[2]}")
        elif _FILE.match(text):
            self._in_file = MOST_TOLD
        elif "Resuming training" in text:
            self._order.resuming(line)
            facts["replays_data"] = True  # nanoGPT seeds its generator again
        elif "Initializing" in text:
            facts["pretrained"] = "OpenAI GPT-2" in text
        elif "train.py" in text and "File " not in text and not log.command:
            log.command = text.strip().lstrip("$ ")[:4000]
        elif _OOM.search(text):
            log.ending = ("oom", text.strip()[:200])
        elif text.startswith("Traceback (most recent call last)"):
            log.ending = ("error", text.strip())
        elif (
            log.ending is not None
            and log.ending[0] == "error"
            and re.match(r"\w[\w.]*(?:Error|Exception|Interrupt)\b", text)
        ):
            log.ending = ("stopped" if text.startswith("KeyboardInterrupt") else "error", text.strip()[:200])
        elif self._in_file > 0:
            self._in_file -= 1
            self._tell(text)  # code among its assignments is left to who reads them, to be named
        else:
            return False
        return True

    def _fact(self, name: str, count: float) -> None:
        if 1 <= count <= MOST_COUNT:
            self._log.facts[name] = round(count)

    def _tell(self, text: str) -> None:
        if len(self._log.told) < MOST_TOLD:
            self._log.told.append(text[:LONGEST_TOLD])
