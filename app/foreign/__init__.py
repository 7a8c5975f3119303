"""Logs of runs from elsewhere, read as a stream: nanoGPT's and llm.c's lines, tables, TensorBoard's event files. Pure."""
