"""Small data files of every format, and ways to damage them, drawn from a fixed seed."""

import gzip
import io
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import spacy
from spacy.tokens import DocBin

TEXT = "Patients with zorblatitis took quuxamab daily. Zorblatitis was seen."
WORDS = ["Zorblatitis", "took", "quuxamab"]
SPANS = [[14, 25, "Disease"], [31, 39, "Drug"], [47, 58, "Disease"]]
COLUMNS = "# doc_id = 1\nPatients\tO\nwith\tO\nheart\tB-Disease\nfailure\tI-Disease\n\nquuxamab\tB-Drug\nhelps\tO\n"
TABLE = 'doc_id,sent_id,word,tag\n1,1,Patients,O\n1,1,"heart",B-Disease\n1,1,failure,I-Disease\n2,1,quuxamab,B-Drug\n'
PUBTATOR = """\
1234|t|Zorblatitis and quuxamab
1234|a|Patients with zorblatitis took quuxamab daily.
1234\t0\t11\tZorblatitis\tDisease\tD0001
1234\t39\t50\tzorblatitis\tDisease\tD0001
1234\tCID\tC0001\tD0001

1235|t|Second paper
1235|a|Nothing here on quuxamab.
1235\t29\t37\tquuxamab\tChemical\tC0001
"""
ANN = """\
T1\tDisease 14 25\tzorblatitis
T2\tDrug 31 39\tquuxamab
R1\tTreats Arg1:T2 Arg2:T1
#1\tAnnotatorNotes T1\tnote
"""


class Case(NamedTuple):
    """Files by name, of which one is damaged; ``path`` is what a command is given to read."""

    name: str
    path: str
    files: dict[str, bytes]


def spans() -> list[dict[str, Any]]:
    entities = [{"start": start, "end": end, "label": kind} for start, end, kind in SPANS]
    return [{"id": 1, "text": TEXT, "label": SPANS}, {"id": 2, "text": TEXT, "entities": entities, "meta": {"id": 3}}]


def words() -> list[dict[str, Any]]:
    first = {"id": "0", "tokens": WORDS, "ner_tags": ["B-Disease", "O", "B-Drug"]}
    return [first, {"tokens": ["It"], "ner_tags": ["O"]}]


def bioc() -> dict[str, Any]:
    place = {"id": "T1", "infons": {"type": "Disease"}, "text": "zorblatitis"}
    annotation = place | {"locations": [{"offset": 14, "length": 11}]}
    passage = {"offset": 0, "infons": {"type": "title"}, "text": TEXT, "annotations": [annotation]}
    relation = {"id": "R1", "infons": {"type": "CID"}, "nodes": [{"refid": "T1", "role": "a"}]}
    return {"source": "own", "documents": [{"id": "1", "passages": [passage], "relations": [relation]}] * 2}


def tasks() -> list[dict[str, Any]]:
    value = {"start": 14, "end": 25, "text": "zorblatitis", "labels": ["Disease"]}
    results = [{"id": "a", "type": "labels", "value": value}, {"type": "relation", "from_id": "a", "to_id": "a"}]
    return [{"id": number, "data": {"text": TEXT}, "annotations": [{"result": results}]} for number in (5, 6)]


XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<collection><source>own</source><document><id>1</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Zorblatitis and quuxamab</text>
<annotation id="0"><infon key="type">Disease</infon>
<location offset="0" length="11"/><text>Zorblatitis</text></annotation></passage>
</document></collection>
"""
JSON: dict[str, Callable[[], Any]] = {"bioc.json": bioc, "export.json": tasks, "array.json": spans}
JSON_LINES: dict[str, Callable[[], list[Any]]] = {"spans.jsonl": spans, "words.jsonl": words}


def docbin() -> bytes:
    nlp = spacy.blank("en")
    docs = [nlp(TEXT), nlp("And mice.")]
    docs[0].ents = [docs[0].char_span(*SPANS[0]), docs[0].char_span(*SPANS[1])]  # type: ignore[assignment]  # both fit
    docs[1].spans["sc"] = [docs[1].char_span(4, 8, "Species")]
    return DocBin(docs=docs, store_user_data=True).to_bytes()


def arrow(records: list[dict[str, Any]], form: str) -> bytes:
    stream = io.BytesIO()
    table = pa.Table.from_pylist(records)
    if form == "parquet":
        pq.write_table(table, stream)
    else:
        with {"arrow": pa.ipc.new_file, "stream": pa.ipc.new_stream}[form](stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def sound_files() -> dict[str, bytes]:
    """A sound file of every format, by name."""
    as_text = {"columns.tsv": COLUMNS, "table.csv": TABLE, "pubtator.txt": PUBTATOR, "bioc.xml": XML}
    found = {name: text.encode() for name, text in as_text.items()}
    found |= {name: json.dumps(value(), indent=1).encode() for name, value in JSON.items()}
    found |= {name: lines(value()) for name, value in JSON_LINES.items()}
    found |= {"words.parquet": arrow(words(), "parquet"), "words.arrow": arrow(words(), "arrow")}
    found |= {"words.stream": arrow(words(), "stream"), "docs.spacy": docbin()}
    return found | {"a.txt": TEXT.encode(), "a.ann": ANN.encode()}


def lines(values: list[Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


# Damage to bytes

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def without_a_piece(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 40) :]


def with_a_piece_twice(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    end = start + rng.randint(1, 40)
    return content[:end] + content[start:]


def with_other_numbers(content: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(rb"\d+", content))
    if not places:
        return flipped(content, rng)
    place = rng.choice(places)
    number = rng.choice([b"0", b"-1", b"7", b"25", b"99", b"999999", b"1e5", b"1" * 30, b"1" * 5000, "٣".encode(), b""])
    return content[: place.start()] + number + content[place.end() :]


def with_mixed_lines(content: bytes, rng: random.Random) -> bytes:
    found = content.splitlines(keepends=True)
    rng.shuffle(found)
    return b"".join(found)


def with_an_odd_character(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    odd = [b"\0", b"\r", b"\xff", b"\t", b"\n\n", b'"', b"<", b"]", "\u2028".encode(), b"\\ud83d", b"\x1f\x8b"]
    return content[:at] + rng.choice(odd) + content[at:]


def empty(content: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", b"\n\n", b"\xef\xbb\xbf"])


def cut_gzip(content: bytes, rng: random.Random) -> bytes:
    return cut(gzip.compress(content, mtime=0), rng)


def damaged_inside_zlib(content: bytes, rng: random.Random) -> bytes:
    return zlib.compress(rng.choice([cut, flipped, without_a_piece])(zlib.decompress(content), rng))


OF_BYTES: list[Damage] = [cut, flipped, without_a_piece, with_a_piece_twice, empty, cut_gzip]
OF_TEXT: list[Damage] = [*OF_BYTES, with_other_numbers, with_other_numbers, with_mixed_lines, with_an_odd_character]


# Damage to values

ODD_VALUES = [None, 3, -1, 1.5, True, "x", "", [], {}, [[]], [3], [None], {"a": 1}, [{"start": "1"}], 10**30]


def with_an_odd_value(value: Any, rng: random.Random) -> Any:
    """A copy in which one value, at any depth, is another, missing, or nested in a list or an object."""
    root = [json.loads(json.dumps(value))]
    places: list[tuple[Any, Any]] = []

    def visit(container: Any) -> None:
        for key in range(len(container)) if isinstance(container, list) else list(container):
            places.append((container, key))
            if isinstance(container[key], list | dict):
                visit(container[key])

    visit(root)
    container, key = rng.choice(places[1:])
    kind = rng.randrange(4)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = rng.choice([[container[key]], {"x": container[key]}])
    else:
        container[key] = rng.choice(ODD_VALUES)
    return root[0]


def damaged(name: str, content: bytes, rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.5 and name in JSON:
        return json.dumps(with_an_odd_value(JSON[name](), rng), indent=rng.choice([None, 1])).encode()
    if kind < 0.5 and name in JSON_LINES:
        return lines(with_an_odd_value(JSON_LINES[name](), rng))
    if kind < 0.5 and name.endswith(("parquet", "arrow", "stream")):
        for _ in range(100):
            try:
                return arrow(with_an_odd_value(rng.choice([words, spans])(), rng), name.rpartition(".")[2])
            except (pa.ArrowException, TypeError, AttributeError, OverflowError):
                continue  # a table cannot hold what was drawn
    if kind < 0.5 and name == "docs.spacy":
        return damaged_inside_zlib(content, rng)
    is_binary = name.endswith((".spacy", ".parquet", ".arrow", ".stream"))
    return rng.choice(OF_BYTES if is_binary else OF_TEXT)(content, rng)


def damaged_files(seed: int, n: int) -> Iterator[Case]:
    """``n`` damaged files, the formats in turn; with a .txt comes its .ann file."""
    files = sound_files()
    names = [*files]
    for number in range(n):
        name = names[number % len(names)]
        rng = random.Random(f"{seed} {number}")
        beside = {other: files[other] for other in ("a.txt", "a.ann") if name in ("a.txt", "a.ann")}
        path = "a.txt" if beside else name
        yield Case(f"{number} {name}", path, beside | {name: damaged(name, files[name], rng)})
