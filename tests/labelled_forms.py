"""One labelled corpus in every format that can hold it: texts with mentions by characters, and words with tags."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import Result

Mslm = Callable[..., Result]
Mention = tuple[int, int, str]

WRITTEN = {"brat": "", "pubtator": ".txt", "bioc": ".xml", "jsonl": ".jsonl", "docbin": ".spacy"}
"""Formats that `mslm convert` writes, and the endings of their names."""

OF_CHARACTERS = [*WRITTEN, "bioc-json", "json-array", "label-studio", "parquet"]
OF_WORDS = ["conll", "table", "tokens", "tokens-parquet", "tokens-arrow"]


def write_characters(mslm: Mslm, documents: Sequence[tuple[str, str, list[Mention]]], stem: str) -> dict[str, Path]:
    """Files or folders with the documents (id, text, mentions), by format."""
    records = [
        {"id": id_, "text": text, "entities": [{"start": a, "end": b, "label": kind} for a, b, kind in mentions]}
        for id_, text, mentions in documents
    ]
    paths = {name: Path(f"{stem}-{name}{ending}") for name, ending in WRITTEN.items()}
    paths["jsonl"].write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    for name in WRITTEN:
        if name != "jsonl":
            made = mslm("convert", paths["jsonl"], "--to", name, "-o", paths[name])
            assert made.exit_code == 0, made.stderr
    paths["bioc-json"] = Path(f"{stem}-bioc.json")
    assert mslm("convert", paths["jsonl"], "--to", "bioc", "-o", paths["bioc-json"]).exit_code == 0
    paths["json-array"] = Path(f"{stem}-array.json")
    paths["json-array"].write_text(json.dumps(records, indent=1), encoding="utf-8")
    paths["label-studio"] = Path(f"{stem}-export.json")
    paths["label-studio"].write_text(json.dumps(list(map(task, records))), encoding="utf-8")
    paths["parquet"] = Path(f"{stem}.parquet")
    pq.write_table(pa.Table.from_pylist(records), paths["parquet"])
    return paths


def task(record: dict[str, Any]) -> dict[str, Any]:
    """A record as a task of Label Studio."""
    results = [
        {"type": "labels", "value": {"start": e["start"], "end": e["end"], "labels": [e["label"]]}}
        for e in record["entities"]
    ]
    return {"id": record["id"], "data": {"text": record["text"]}, "annotations": [{"result": results}]}


def write_words(sentences: Sequence[tuple[str, Sequence[str], Sequence[str]]], stem: str) -> dict[str, Path]:
    """Files with the sentences (document, words, tags), by format."""
    paths = {"conll": f"{stem}.tsv", "table": f"{stem}.csv", "tokens": f"{stem}-tokens.jsonl"}
    paths |= {"tokens-parquet": f"{stem}-tokens.parquet", "tokens-arrow": f"{stem}-tokens.arrow"}
    found = {name: Path(path) for name, path in paths.items()}
    blocks = []
    doc = None
    for of, words, tags in sentences:
        mark = f"# doc_id = {of}\n" if of != doc else ""
        blocks.append(mark + "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n")
        doc = of
    found["conll"].write_text("".join(blocks), encoding="utf-8")
    rows = ["doc_id,sent_id,token,ner_tag\n"]
    for number, (of, words, tags) in enumerate(sentences):
        rows += [f'{of},{number},"{word}",{tag}\n' for word, tag in zip(words, tags, strict=True)]
    found["table"].write_text("".join(rows), encoding="utf-8")
    records = [{"doc_id": of, "tokens": list(words), "ner_tags": list(tags)} for of, words, tags in sentences]
    found["tokens"].write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    arrow = pa.Table.from_pylist(records)
    pq.write_table(arrow, found["tokens-parquet"])
    with pa.ipc.new_stream(str(found["tokens-arrow"]), arrow.schema) as writer:
        writer.write_table(arrow)
    return found
