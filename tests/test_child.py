"""What the end of a child process means."""

from worker.child import describe, ending, oom_kills


def test_killed_by_the_kernel_for_memory_is_out_of_memory():
    how = {"leaving": False, "terminated": False, "summary": {}}
    assert ending(-9, {}, [], oom_killed=True, **how).reason == "oom"
    assert ending(137, {}, [], oom_killed=True, **how).reason == "oom"
    killed = ending(-9, {}, [], oom_killed=False, **how)
    assert killed.reason == "error"
    assert "SIGKILL" in killed.log_tail[0]
    assert oom_kills() >= 0


def test_a_child_told_to_leave_is_requeued_and_one_terminated_is_stopped():
    how = {"oom_killed": False, "summary": {}}
    assert ending(75, {}, [], leaving=True, terminated=False, **how).outcome == "requeue"
    assert ending(-9, {}, [], leaving=True, terminated=False, **how).outcome == "requeue"
    assert ending(75, {}, [], leaving=False, terminated=True, **how).outcome == "stopped"


def test_exit_codes_in_words():
    assert describe(-11) == "signal SIGSEGV"
    assert describe(3) == "exit code 3"


def test_one_of_several_killed_is_requeued_and_one_alone_is_not():
    how = {"leaving": False, "terminated": False, "oom_killed": False, "summary": {}}
    several = ending(-9, {}, [], processes=2, **how)
    assert (several.outcome, several.reason) == ("requeue", "killed")
    assert ending(-9, {}, [], processes=1, **how).outcome == "failed"
    assert ending(-11, {}, [], processes=2, **how).outcome == "failed", "a crash would come again"
    assert ending(-9, {}, [], processes=2, **how | {"oom_killed": True}).reason == "oom"
    assert ending(-9, {}, [], processes=2, **how | {"terminated": True}).outcome == "stopped"
