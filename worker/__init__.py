"""The GPU worker: claims jobs over HTTP, trains and prepares data in child processes, reports through a journal file."""
