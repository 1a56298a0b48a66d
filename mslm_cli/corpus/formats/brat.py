"""BRAT standoff: a text in NAME.txt, its annotations in NAME.ann beside it.

``T1 TAB Type 0 5;8 12 TAB text`` is a mention, of several fragments where it is discontinuous; ``R1 TAB Type Arg1:T1
Arg2:T2`` a relation between mentions. Events, relations with events, attributes, normalisations, equivalences and notes
are counted but not read.

Source: BRAT standoff format, https://brat.nlplab.org/standoff.html
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation
from mslm_cli.corpus.writers import file_stem
from mslm_cli.errors import DataError

_PLACE = re.compile(r"(\S.*?)\s+(\d+ \d+(?:;\d+ \d+)*)")
_OTHERS = {
    "E": "events",
    "A": "attributes",
    "M": "attributes",
    "N": "normalisations",
    "*": "equivalences",
    "#": "notes",
}


def matches(path: Path, head: Head) -> bool:
    """Whether it is a text with an annotation file beside it, or an annotation file."""
    if path.name.removesuffix(".gz").endswith(".ann"):
        return re.match(r"[TREAMN*#]\d*\t", next(iter(head.lines), "T\t")) is not None
    return annotations_beside(path) is not None


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The one document; its id is the file's name without ``.txt``.

    Raises:
        DataError: one of the two files is missing, a line is not in the format, or a mention differs from the text at
            its offsets.
    """
    is_text = not source.path.name.removesuffix(".gz").endswith(".ann")
    other = annotations_beside(source.path) if is_text else _beside(source.path, ".ann", ".txt")
    if other is None:
        missing = "annotations (.ann)" if is_text else "text (.txt)"
        raise DataError(f"no {missing} of this name beside it", path=source.name)
    beside = Source(other, source.options)
    texts, annotations = (source, beside) if is_text else (beside, source)
    text = texts.text()
    rows = [(number, line) for number, line in enumerate(annotations.lines(), 1) if line.strip()]
    id_ = source.label.removesuffix(".gz").rsplit(".", 1)[0]
    if "\r\n" in text and not all(_fits(line, text) for _, line in rows):
        text = text.replace("\r\n", "\n")  # the annotation tool counted a line end as one character
    yield _document(id_, text, rows, annotations.name)


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """A .txt and a .ann file for each document, named after it, and an annotation.conf with the types.

    Other characters than letters, digits, hyphens and underscores in a type become underscores. A mention that crosses
    a line end has a fragment for each line, as BRAT requires; one of white space alone is left out. Relations between
    mentions that have ids are written, too.
    """
    taken: set[str] = set()
    types: dict[str, None] = {}
    relation_types: dict[str, None] = {}
    for document in documents:
        stem = file_stem(document.id, taken)
        yield Part(document.text, f"{stem}.txt")
        yield Part(annotation_lines(document), f"{stem}.ann")
        types |= dict.fromkeys(plain_type(annotation.type) for annotation in document.annotations)
        relation_types |= dict.fromkeys(plain_type(relation.type) for relation in document.relations)
    yield Part(configuration(sorted(types), sorted(relation_types)), "annotation.conf")


FORMAT = standoff_format("brat", "BRAT standoff, .txt and .ann", matches, annotated, Writer(parts, is_folder=True))


def annotation_lines(document: AnnotatedDocument) -> str:
    """The lines of the .ann file: T1, T2... in the order of the annotations, then the relations among them."""
    lines: list[str] = []
    numbers: dict[str, str] = {}
    for annotation in document.annotations:
        fragments = [f for start, end in annotation.fragments for f in _on_lines(document.text, start, end)]
        if fragments:
            number = f"T{len(lines) + 1}"
            numbers.setdefault(annotation.id, number)
            place = ";".join(f"{start} {end}" for start, end in fragments)
            shown = " ".join(document.text[start:end] for start, end in fragments).replace("\t", " ")
            lines.append(f"{number}\t{plain_type(annotation.type)} {place}\t{shown}\n")
    count = 0
    for relation in document.relations:
        if len(relation.arguments) == 2 and all(target and target in numbers for _, target in relation.arguments):
            count += 1
            first, second = (numbers[target] for _, target in relation.arguments)
            lines.append(f"R{count}\t{plain_type(relation.type)} Arg1:{first} Arg2:{second}\n")
    return "".join(lines)


