"""How often transformers' token-classification pipeline finds the mentions that `mslm predict` finds.

python benchmarks/pipeline_agreement.py NER NCBI-disease/devel.tsv.gz [--strategy simple] [--sentences 500] [--json]

Both read the same raw sentences (the words of the file, joined by spaces). They agree on a sentence if both find the
same mentions: characters [start, end) and type. Fine-tune with `--label-pieces all` for the strategy "simple".
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

from transformers import pipeline

from mslm_cli import artifacts, models
from mslm_cli.config import PredictConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.stages import predict
from mslm_cli.tasks.trained import load_trained

Mentions = set[tuple[int, int, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ner", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--strategy", default="first", choices=["simple", "first", "average", "max"])
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print one JSON document, with the sentences that differ")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    models.quiet_transformers()
    texts = [" ".join(s.words) for s in read_labelled(options.data).sentences[: options.sentences]]
    tagger = pipeline(
        "token-classification", model=str(options.ner), aggregation_strategy=options.strategy, device="cpu"
    )
    theirs = [{(e["start"], e["end"], e["entity_group"]) for e in found} for found in tagger(texts, batch_size=4)]
    ours = mentions(options.ner, texts)
    differing = [
        {"text": text, "mslm": sorted(one), "pipeline": sorted(other)}
        for text, one, other in zip(texts, ours, theirs, strict=True)
        if one != other
    ]
    n_both = sum(len(one & other) for one, other in zip(ours, theirs, strict=True))
    result = {
        "strategy": options.strategy,
        "n_sentences": len(texts),
        "n_agreeing": len(texts) - len(differing),
        "n_mentions": {"mslm": sum(map(len, ours)), "pipeline": sum(map(len, theirs)), "both": n_both},
    }
    print(json.dumps(result | {"differing": differing} if options.json else result, indent=2))


def mentions(ner: Path, texts: list[str]) -> list[Mentions]:
    """The mentions found by `mslm predict` in each text, one document per text."""
    artifact = artifacts.load(ner, "ner")
    config = PredictConfig(one_per_line=True, format="text", device="cpu", threads=1)
    model = load_trained(artifact, config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "texts.txt")
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        rounds = predict.predict([file], model, config, predict.word_splitter(artifact, "auto"))
        return [{(s.start, s.end, s.type) for s in found.spans} for documents in rounds for found in documents]


if __name__ == "__main__":
    main()
