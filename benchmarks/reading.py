"""Memory and speed of reading each format, as text and with labels, beside other libraries that read it.

python benchmarks/reading.py re-BC5CDR-CID/test.pubtator.txt.gz [--size 60] [--labelled-size 10] [--quick] [--json]

The documents of a PubTator file are repeated, under new ids, until the file in each format has --size MB. Every
reading is a process of its own: it reads a file of two documents first, so that all imports are done, and then the
large one, of which it counts documents, characters and mentions. Memory is the peak over what the process held before
the large file; time is CPU time, which on an idle machine is wall-clock time. As text, nothing is kept; with labels,
the whole corpus is held, as for training, and its file has --labelled-size MB. Sides take turns, --rounds times.

The peers are the documented readers of bioc (PubTator, BioC), spaCy (DocBin), datasets (Parquet and JSON lines,
streamed) and pyarrow (Parquet by batches); one that is not installed is left out. They hand out text and mentions by
characters; ours also splits sentences and words where labels are read. Needs Linux, which tells the peak of a process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

MB = 1_000_000
FORMS = {
    "text": "txt",
    "conll": "tsv",
    "table": "csv",
    "pubtator": "pubtator",
    "brat": "",
    "bioc-xml": "xml",
    "bioc-json": "json",
    "jsonl": "jsonl",
    "json-array": "json",
    "label-studio": "json",
    "parquet": "parquet",
    "docbin": "spacy",
}
PEERS = {
    "pubtator": ["bioc"],
    "bioc-xml": ["bioc"],
    "bioc-json": ["bioc"],
    "jsonl": ["datasets"],
    "parquet": ["datasets", "pyarrow"],
    "docbin": ["spacy"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, help="a PubTator file")
    parser.add_argument("--size", type=float, default=60, help="MB of each file")
    parser.add_argument("--labelled-size", type=float, default=10, help="MB of the files that are read with labels")
    parser.add_argument("--formats", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="6 MB, 2 MB with labels, one round")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--read", nargs=4, metavar=("SIDE", "FORM", "KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        side, form, kind, folder = options.read
        print(json.dumps(read_once(side, form, kind, Path(folder))))
        return
    if options.quick:
        options.size, options.labelled_size, options.rounds = 6, 2, 1
    rows = measure(options)
    print(json.dumps(rows, indent=2) if options.json else table(rows))


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for form in options.formats:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for kind, size in (("warm-up", 0.0), ("text", options.size), ("labels", options.labelled_size)):
                write(form, options.documents, folder, kind, size)
            sides = ["mslm", *(peer for peer in PEERS.get(form, []) if find_spec(peer))]
            kinds = ["text", *(["labels"] if form != "text" else [])]
            found: dict[tuple[str, str], list[dict[str, Any]]] = {(s, k): [] for s in sides for k in kinds}
            for _ in range(options.rounds):
                for side, kind in found:
                    command = [sys.executable, __file__, str(options.documents), "--read", side, form, kind, temporary]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        sys.exit(done.stderr)
                    found[side, kind].append(json.loads(done.stdout.splitlines()[-1]))
            rows += [{"form": form, "side": side, "kind": kind, "rounds": of} for (side, kind), of in found.items()]
            print(f"{form} done", file=sys.stderr)
    return rows


def place(folder: Path, form: str, kind: str) -> Path:
    return folder / (f"{kind}.{FORMS[form]}" if FORMS[form] else kind)


# Files


def write(form: str, pubtator: Path, folder: Path, kind: str, size: float) -> None:
    """Write the documents of ``pubtator``, repeated to ``size`` MB; two of them if that is 0."""
    from mslm_cli.corpus.formats import FORMATS
    from mslm_cli.corpus.options import DataOptions
    from mslm_cli.corpus.readers import read_annotated

    own = list(read_annotated([pubtator], DataOptions(format="pubtator")))

    def repeated() -> Iterator[Any]:
        for turn in count():
            for document in own:
                yield replace(document, id=f"{document.id}-{turn}")

    path, limit = place(folder, form, kind), size * MB
    if form == "parquet":
        write_parquet(path, repeated(), limit)
    elif form == "docbin":
        write_docbin(path, repeated(), limit)
    elif form == "brat":
        path.mkdir()
        n_bytes = 0
        for number, document in enumerate(repeated(), 1):
            for part in FORMATS["brat"].writer.parts([document], ""):  # type: ignore[union-attr]  # it has one
                if part.file != "annotation.conf":
                    (path / f"{document.id}{Path(part.file).suffix}").write_text(str(part.content), encoding="utf-8")
                    n_bytes += len(str(part.content).encode())
            if number > 1 and n_bytes >= limit:
                break
    else:
        write_text(path, form, repeated(), limit)


def write_text(path: Path, form: str, documents: Iterable[Any], limit: float) -> None:
    before, between, after, block = text_form(form)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(before)
        for number, document in enumerate(documents):
            if number > 1 and file.tell() >= limit:
                break
            file.write((between if number else "") + block(document))
        file.write(after)


def text_form(form: str) -> tuple[str, str, str, Callable[[Any], str]]:
    """What stands before, between and after the documents, and what a document becomes."""
    from mslm_cli.corpus.formats import FORMATS
    from mslm_cli.corpus.standoff import labelled_corpus
    from mslm_cli.corpus.writers import conll_block, document_mark

    known: dict[str, Any] = {}

    def sentences(document: Any) -> Any:
        name = document.id.rpartition("-")[0]
        if name not in known:
            known[name] = labelled_corpus([document]).sentences
        return known[name]

    def columns(document: Any) -> str:
        return document_mark(document.id) + "".join(conll_block(s.words, s.tags) for s in sentences(document))

    def rows(document: Any) -> str:
        found = []
        for number, s in enumerate(sentences(document)):
            for word, tag in zip(s.words, s.tags, strict=True):
                cell = '"' + word.replace('"', '""') + '"'
                found.append(f"{document.id},{number},{cell},{tag}\n")
        return "".join(found)

    def written(name: str, target: str) -> Callable[[Any], str]:
        parts = FORMATS[name].writer.parts  # type: ignore[union-attr]  # it has one

        def block(document: Any) -> str:
            pieces = [str(part.content) for part in parts([document], target)]
            return "".join(pieces[2:-1] if target.endswith("xml") else pieces[1:-1] if target else pieces)

        return block

    xml = '<?xml version="1.0" encoding="UTF-8"?>\n<collection><source>x</source><date></date><key></key>\n'
    array = written("jsonl", "")
    return {
        "text": ("", "\n\n", "\n", lambda document: document.text),
        "conll": ("", "", "", columns),
        "table": ("doc_id,sent_id,word,tag\n", "", "", rows),
        "pubtator": ("", "", "", written("pubtator", "")),
        "bioc-xml": (xml, "", "</collection>\n", written("bioc", "a.xml")),
        "bioc-json": (
            '{"source": "x", "date": "", "key": "", "infons": {}, "documents": [\n',
            ",",
            "]}\n",
            written("bioc", "a.json"),
        ),
        "jsonl": ("", "", "", array),
        "json-array": ("[", ",", "]\n", lambda document: array(document).strip()),
        "label-studio": ("[", ",", "]\n", task),
    }[form]


def task(document: Any) -> str:
    results = [
        {"type": "labels", "value": {"start": a, "end": b, "text": document.text[a:b], "labels": [each.type]}}
        for each in document.annotations
        for a, b in [each.bounds]
    ]
    return json.dumps({"id": document.id, "data": {"text": document.text}, "annotations": [{"result": results}]})


def write_parquet(path: Path, documents: Iterator[Any], limit: float) -> None:
    """One row group, as pandas and polars write: nothing can be skipped, and none of it need be held."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    n_bytes = 0
    while len(rows) < 2 or n_bytes < 1.7 * limit:  # what snappy makes of such text
        document = next(documents)
        entities = [{"start": a.bounds[0], "end": a.bounds[1], "label": a.type} for a in document.annotations]
        rows.append({"id": document.id, "text": document.text, "entities": entities})
        n_bytes += len(document.text) + 20 * len(entities)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=len(rows), use_dictionary=False)


