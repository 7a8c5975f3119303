"""Pickles read as data: dictionaries, lists, numbers and text; whatever could call anything ends the reading.

A pickle is a program whose instructions may call any function. pickletools only decodes them; the machine below
carries out those that build plain values. Protocols 2 to 5.
"""

import pickletools
from typing import Any


class Unreadable(Exception):
    """The file is damaged, or holds what a file of plain values does not; nothing of it was run."""


class Machine:
    """A pickle's stack and memo, with harmless instructions only; a subclass may answer more of them in `other`."""

    foreign = "which a file of plain values does not need. It was not run"
    """Completes the message about an instruction that is not carried out."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # what lay on the stack at each open mark
        self.memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> Any:
        """The one value that the pickle builds. Raises Unreadable at the first instruction that is not plain."""
        try:
            return self._run(pickled)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise Unreadable(f"The file's pickle is damaged: {error}") from error

    def other(self, instruction: str, argument: Any, position: int | None) -> None:
        raise Unreadable(f"The file's pickle has {instruction} at byte {position}, {self.foreign}.")

    def _run(self, pickled: bytes) -> Any:
        argument: Any
        for opcode, argument, position in pickletools.genops(pickled):
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    (result,) = self.stack
                    return result
                case "NONE" | "NEWTRUE" | "NEWFALSE":
                    self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                    self.stack.append(argument)
                case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                    self.stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode.name]())
                case "MARK":
                    self.marks.append(self.stack)
                    self.stack = []
                case "TUPLE":
                    items = tuple(self.since_mark())  # which puts another stack in place
                    self.stack.append(items)
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    self.stack.append(tuple(self.take(int(opcode.name[-1]))))
                case "APPEND":
                    self.extend(self.take(1))
                case "APPENDS":
                    self.extend(self.since_mark())
                case "SETITEM":
                    self.update(self.take(2))
                case "SETITEMS":
                    self.update(self.since_mark())
                case "BINPUT" | "LONG_BINPUT":
                    self.memo[argument] = self.stack[-1]
                case "MEMOIZE":
                    self.memo[len(self.memo)] = self.stack[-1]
                case "BINGET" | "LONG_BINGET":
                    self.stack.append(self.memo[argument])
                case instruction:
                    self.other(instruction, argument, position)
        raise Unreadable("The file's pickle has no end.")

    def take(self, count: int) -> list[Any]:
        expect(len(self.stack) >= count, "fewer values than an instruction takes")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def since_mark(self) -> list[Any]:
        taken, self.stack = self.stack, self.marks.pop()
        return taken

    def extend(self, items: list[Any]) -> None:
        expect(isinstance(self.stack[-1], list), "an item for something that is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        expect(isinstance(target, dict) and len(items) % 2 == 0, "an entry for something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            expect(isinstance(key, str | int), "a key that is neither text nor a number")
            target[key] = value


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise Unreadable(f"The file's pickle is damaged: {what}.")
