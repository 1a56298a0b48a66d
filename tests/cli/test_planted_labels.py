"""Types, ids and notes that stand in no text are found in no lexicon, no shard and no vocabulary."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import labelled_forms
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from mslm_cli import models
from mslm_cli.masking.shards import ShardReader

Mslm = Callable[..., Result]

TEXT = (
    "Patients with heart failure took aspirin daily. The heart failure was seen after aspirin in breast cancer cells."
)
KIND, OTHER = "Zorblatitis", "Quuxamab"
MENTIONS = [(14, 27, KIND), (33, 40, OTHER), (52, 65, KIND)]
PLANTED = ("zorblat", "quuxam", "plantedid", "plantedconcept", "plantednote", "plantedrelation")
"""Parts of all that is planted in the files, lower case; none is a part of the text."""

SHOWN = [TEXT[start:end] for start, end, _ in MENTIONS]
PUBTATOR = (
    f"77|t|{TEXT[:47]}\n77|a|{TEXT[48:]}\n"
    + "".join(f"77\t{a}\t{b}\t{TEXT[a:b]}\t{kind}\tPLANTEDCONCEPT{a}\n" for a, b, kind in MENTIONS)
    + "77\tPLANTEDRELATION\tPLANTEDCONCEPT14\tPLANTEDCONCEPT33\n"
)
ANN = "".join(f"T{n}\t{kind} {a} {b}\t{TEXT[a:b]}\n" for n, (a, b, kind) in enumerate(MENTIONS, 1)) + (
    "R1\tPLANTEDRELATION Arg1:T1 Arg2:T2\nA1\tPLANTEDNOTE T1\nN1\tReference T1 PLANTEDCONCEPT:1\theart failure\n"
    "#1\tAnnotatorNotes T1\tPLANTEDNOTE\nE1\tQUUXAMAB:T1\n*\tEquiv T1 T3\n"
)
RELATION = {"id": "PLANTEDID9", "infons": {"type": "PLANTEDRELATION"}, "nodes": [{"refid": "PLANTEDID1", "role": KIND}]}
BIOC = {
    "source": "PLANTEDNOTE",
    "documents": [
        {
            "id": "77",
            "infons": {"note": "PLANTEDNOTE"},
            "passages": [
                {
                    "offset": 0,
                    "infons": {"type": "PLANTEDNOTE"},
                    "text": TEXT,
                    "annotations": [
                        {
                            "id": f"PLANTEDID{a}",
                            "infons": {"type": kind, "identifier": "PLANTEDCONCEPT"},
                            "text": TEXT[a:b],
                            "locations": [{"offset": a, "length": b - a}],
                        }
                        for a, b, kind in MENTIONS
                    ],
                }
            ],
            "relations": [RELATION],
        }
    ],
}
RECORD = {
    "id": 77,
    "text": TEXT,
    "spans": [
        {"start": a, "end": b, "label": kind, "id": "PLANTEDID", "concepts": "PLANTEDCONCEPT"}
        for a, b, kind in MENTIONS
    ],
    "relations": [{"id": 1, "from_id": "PLANTEDID", "to_id": "PLANTEDID", "type": "PLANTEDRELATION"}],
    "meta": {"note": "PLANTEDNOTE"},
    "comments": ["PLANTEDNOTE"],
}
WORDS = TEXT.replace(".", " .").split()
TAGS = ["O"] * len(WORDS)
TAGS[2:4], TAGS[5] = [f"B-{KIND}", f"I-{KIND}"], f"B-{OTHER}"
COLUMNS = "# doc_id = 77\n# note = PLANTEDNOTE\n" + "".join(
    f"{word}\tPLANTEDNOTE\t{tag}\n" for word, tag in zip(WORDS, TAGS, strict=True)
)
TOKENS = {"id": "77", "tokens": WORDS, "ner_tags": TAGS, "pos_tags": ["PLANTEDNOTE"] * len(WORDS)}


def label_studio() -> str:
    entities = [{"start": a, "end": b, "label": kind} for a, b, kind in MENTIONS]
    task = labelled_forms.task({"id": 77, "text": TEXT, "entities": entities})
    relation = {"type": "relation", "from_id": "PLANTEDID", "to_id": "PLANTEDID", "labels": ["PLANTEDRELATION"]}
    choice = {"type": "choices", "value": {"choices": ["PLANTEDNOTE"]}}
    task["annotations"][0]["result"] += [relation, choice]
    return json.dumps([task | {"meta": "PLANTEDNOTE"}])


def write(form: str, folder: Path) -> Path:
    """Write the text with all that is planted in a format, under a name that says nothing; the file or folder."""
    path = folder / "corpus.dat"
    texts: dict[str, Callable[[], str]] = {
        "conll": lambda: COLUMNS,
        "conll with spaces": lambda: COLUMNS.replace("\t", " "),
        "table": lambda: (
            "word,tag,note\n" + "".join(f"{w},{t},PLANTEDNOTE\n" for w, t in zip(WORDS, TAGS, strict=True))
        ),
        "pubtator": lambda: PUBTATOR,
        "bioc json": lambda: json.dumps(BIOC),
        "jsonl": lambda: json.dumps(RECORD) + "\n",
        "json array": lambda: json.dumps([RECORD], indent=1),
        "tokens": lambda: json.dumps(TOKENS) + "\n",
        "label-studio": label_studio,
    }
    if form in texts:
        path.write_text(texts[form](), encoding="utf-8")
    elif form == "brat":
        path = folder / "brat"
        path.mkdir()
        (path / "a.txt").write_text(TEXT)
        (path / "a.ann").write_text(ANN)
        (path / "annotation.conf").write_text(f"[entities]\n{KIND}\nPLANTEDNOTE\n")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist([RECORD]), path)
    elif form == "arrow":
        table = pa.Table.from_pylist([TOKENS])
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


FORMS = [
    *("conll", "conll with spaces", "table", "pubtator", "brat", "bioc json", "bioc xml", "jsonl", "json array"),
    *("tokens", "label-studio", "parquet", "arrow", "docbin"),
]


def all_bytes(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an artifact, those that record its inputs' names and hashes left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            yield path.name, path.read_bytes().lower()


@pytest.mark.parametrize("form", FORMS)
def test_no_label_is_read_as_text(in_tmp: Path, chain: Path, mslm: Mslm, form: str) -> None:
    if form in ("bioc xml", "docbin"):
        source = write("bioc json", in_tmp)
        path, to = Path("corpus.xml" if form == "bioc xml" else "corpus.spacy"), form.split()[0]
        assert mslm("convert", source, "--to", to, "-o", path).exit_code == 0
    else:
        path = write(form, in_tmp)
    made = mslm("extract-terms", path, "--pipeline", "none", "-o", "lexicon")
    assert made.exit_code == 0, made.stderr
    assert b"heart failure" in Path("lexicon/terms.jsonl").read_bytes()
    arguments = ("--lexicon", "lexicon", "--model", chain / "encoder", "--max-length", 64)
    for strategy in ("mslm", "pmi"):
        chosen = ("--strategy", strategy, *(("--pmi-min-count", 1) if strategy == "pmi" else ()))
        made = mslm("preprocess", path, *arguments, *chosen, "-o", strategy)
        assert made.exit_code == 0, made.stderr
    found = {
        f"{folder}/{name}: {planted}"
        for folder in ("lexicon", "mslm", "pmi")
        for name, content in all_bytes(Path(folder))
        for planted in PLANTED
        if planted.encode() in content
    }
    assert found == set()
    assert not [planted for planted in PLANTED if planted in decoded(Path("mslm"), chain / "encoder")]
    assert "patientswithheartfailure" in decoded(Path("mslm"), chain / "encoder")


def decoded(shards: Path, encoder: Path) -> str:
    """All tokens of the shards as text, lower case, without spaces."""
    reader = ShardReader(shards)
    _, ids = reader.input_ids(np.arange(len(reader)))
    text: str = models.load_tokenizer(encoder).decode(ids.tolist(), skip_special_tokens=True)
    return "".join(text.split())


def test_planted_labels_would_be_found(in_tmp: Path, chain: Path, mslm: Mslm) -> None:
    """As text, insisted on, the labels are in all that is made."""
    path = write("pubtator", in_tmp)
    assert mslm("extract-terms", path, "--format", "text", "--pipeline", "none", "-o", "lexicon").exit_code == 0
    made = mslm(
        *("preprocess", path, "--format", "text", "--lexicon", "lexicon"),
        *("--model", chain / "encoder", "--max-length", 64, "-o", "shards"),
    )
    assert made.exit_code == 0, made.stderr
    assert b"zorblatitis" in Path("lexicon/terms.jsonl").read_bytes().lower()
    assert "zorblatitis" in decoded(Path("shards"), chain / "encoder")
