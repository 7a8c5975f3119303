import os
import signal
import subprocess
import sys

from conftest import wait_until

from worker.commands import Commands

LISTENER = """
import sys, time
from worker.commands import Commands
commands = Commands()
commands.heed_sigterm()
commands.listen(sys.stdin.buffer)
print("ready", flush=True)
while True:
    for words in commands.take():
        print(*words, flush=True)
    if commands.terminate:
        print("terminate", flush=True)
        commands.terminate = False
    time.sleep(0.01)
"""


def test_commands_come_out_in_order_and_once() -> None:
    commands = Commands()
    commands.put("save")
    commands.put("delete", "1", "200")
    assert commands.take() == [["save"], ["delete", "1", "200"]]
    assert commands.take() == []


def test_lines_and_sigterm_arrive_and_the_end_of_the_pipe_is_the_end() -> None:
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.write(process.stdin.fileno(), b"save\n\nst")
        assert process.stdout.readline() == b"save\n"
        os.write(process.stdin.fileno(), b"op\ndelete 1 200\n")
        assert process.stdout.readline() == b"stop\n"
        assert process.stdout.readline() == b"delete 1 200\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"terminate\n"
        process.stdin.close()
        wait_until(lambda: process.poll() is not None, 10, "the listener outlived its agent")
        assert process.returncode == 1
