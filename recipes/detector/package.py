"""Make the trained pipeline what is shipped: ``python package.py MODEL TARGET SHIFT`` (see ``calibrate.py``).

Left out: the strings of the training text, scores measured while training, and every path of the machine.
TARGET keeps its card (README.md).
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import spacy
from calibrate import lean_to_recall

MAX_BYTES = 12_000_000
# spaCy writes down no version older than the one at hand; a pipeline is good for all of its minor release.
SPACY_VERSION = ">=3.8.0,<3.9.0"
META: dict[str, Any] = {
    "name": "mslm_biomedical",
    "version": "1.0.0",
    "description": "Mentions of diseases, chemicals, genes and proteins, species, and anatomy in biomedical English.",
    "author": "the mslm maintainers",
    "email": "",
    "url": "",
    "license": "Apache-2.0",
}


def package(model: Path, target: Path, shift: float) -> None:
    """Write the pipeline in ``model`` to ``target``, and fail if it is too large or finds other mentions now."""
    nlp = spacy.load(model)
    lean_to_recall(nlp, shift)
    before = _mentions(nlp)
    nlp.meta.update(META)
    nlp.config["paths"] = dict.fromkeys(nlp.config["paths"])
    for old in target.iterdir() if target.exists() else ():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "README.md":
            old.unlink()
    nlp.to_disk(target)
    # The tokenizer and the components bring the strings that they need.
    (target / "vocab" / "strings.json").write_text("[]\n")
    meta = {**json.loads((target / "meta.json").read_bytes()), "spacy_version": SPACY_VERSION, "performance": {}}
    (target / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    n_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {n_bytes:,} bytes")
    if n_bytes > MAX_BYTES:
        raise SystemExit(f"larger than {MAX_BYTES:,} bytes")
    if _mentions(spacy.load(target)) != before:
        raise SystemExit("what was left out changes the mentions that are found")


def _mentions(nlp: spacy.Language) -> list[tuple[int, int, str]]:
    text = (
        "Lithium-induced nephrotoxicity in mice: IL-2R and NF-kappaB (p65) in hepatocytes, e.g. 2.5 mg/kg L-dopa. " * 3
    )
    return [(e.start_char, e.end_char, e.label_) for e in nlp(text).ents]


if __name__ == "__main__":
    package(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
