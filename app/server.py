"""The server program: `python -m app.server [--host H] [--port P] [--home DIR] [--demo] [--allow-host NAME]`."""

import gc
import sys


def main() -> int:
    # What is imported stays: looking for garbage in it costs a fifth of the start, and a little at each later collection.
    gc.disable()
    from app import serving

    gc.freeze()
    gc.enable()
    return serving.main()


if __name__ == "__main__":
    sys.exit(main())
