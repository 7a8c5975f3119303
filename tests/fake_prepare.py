"""A preparation without tokenizers: one byte of text is one token. Run as a child program."""

import hashlib
import json
import sys
from pathlib import Path

from worker.journal import Journal


def main() -> int:
    directory, attempt = Path(sys.argv[1]), int(sys.argv[sys.argv.index("--attempt") + 1])
    config = json.loads((directory / "config.json").read_bytes())
    journal = Journal(directory / "journal" / f"a{attempt}.journal")
    out = Path(config["out"])
    text = b"".join(Path(path).read_bytes() for path in config["files"])
    splits = {}
    for split, content in (("train", text), ("val", text[:10])):
        (out / f"{split}-000.bin").write_bytes(content)
        shard = {"file": f"{split}-000.bin", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        splits[split] = {"tokens": len(content), "shards": [shard]}
    (out / "manifest.json").write_text(json.dumps({**splits, "tokenizer": {"kind": "bytes", "file": None}}, indent=1))
    journal.telemetry(phase="tokens", tokens=len(text), outcome="finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
