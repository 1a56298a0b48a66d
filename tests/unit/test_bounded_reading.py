"""Large files are read as far as documents are asked for, and long documents in parts, whatever the format."""

import gc
import gzip
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled_forms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy
from reading import documents
from spacy.tokens import DocBin
from typer.testing import Result

from mslm_cli.corpus import documents as units
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents
from mslm_cli.corpus.source import Source

Mslm = Callable[..., Result]
N = 3000
TEXT = "Patients with heart failure took quuxamab. " * 20


def records() -> list[dict[str, Any]]:
    entities = [{"start": 14, "end": 27, "label": "Disease"}]
    return [{"id": number, "text": f"{TEXT}{number * 7919 % 10007}", "entities": entities} for number in range(N)]


def bioc(indent: int | None) -> str:
    passages = [[{"offset": 0, "text": record["text"], "annotations": []}] for record in records()]
    found = [{"id": str(number), "passages": each} for number, each in enumerate(passages)]
    return json.dumps({"source": "own", "infons": {}, "documents": found}, indent=indent)


CONTENTS: dict[str, Callable[[], str]] = {
    "array": lambda: json.dumps(records()),
    "indented array": lambda: json.dumps(records(), indent=1),
    "lines": lambda: "".join(json.dumps(record) + "\n" for record in records()),
    "label-studio": lambda: json.dumps(list(map(labelled_forms.task, records()))),
    "bioc": lambda: bioc(None),
    "indented bioc": lambda: bioc(1),
    "bioc array": lambda: f"[{bioc(None)}]",
    "PubTator3": lambda: bioc(None).replace('"documents"', '"PubTator3"'),
    "bioc xml": lambda: (
        "<collection>"
        + "".join(
            f"<document><passage><offset>0</offset><text>{r['text']}</text></passage></document>" for r in records()
        )
        + "</collection>"
    ),
    "pubtator": lambda: "".join(f"{r['id']}|t|{r['text']}\n{r['id']}|a|x\n\n" for r in records()),
}


def first_of(path: Path) -> tuple[int, int]:
    """How many bytes are read for the first three documents, and for all; and that there are N of these."""
    read: list[int] = []
    found = read_documents([path], DataOptions(), read.append)
    for _ in range(3):
        assert next(found).text.startswith("Patients with heart failure")
    n_first = sum(read)
    assert sum(1 for _ in found) == N - 3
    return n_first, sum(read)


@pytest.mark.parametrize("form", CONTENTS)
def test_only_what_is_asked_for_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "corpus"
    path.write_text(CONTENTS[form]())
    n_first, n_all = first_of(path)
    assert n_all == path.stat().st_size > 2_000_000
    assert n_first <= 2 * (1 << 18)


def test_parquet_is_read_by_pages(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist(records() * 3), path, use_dictionary=False, compression="none")
    read: list[int] = []
    found = read_documents([path], DataOptions(), read.append)
    next(found)
    assert sum(read) < path.stat().st_size / 2
    assert sum(1 for _ in found) == 3 * N - 1


@pytest.mark.parametrize("form", ["parquet", "arrow", "stream"])
def test_compressed_tables_are_read(tmp_path: Path, form: str) -> None:
    table = pa.Table.from_pylist(records())
    plain, path = tmp_path / "plain", tmp_path / "corpus.gz"
    if form == "parquet":
        pq.write_table(table, plain)
    else:
        with {"arrow": pa.ipc.new_file, "stream": pa.ipc.new_stream}[form](str(plain), table.schema) as writer:
            writer.write_table(table)
    path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    expected = [record["text"] for record in records()]
    for each in (plain, path):
        assert [document.text for document in documents(each)] == expected


@pytest.mark.parametrize("with_entities", [True, False])
@pytest.mark.parametrize("with_user_data", [True, False])
def test_docbin_is_read_as_spacy_reads_it(tmp_path: Path, with_entities: bool, with_user_data: bool) -> None:
    nlp = spacy.blank("en")
    docs = [nlp(f"{TEXT}{number}\n\n end") for number in range(50)]
    for number, doc in enumerate(docs):
        doc.user_data["id"] = f"d{number}"
        if with_entities and number % 2:
            doc.ents = [doc.char_span(14, 27, "Disease")]  # type: ignore[assignment]  # it fits
    docs[7] = nlp("")
    path = tmp_path / "corpus.spacy"
    DocBin(docs=docs, store_user_data=with_user_data).to_disk(path)
    expected = list(DocBin().from_disk(path).get_docs(nlp.vocab))
    found = documents(path)
    assert [document.text for document in found] == [doc.text for doc in expected if doc.text]
    assert found[0].id == ("d0" if with_user_data else "corpus.spacy:1")


@pytest.mark.parametrize("form", ["jsonl", "pubtator", "conll"])
def test_offsets_of_matches_are_those_of_the_whole_document(
    in_tmp: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    sentence = "Patients took quuxamab daily .\n"
    text = sentence * 40
    content = {
        "jsonl": json.dumps({"id": 7, "text": text}) + "\n",
        "pubtator": f"7|t|{sentence.strip()}\n7|a|{text[len(sentence) :].replace(chr(10), ' ')}\n",
        "conll": "# doc_id = 7\n" + "\n".join(["".join(f"{word}\tO\n" for word in sentence.split())] * 40),
    }[form]
    Path("corpus.txt").write_text(content)
    Path("terms.txt").write_text("quuxamab\n")
    assert (
        mslm("extract-terms", "corpus.txt", "--terms", "terms.txt", "--pipeline", "none", "-o", "lexicon").exit_code
        == 0
    )
    monkeypatch.setattr(units, "MAX_DOCUMENT_CHARS", 100)
    assert len(documents(Path("corpus.txt"))) > 5
    shown = mslm("match", "corpus.txt", "--lexicon", "lexicon")
    matches = [json.loads(line) for line in shown.stdout.splitlines()]
    found = [match for match in matches if match["text"] == "quuxamab"]
    assert [match["start"] for match in found] == [len(sentence) * number + 14 for number in range(40)]
    assert all(text[match["start"] : match["end"]] == match["text"] for match in matches)


def test_a_library_may_ask_for_more_bytes_than_there_are(tmp_path: Path) -> None:
    """As pyarrow does, for a length in a damaged file."""
    path = tmp_path / "a.arrow"
    path.write_bytes(b"0123456789")
    with Source(path, DataOptions()).seekable() as file:
        assert file.read(4) == b"0123"
        assert file.read(1 << 48) == b"456789"
        assert file.read(1 << 48) == b""
        file.seek(8)
        assert file.read() == b"89"


def test_a_closed_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    """The command names the formats of thousands of files that its workers read."""
    file = tmp_path / "a.txt"
    file.write_text(TEXT, encoding="utf-8")
    gc.disable()
    try:
        source = Source(file, DataOptions())
        assert source.head.text == TEXT
        source.close()
        reference = weakref.ref(source)
        del source
        assert reference() is None
    finally:
        gc.enable()