def write_docbin(path: Path, documents: Iterator[Any], limit: float) -> None:
    """As `mslm convert` and spaCy write it; about a tenth of its arrays is left when they are compressed."""
    import spacy
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    docs: dict[str, Any] = {}
    stored = DocBin(store_user_data=True)
    n_words = 0
    while len(stored) < 2 or n_words * 8.5 < limit:
        document = next(documents)
        name = document.id.rpartition("-")[0]
        if name not in docs:
            doc = docs[name] = nlp.make_doc(document.text)
            spans = [doc.char_span(*a.bounds, a.type, alignment_mode="expand") for a in document.annotations]
            doc.ents = spacy.util.filter_spans(spans)
        docs[name].user_data["id"] = document.id
        stored.add(docs[name])
        n_words += len(docs[name])
    stored.to_disk(path)


# Sides


def read_once(side: str, form: str, kind: str, folder: Path) -> dict[str, Any]:
    read = {"mslm": ours, "bioc": bioc_reader, "datasets": datasets_reader, "pyarrow": pyarrow, "spacy": spacy_docs}[
        side
    ]
    path = place(folder, form, kind)
    read(form, place(folder, form, "warm-up"), kind)
    before = reset_peak()
    start = time.process_time()
    n_documents, n_chars, n_mentions = read(form, path, kind)
    seconds = time.process_time() - start
    n_bytes = sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
    counts = {"documents": n_documents, "chars": n_chars, "mentions": n_mentions}
    return {"MB": n_bytes / MB, "s": seconds, "MB/s": n_bytes / MB / seconds, "peak_MB": peak() - before, **counts}