def configuration(types: Iterable[str], relation_types: Iterable[str] = ()) -> str:
    """An annotation.conf with these types, which BRAT requires beside the documents."""
    entities = "".join(f"{plain_type(kind)}\n" for kind in types)
    relations = "".join(f"{kind}\tArg1:<ENTITY>, Arg2:<ENTITY>\n" for kind in relation_types)
    return f"[entities]\n{entities}\n[relations]\n{relations}\n[events]\n\n[attributes]\n"


def plain_type(kind: str) -> str:
    """A type as BRAT can write it."""
    return re.sub(r"[^\w-]+", "_", kind) or "_"


def _on_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) on each line, without the white space around them."""
    for line in re.finditer(r"[^\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", text[start:end]):
        part = line[0].strip()
        if part:
            first = start + line.start() + line[0].index(part)
            yield first, first + len(part)


def annotations_beside(path: Path) -> Path | None:
    """The annotation file of a text file, if there is one."""
    return _beside(path, ".txt", ".ann")


def _beside(path: Path, ending: str, other: str) -> Path | None:
    """The file of the same name that ends in ``other``, plain or gzip'd."""
    plain = path.name.removesuffix(".gz")
    if not plain.endswith(ending):
        return None
    stem = plain.removesuffix(ending)
    return next((found for end in (other, f"{other}.gz") if (found := path.with_name(stem + end)).is_file()), None)


def _document(id_: str, text: str, rows: list[tuple[int, str]], name: str) -> AnnotatedDocument:
    annotations, relations = [], []
    ids: set[str] = set()
    n_ignored: Counter[str] = Counter()
    for number, line in rows:
        try:
            if line[0] == "T":
                annotations.append(_annotation(line))
            elif line[0] == "R":
                relation = _relation(line, number, name)
                if any(target.startswith("E") for _, target in relation.arguments):
                    n_ignored["relations with events"] += 1
                else:
                    relations.append(relation)
            else:
                n_ignored[_OTHERS[line[0]]] += 1
        except (KeyError, ValueError) as error:
            message = f"expected a line of BRAT (T1, type and offsets, text), found {line[:60]!r}"
            raise DataError(message, path=name, line=number) from error
        if line[0] != "T":
            continue
        if annotations[-1].id in ids:
            raise DataError(f"a second mention with the id {annotations[-1].id}", path=name, line=number)
        ids.add(annotations[-1].id)
        if not _fits(line, text):
            shown = line.split("\t")[2]
            found = " ".join(text[start:end] for start, end in annotations[-1].fragments)
            message = f"the mention is {shown[:40]!r}, the text at its offsets is {found[:40]!r}"
            raise DataError(message, path=name, line=number, hint="the .ann and the .txt file do not belong together")
    return AnnotatedDocument(
        id_, text, tuple(annotations), relations=tuple(relations), n_ignored=tuple(sorted(n_ignored.items()))
    )


def _annotation(line: str) -> Annotation:
    id_, place = line.split("\t")[:2]
    found = _PLACE.fullmatch(place.strip())
    if found is None:
        raise ValueError(place)
    pairs = [tuple(map(int, part.split())) for part in found[2].split(";")]
    fragments = tuple(sorted((start, end) for start, end in pairs))
    if any(start >= end for start, end in fragments):
        raise ValueError(place)
    return Annotation(fragments, found[1], id_)


def _relation(line: str, number: int, name: str) -> Relation:
    id_, rest = line.split("\t")[:2]
    kind, *arguments = rest.split()
    roles = [argument.partition(":") for argument in arguments]
    if wrong := next((argument for argument in arguments if ":" not in argument), ""):
        raise DataError(f"expected arguments such as Arg1:T1 of a relation, found {wrong!r}", path=name, line=number)
    return Relation(kind, tuple((role, target) for role, _, target in roles), id_, number)


def _fits(line: str, text: str) -> bool:
    """Whether the text in a mention's line, if any, equals the text at its offsets, white space aside."""
    cells = line.split("\t")
    if line[0] != "T" or len(cells) < 3:
        return True
    try:
        fragments = _annotation(line).fragments
    except ValueError:
        return True
    return (
        fragments[-1][1] <= len(text)
        and " ".join(cells[2:]).split() == " ".join(text[start:end] for start, end in fragments).split()
    )
