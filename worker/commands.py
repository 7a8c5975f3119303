"""What the agent tells a training process: one command per line on its standard input, and SIGTERM.

Commands are only collected here; training looks at them between steps. The end of the input means
that the agent has died: the process ends at once, for its successor may already be on its way.
"""

import json
import os
import signal
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, BinaryIO
from urllib.parse import quote


def spoken(command: Mapping[str, Any]) -> str:
    """A command of the server as the line that a training process is told."""
    match command.get("command"):
        case "delete_checkpoint":
            return f"delete {int(command['attempt'])} {int(command['step'])}"
        case "sample":
            return f"sample {int(command['sample'])} {quote(json.dumps(command['settings']))}"
        case word:
            return str(word)


class Commands:
    """The words of each command, oldest first: stop · pause · save · evaluate · sample <number> <settings> · delete …"""

    def __init__(self) -> None:
        self.terminate = False  #: SIGTERM came: save, then leave the machine
        self._waiting: SimpleQueue[list[str]] = SimpleQueue()

    def put(self, *words: str) -> None:
        self._waiting.put(list(words))

    def take(self) -> list[list[str]]:
        taken = []
        while True:
            try:
                taken.append(self._waiting.get_nowait())
            except Empty:
                return taken

    def heed_sigterm(self) -> None:
        def remember(signal_number: int, frame: FrameType | None) -> None:
            self.terminate = True

        signal.signal(signal.SIGTERM, remember)

    def listen(self, pipe: BinaryIO) -> None:
        """Collect the lines of `pipe` from now on."""

        def collect() -> None:
            # Straight from the descriptor: a reader blocked inside a buffered stdin would hold its lock at exit.
            rest = b""
            while chunk := os.read(pipe.fileno(), 4096):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if words := line.decode("utf-8", "replace").split():
                        self.put(*words)
            os._exit(1)  # not sys.exit: no thread may go on, and every write so far is the kernel's already

        threading.Thread(target=collect, name="commands", daemon=True).start()
