"""The inputs of few_labels.py: text and labelled data without any sentence of a target's dev or test set.

    python benchmarks/device/few_labels_data.py DATA FOLDER
    cd FOLDER
    mslm extract-terms text.txt.gz --pipeline none -o lexicon
    mslm preprocess text.txt.gz --lexicon lexicon --strategy word --budget 0.25 --dynamic -o shards-word
    mslm preprocess text.txt.gz --lexicon lexicon --strategy mslm --budget 0.25 --dynamic -o shards-mslm

FOLDER also needs the encoder, as ``minilm``. The lexicon comes from the text alone (``--pipeline none``): the packaged
detector has seen training sets.
"""

import gzip
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SAME_TYPE = {
    "NCBI-disease": ("BC5CDR-disease/train.tsv.gz", None),
    "BC5CDR-chem": ("mtl-CRAFT-IOB/train.txt.gz", "CHEBI"),
    "BC2GM": ("JNLPBA/train.tsv.gz", None),
    "linnaeus": ("mtl-CRAFT-IOB/train.txt.gz", "Taxon"),
}
"""For each target, other data with mentions of the same type, and the type to keep of several."""
OTHER_TYPE = {
    "NCBI-disease": ("BC5CDR-chem/train.tsv.gz", None),
    "BC5CDR-chem": ("NCBI-disease/train.tsv.gz", None),
    "BC2GM": ("NCBI-disease/train.tsv.gz", None),
    "linnaeus": ("NCBI-disease/train.tsv.gz", None),
}
"""The same with mentions of another type."""

Sentence = list[tuple[str, str]]


def blocks(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().split("\n\n")


def words(text: str) -> tuple[str, ...]:
    return tuple(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def text_of(sentence: Sentence) -> str:
    return " ".join(word for word, _ in sentence)


def read(path: Path) -> Iterator[Sentence]:
    for block in blocks(path):
        rows = [line.split("\t") for line in block.splitlines()]
        sentence = [(row[0], row[-1]) for row in rows if row[0].strip() and not row[0].startswith("-DOCSTART-")]
        if sentence:
            yield sentence


def write(path: Path, sentences: Iterable[Sentence]) -> None:
    text = "".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n" for sentence in sentences)
    path.write_bytes(gzip.compress(text.encode()))


def only(kept: str | None, sentence: Sentence, name: str) -> Sentence:
    """The sentence with mentions of the type ``kept`` only (all if None), now called ``name``."""
    is_kept = [tag != "O" and kept in (None, tag[2:]) for _, tag in sentence]
    return [
        (word, f"{tag[0]}-{name}" if kept_tag else "O") for (word, tag), kept_tag in zip(sentence, is_kept, strict=True)
    ]


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    held_out: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for target in SAME_TYPE:
        for part in ("train", "devel", "test"):
            sentences = list(read(data / target / f"{part}.tsv.gz"))
            write(folder / "data" / f"{target}-{part}.tsv.gz", sentences)
            for found in (words(text_of(s)) for s in sentences if part != "train"):
                if len(found) >= 5:
                    held_out.setdefault(found[:5], set()).add(found)

    def leaks(text: tuple[str, ...]) -> bool:
        starts = range(len(text) - 4)
        return any(text[i : i + len(s)] == s for i in starts for s in held_out.get(text[i : i + 5], ()))

    for name, sources in (("same", SAME_TYPE), ("other", OTHER_TYPE)):
        for target, (path, kept) in sources.items():
            found = [only(kept, s, "MENTION" if name == "same" else "OTHER") for s in read(data / path)]
            clean = [s for s in found if not leaks(words(text_of(s)))]
            write(folder / "data" / f"{target}-{name}.tsv.gz", clean)
            print(f"{target}: {len(clean)} sentences of {path}, {len(found) - len(clean)} dropped")
    with gzip.open(folder / "text.txt.gz", "wt", encoding="utf-8") as out:
        for file in sorted((data / "unlabelled").glob("*.gz")):
            documents = blocks(file)
            kept_documents = [d.strip("\n") for d in documents if d.strip() and not leaks(words(d))]
            out.writelines(f"{document}\n\n" for document in kept_documents)
            print(f"{file.name}: {len(kept_documents)} of {len(documents)} documents")


if __name__ == "__main__":
    main()
