"""What ``mslm finetune --also`` gains by knowing that another corpus does not annotate our types.

    python benchmarks/partial_annotation.py DATA LINES.jsonl

300 sentences of NCBI-disease (types: Disease), and as many of BC5CDR-chem (Chemical), in which diseases are not marked.
Learnt together: ``also`` (the loss of an O sums over the types that a corpus lacks) and ``union`` (one file with all
sentences, in which every O is an O); ``alone`` is without the second corpus. Strict F1 for Disease on 400 dev sentences
that chose nothing; three seeds, each with sentences of its own. No test set is read.
"""

import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from schedule import N_OTHERS, blocks, drawn

from mslm_cli.artifacts import load
from mslm_cli.config import EvalConfig, FinetuneConfig
from mslm_cli.stages import finetune
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.trained import load_trained

N = 300


def typed(sentences: list[str], name: str) -> list[str]:
    """The sentences, with bare B and I tags made those of the type ``name``."""
    rows = [[line.split("\t") for line in sentence.splitlines()] for sentence in sentences]
    return ["\n".join(f"{w}\t{t if t == 'O' else f'{t}-{name}'}" for w, t in sentence) for sentence in rows]


def measure(data: Path, seed: int, way: str) -> dict[str, object]:
    chooser = random.Random(seed)
    train, development = (blocks(data / "NCBI-disease" / f"{part}.tsv.gz") for part in ("train", "devel"))
    chosen, small = drawn(train, N, chooser), drawn(development, 60, chooser)
    scored = drawn([s for s in development if s not in set(small)], N_OTHERS, chooser)
    other = typed(drawn(blocks(data / "BC5CDR-chem" / "train.tsv.gz"), N, chooser), "Chemical")
    parts = {name: typed(found, "Disease") for name, found in (("train", chosen), ("dev", small), ("scored", scored))}
    parts["other"] = other
    if way == "union":
        parts["train"] = [s for pair in zip(parts["train"], other, strict=True) for s in pair]
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part, found in parts.items():
            (folder / f"{part}.tsv").write_text("\n\n".join(found) + "\n", encoding="utf-8")
        config = FinetuneConfig.build(offline=True, threads=1, seed=seed)
        companions = finetune.Companions(also=(folder / "other.tsv",) if way == "also" else ())
        made = finetune.run(folder / "train.tsv", folder / "dev.tsv", folder / "ner", config, companions=companions)
        model = load_trained(load(made, "ner"), EvalConfig.build(threads=1))
        corpus = NER.read(folder / "scored.tsv", config)
        found_mentions = [s.without({"Chemical"}) for s in model.predict([s.words for s in corpus.sentences])]
    scores = {
        k: round(float(v), 4)
        for k, v in NER.score(corpus, found_mentions).items()
        if k in ("precision", "recall", "f1")
    }
    return {"way": way, "seed": seed, **scores}


def main() -> None:
    data, lines = Path(sys.argv[1]), Path(sys.argv[2])
    done = [(r["way"], r["seed"]) for r in map(json.loads, lines.read_text().splitlines())] if lines.exists() else []
    for seed in (1, 2, 3):
        for way in ("also", "union", "alone"):
            if (way, seed) not in done:
                found = json.dumps(measure(data, seed, way))
                with lines.open("a", encoding="utf-8") as file:
                    file.write(found + "\n")


if __name__ == "__main__":
    main()
