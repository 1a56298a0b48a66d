"""Label Studio's JSON export: tasks, each with a text and the results of its annotators."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mslm_cli.corpus.formats.format import standoff_format
from mslm_cli.corpus.json_values import JsonStream
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation
from mslm_cli.errors import DataError

_RESULTS = re.compile(r'"(?:annotations|completions)"\s*:\s*\[')


def matches(path: Path, head: Head) -> bool:
    """Whether it is an array of tasks with data and annotations."""
    start = head.text.lstrip()
    return start.startswith("[") and '"data"' in start and _RESULTS.search(start) is not None


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The texts of the tasks; of several annotators the first who did not skip the task is read.

    Raises:
        DataError: it is not an array of tasks, a task has no text, or a span is not in its text.
    """
    stream = JsonStream(source.text_blocks(), source.name)
    if stream.peek() != "[":
        raise DataError("expected an array of tasks", path=source.name, line=stream.line)
    for number, line in enumerate(stream.elements(), 1):
        task = stream.value()
        try:
            yield _document(task, source, number, line)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            message = f"task {number} is not as Label Studio exports it ({type(error).__name__}: {error})"
            raise DataError(message, path=source.name, line=line) from error
    stream.end()


FORMAT = standoff_format("label-studio", "Label Studio's JSON export", matches, annotated)


def _document(task: Any, source: Source, number: int, line: int) -> AnnotatedDocument:
    given = [a for a in task.get("annotations") or task.get("completions") or () if not a.get("was_cancelled")]
    results = given[0].get("result") or [] if given else []
    n_ignored = Counter({"annotations by a second annotator": len(given) - 1} if len(given) > 1 else {})
    text = _text(task["data"], results)
    if text is None:
        raise DataError(f"task {number}: its data have no text", path=source.name, line=line)
    annotations, relations = [], []
    for result in results:
        value = result.get("value") or {}
        labels = next((value[key] for key in ("labels", "hypertextlabels") if value.get(key)), None)
        if result.get("type") == "relation":
            ends = (("from", str(result["from_id"])), ("to", str(result["to_id"])))
            relations.append(Relation(" ".join(result.get("labels") or ()), ends, line=line))
        elif labels is None or "start" not in value:
            n_ignored[f"results of type {result.get('type')}"] += 1
        else:
            span = int(value["start"]), int(value["end"])
            shown = text[span[0] : span[1]]
            if not 0 <= span[0] < span[1] <= len(text) or value.get("text", shown).split() != shown.split():
                message = f"task {number}: the span is {str(value.get('text'))[:40]!r}, the text there {shown[:40]!r}"
                raise DataError(message, path=source.name, line=line)
            if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
                message = f"task {number}: expected names of labels, found {str(labels)[:40]}"
                raise DataError(message, path=source.name, line=line)
            annotations += [Annotation((span,), label, str(result.get("id", ""))) for label in labels]
    id_ = str(task.get("id", ""))
    return AnnotatedDocument(
        id_ or f"{source.label}:{number}",
        text,
        tuple(annotations),
        bool(id_),
        tuple(relations),
        n_ignored=tuple(sorted(n_ignored.items())),
    )


def _text(data: Mapping[str, Any], results: list[Mapping[str, Any]]) -> str | None:
    """The text of a task: ``text``, or the longest string in its data that all spans fit into."""
    last = max((int((r.get("value") or {}).get("end") or 0) for r in results), default=0)
    if isinstance(data.get("text"), str):
        return str(data["text"])
    strings = [value for value in data.values() if isinstance(value, str) and len(value) >= last]
    return max(strings, key=len, default=None)
