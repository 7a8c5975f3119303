"""Experiments of many runs: from what somebody asks for, over the runs it takes, to what they say together."""
