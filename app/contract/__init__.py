"""The nouns both programs share: run configuration, states, metric names, datasets and the wire protocol.

Standard library and pydantic only, so that the worker needs nothing else of app/.
"""
