"""Speed and memory of the mention detector in `mslm extract-terms`, compared to spaCy's own way of running it.

python benchmarks/detector_speed.py shared/data [--turns 5] [--chars 4000000] [--json]

Both sides find the mentions of the same parts of the same unlabelled abstracts and articles with the packaged detector,
each side in a process of its own, with one BLAS thread, in turns: `spaCy` loads it with spacy.load and reads with
nlp.pipe(batch_size=64), as mslm did before; `mslm` uses load_pipeline and find_mentions. CPU time is user and system
time without loading. The size of the vocabulary and of the string store is read after a quarter of the text and after
all of it. Every mention is compared, with its type and its place in the sequence.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli import allocator, fsio
from mslm_cli.corpus.documents import document_batches
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents
from mslm_cli.terms import pipeline
from mslm_cli.terms.evidence import Passage, _parts
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.text.sentences import split_sentences

if TYPE_CHECKING:
    from spacy.language import Language

TEXTS = ("med1250_abstracts.txt.gz", "pubmedqa_abstracts.txt.gz", "craft_fulltext_30articles.txt.gz")
SIDES = ("spaCy", "mslm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the public data sets")
    parser.add_argument("--chars", type=int, default=4_000_000, help="characters to read")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.data, options.chars)))
        return
    turns = [{side: in_process(side, options) for side in SIDES} for _ in range(options.turns)]
    result = {
        "turns": turns,
        "cpu_s": {side: spread([turn[side]["cpu_s"] for turn in turns]) for side in SIDES},
        "peak_mb": {side: spread([turn[side]["peak_mb"] for turn in turns]) for side in SIDES},
        "ratio": spread([turn["spaCy"]["cpu_s"] / turn["mslm"]["cpu_s"] for turn in turns]),
    }
    print(json.dumps(result, indent=2) if options.json else table(result))


def in_process(side: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, str(options.data), "--side", side, "--chars", str(options.chars)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(side: str, data: Path, n_chars: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    batches = list(batches_of(data, n_chars))
    if side == "mslm":
        allocator.keep_freed_memory()
        nlp = pipeline.load_pipeline(pipeline.DEFAULT)
    else:
        import spacy

        nlp = spacy.load(fsio.resource(pipeline.DETECTOR))
    digest, n_mentions, sizes = hashlib.sha256(), 0, []
    start = cpu_seconds()
    for number, batch in enumerate(batches, 1):
        for mentions in found_by(side, nlp, batch):
            n_mentions += len(mentions)
            digest.update(json.dumps(mentions).encode())
        if number in (len(batches) // 4, len(batches)):
            sizes.append({"words": sum(1 for _ in nlp.vocab), "strings": len(nlp.vocab.strings)})
    return {
        "cpu_s": cpu_seconds() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "n_chars": sum(len(text) for batch in batches for text, _ in batch),
        "n_mentions": n_mentions,
        "mentions": digest.hexdigest(),
        "vocabulary": sizes,
    }


def batches_of(data: Path, n_chars: int) -> Iterator[list[tuple[str, bool]]]:
    """The parts of documents that the detector gets at once, until there are ``n_chars`` characters."""
    files = [data / "unlabelled" / name for name in TEXTS]
    for documents in document_batches(read_documents(files, DataOptions())):
        batch = list(_parts([Passage(d.text, split_sentences(d.text), is_tokenised=False) for d in documents]))
        yield batch
        n_chars -= sum(len(text) for text, _ in batch)
        if n_chars <= 0:
            return


def found_by(side: str, nlp: "Language", batch: Sequence[tuple[str, bool]]) -> Iterator[list[DetectedMention]]:
    if side == "mslm":
        yield from (mentions for mentions, _ in pipeline.find_mentions(nlp, batch))
        return
    readable = [pipeline._MARKS.sub(" ", text) for text, _ in batch]
    for doc in nlp.pipe(readable, batch_size=64):
        yield [DetectedMention(" ".join(e.text.split()), e.label_ or None) for e in doc.ents]


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(result: dict[str, Any]) -> str:
    first = result["turns"][0]
    n_chars = first["mslm"]["n_chars"]
    rows = ["| | CPU s | characters per CPU s | peak MB | words known, 1/4 and all | strings, 1/4 and all |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    for side in SIDES:
        known = [" and ".join(f"{size[key]:,}" for size in first[side]["vocabulary"]) for key in ("words", "strings")]
        speed = f"{n_chars / result['cpu_s'][side]['median']:,.0f}"
        cells = [shown(result["cpu_s"][side], 1), speed, shown(result["peak_mb"][side], 0), *known]
        rows.append(f"| {side} | {' | '.join(cells)} |")
    same = len({turn[side]["mentions"] for turn in result["turns"] for side in SIDES}) == 1
    counts = ", ".join(f"{side} {first[side]['n_mentions']:,}" for side in SIDES)
    return "\n".join(
        [
            *rows,
            "",
            f"{n_chars:,} characters, {len(result['turns'])} turns; mslm is {shown(result['ratio'], 2)} times as fast.",
            f"Mentions: {counts}; {'all the same' if same else 'NOT the same'}.",
        ]
    )


def shown(of: dict[str, float], digits: int) -> str:
    return f"{of['median']:,.{digits}f} ({of['low']:,.{digits}f} to {of['high']:,.{digits}f})"


if __name__ == "__main__":
    main()
