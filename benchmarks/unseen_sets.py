"""The recipe of few_labels.md, untouched, on two sets on which no setting was chosen.

    python benchmarks/unseen_sets.py DATA MSLM FOLDER OUT.jsonl

pico-EBM-NLPmod with 10 % of its labels (source: pico-AD; MSLM is the encoder that device/few_labels.py adapted) and
masakhaner2-yor with 5 % (source: wnut17, its types renamed; adapted for up to a million tokens to the sentences of its
own training set, without labels). Three seeds. Sentences of dev and test are left out of the sources. That the text of
MSLM (text.txt.gz of few_labels_data.py) holds none of pico-EBM-NLPmod was counted apart, by the rule of that script.
"""

import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "device"))
import few_labels
from few_labels_data import words, write

from mslm_cli.config import AdaptConfig, ExtractTermsConfig, PreprocessConfig
from mslm_cli.stages import adapt, extract_terms, preprocess
from mslm_cli.workspace import RunOptions

NAMES = {"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG"}
SETS = {"pico-EBM-NLPmod": ("pico-AD", 0.1), "masakhaner2-yor": ("wnut17", 0.05)}
ARMS = ("vanilla", "same", "mslm", "mslm+same")
Sentence = list[tuple[str, str]]


def read(path: Path) -> list[Sentence]:
    found = []
    for block in gzip.decompress(path.read_bytes()).decode().split("\n\n"):
        rows = [(line.split()[0], line.split()[-1]) for line in block.splitlines() if len(line.split()) > 1]
        rows = [row for row in rows if not row[0].startswith("-DOCSTART-")]
        if rows:
            found.append(rows)
    return found


def renamed(sentence: Sentence) -> Sentence:
    kept = [(word, tag[:2], tag[2:]) for word, tag in sentence]
    return [(word, f"{start}{NAMES[name]}" if name in NAMES else "O") for word, start, name in kept]


def prepare(data: Path, name: str, folder: Path) -> None:
    parts = {part: read(data / name / f"{part}.txt.gz") for part in ("train", "devel", "test")}
    for part, sentences in parts.items():
        write(folder / f"{name}-{part}.tsv.gz", sentences)
    held_out = {words(" ".join(w for w, _ in s)) for part in ("devel", "test") for s in parts[part]}
    source = [
        s for s in read(data / SETS[name][0] / "train.txt.gz") if words(" ".join(w for w, _ in s)) not in held_out
    ]
    write(folder / f"{name}-same.tsv.gz", [renamed(s) for s in source] if name == "masakhaner2-yor" else source)


def adapted(name: str, folder: Path) -> Path:
    """The encoder adapted to the training sentences of a set, without labels."""
    text = folder / "text.txt"
    sentences = few_labels.read(folder / "data" / f"{name}-train.tsv.gz")
    text.write_text("".join(f"{few_labels.plain(s)}\n\n" for s in sentences), encoding="utf-8")
    lexicon = extract_terms.run([text], folder / "lexicon", ExtractTermsConfig(pipeline="none"))
    masking = PreprocessConfig(strategy="mslm", budget=0.25, dynamic=True, offline=True)
    shards = preprocess.run([text], folder / "shards", masking, lexicon=lexicon)
    return adapt.run(shards, folder / "adapted", AdaptConfig.build(offline=True, threads=1), RunOptions())


def main() -> None:
    data, mslm, folder, out = map(Path, sys.argv[1:5])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, (_, share) in SETS.items():
        prepare(data, name, folder / "data")
        work = folder / name
        for part in ("encoders", "made", "sources", "teachers", "trials"):
            (work / part).mkdir(parents=True, exist_ok=True)
        if not (folder / "minilm").exists():
            from mslm_cli import models

            (folder / "minilm").symlink_to(models.resolve("minilm", offline=True, allow_pickle=False))
        encoder = few_labels.encoder_of("mslm", "", work)
        if not encoder.exists():
            encoder.symlink_to((mslm if name.startswith("pico") else adapted(name, folder)).resolve())
        runner = few_labels.Runner("cpu", folder, work)
        done = [json.loads(line)["name"] for line in out.read_text().splitlines()] if out.exists() else []
        sources = [few_labels.Job(arm, name) for arm in ("same", "mslm+same")]
        trials = [few_labels.Job(arm, name, share, seed) for seed in few_labels.SEEDS for arm in ARMS]
        for job in [*sources, *trials]:
            if job.name not in done:
                found = runner.run(job)
                found.pop("mentions", None)
                few_labels.write_line(out, {"name": job.name, **job._asdict(), **found})


if __name__ == "__main__":
    main()