def reset_peak() -> float:
    """Make what the process holds now its peak: that, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / MB


def ours(form: str, path: Path, kind: str) -> tuple[int, int, int]:
    from mslm_cli import console
    from mslm_cli.corpus.files import source_files
    from mslm_cli.corpus.options import DataOptions
    from mslm_cli.corpus.readers import read_documents, read_labelled

    console.configure(quiet=True)
    if kind == "labels":
        corpus = read_labelled(path)
        n_chars = sum(len(word) + 1 for s in corpus.sentences for word in s.words)
        return len({s.doc for s in corpus.sentences}), n_chars, sum(len(s.mentions) for s in corpus.sentences)
    return total((document.text, 0) for document in read_documents(source_files([path]), DataOptions()))


def total(documents: Iterable[tuple[str, int]]) -> tuple[int, int, int]:
    n_documents = n_chars = n_mentions = 0
    for text, n in documents:
        n_documents += 1
        n_chars += len(text)
        n_mentions += n
    return n_documents, n_chars, n_mentions


def bioc_reader(form: str, path: Path, kind: str) -> tuple[int, int, int]:
    from bioc import biocjson, biocxml, pubtator

    if form == "pubtator":
        with path.open(encoding="utf-8") as file:
            return total((doc.text, len(doc.annotations)) for doc in pubtator.load(file))
    if form == "bioc-xml":
        with biocxml.iterparse(str(path)) as reader:
            return total(map(of_bioc, reader))
    with path.open(encoding="utf-8") as file:
        return total(map(of_bioc, biocjson.load(file).documents))


def of_bioc(document: Any) -> tuple[str, int]:
    text = "\n".join(passage.text for passage in document.passages)
    return text, sum(len(passage.annotations) for passage in document.passages)


def datasets_reader(form: str, path: Path, kind: str) -> tuple[int, int, int]:
    import datasets

    name = "parquet" if form == "parquet" else "json"
    rows = datasets.load_dataset(name, data_files=str(path), split="train", streaming=True)
    return total((row["text"], len(row["entities"])) for row in rows)


def pyarrow(form: str, path: Path, kind: str) -> tuple[int, int, int]:
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(path).iter_batches()
    return total((row["text"], len(row["entities"])) for batch in batches for row in batch.to_pylist())


def spacy_docs(form: str, path: Path, kind: str) -> tuple[int, int, int]:
    import spacy
    from spacy.tokens import DocBin

    docs = DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    return total((doc.text, len(doc.ents)) for doc in docs)


SIDES = {"mslm": ours, "bioc": bioc_reader, "datasets": datasets_reader, "pyarrow": pyarrow, "spacy": spacy_docs}


# Results


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| format | read by | as text: file, MB | peak memory, MB | MB/s | with labels: peak memory, MB | MB/s |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    of = {(row["form"], row["side"], row["kind"]): row["rounds"] for row in rows}
    for form, side in dict.fromkeys((row["form"], row["side"]) for row in rows):
        text, labels = of[form, side, "text"], of.get((form, side, "labels"))
        cells = [form, side, f"{text[0]['MB']:.0f}", shown(text, "peak_MB", 0), shown(text, "MB/s", 1)]
        cells += [shown(labels, "peak_MB", 0), shown(labels, "MB/s", 1)] if labels else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(rounds: Sequence[dict[str, Any]], key: str, digits: int) -> str:
    values = [found[key] for found in rounds]
    ends = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({ends})"


if __name__ == "__main__":
    main()
