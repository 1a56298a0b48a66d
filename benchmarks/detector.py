"""Scores and speed of the packaged mention detector on held-out text.

    python benchmarks/detector.py DATA [--split test] [--pipeline NAME] [--quick] [--json]

DATA holds the public corpora (see recipes/detector/corpora.py). Strict: boundaries and type agree. On each corpus, only
the types it annotates are scored. Found, exact and overlapping: the fraction of gold mentions for which a mention of
any type has the same boundaries, or overlaps. BC5CDR is scored on its original abstracts, the others on single
sentences joined from their words.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from spacy.language import Language

from mslm_cli.terms import pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "detector"))
from scoring import scored_corpora, scores

PUBLISHED = """\
scispaCy's published mention F1, for orientation: en_ner_bc5cdr_md 84.28 (BC5CDR, both types), en_ner_jnlpba_md 72.06
(JNLPBA, its five types apart), en_ner_craft_md 78.01 (CRAFT, its six types), en_core_sci_sm 67.89 (MedMentions, one
type for all; that corpus is not here). The md models have 50,000 word vectors, and each is trained on the one corpus
that it is scored on. Here one model, of 20,000 floret rows, is scored on all; its Gene takes in JNLPBA's protein, DNA
and RNA, its Anatomy JNLPBA's cells, and of CRAFT it knows genes and taxa alone."""
_N_REPEATS = 3
_N_QUICK = 400


def main() -> None:
    arguments = _arguments()
    nlp = pipeline.load_pipeline(arguments.pipeline)
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    for corpus, passages in scored_corpora(arguments.data, arguments.split):
        chosen = passages[:_N_QUICK] if arguments.quick else passages
        texts += [passage.text for passage in chosen]
        rows += scores(nlp, corpus, chosen)
    speed = words_per_second(nlp, texts[: 2000 if arguments.quick else 10_000])
    if arguments.json:
        print(json.dumps({"split": arguments.split, "pipeline": arguments.pipeline, "rows": rows, "speed": speed}))
        return
    print("| corpus | type | gold | P | R | F1 | found, exact | found, overlapping |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        shares = (row[k] for k in ("precision", "recall", "f1", "found_exact", "found_overlapping"))
        print(
            f"| {row['corpus']} | {row['type']} | {row['n_gold']:,} | "
            + " | ".join(f"{100 * s:.2f}" for s in shares)
            + " |"
        )
    print("\n" + PUBLISHED + "\n")
    for name, (middle, low, high) in speed.items():
        print(f"{name}: {middle:,.0f} words/s ({low:,.0f} to {high:,.0f})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the public corpora")
    parser.add_argument("--split", choices=("devel", "test"), default="test")
    parser.add_argument("--pipeline", default=pipeline.DEFAULT, help="any spaCy pipeline with the same type names")
    parser.add_argument("--quick", action="store_true", help=f"the first {_N_QUICK} texts of each corpus")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    return parser.parse_args()


def words_per_second(nlp: Language, texts: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Median, lowest and highest speed of the pipeline and of its tokenizer alone, in turns on one thread."""
    n_words = sum(len(text.split()) for text in texts)
    runs: dict[str, Callable[[], Iterator[Any]]] = {
        "detector": lambda: iter(nlp.pipe(texts, batch_size=64)),
        "its tokenizer alone": lambda: iter(nlp.tokenizer.pipe(texts, batch_size=64)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_N_REPEATS):
        for name, run in runs.items():
            started = time.perf_counter()
            for _doc in run():
                pass
            speeds[name].append(n_words / (time.perf_counter() - started))
    return {name: (median(values), min(values), max(values)) for name, values in speeds.items()}


if __name__ == "__main__":
    main()
