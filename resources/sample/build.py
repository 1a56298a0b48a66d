"""Build train.tsv, dev.tsv and test.tsv from annotated.txt.

Run ``python build.py``; the files are written next to this script.

Words are made by three rules, applied in this order:

1. A mention boundary always splits: ``[warfarin](Drug)-treated`` gives
   ``warfarin`` and ``-treated``.
2. Text is split on whitespace.
3. Each of the characters ``. , ; : ! ? ( ) " ' % /`` at the start or the end
   of a piece becomes a word of its own. Inner characters stay, so
   ``non-Hodgkin``, ``7.5``, ``1,000`` and ``mg/day`` are single words.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPLITS = ("train", "dev", "test")
MENTION = re.compile(r"\[([^\]\[]+)\]\((Disease|Drug)\)")
EDGE = ".,;:!?()\"'%/"


def tokenize(text: str) -> list[str]:
    """Split text into words by rules 2 and 3."""
    words: list[str] = []
    for piece in text.split():
        core = piece.strip(EDGE)
        if not core:
            words.extend(piece)
            continue
        start = piece.index(core)
        words.extend(piece[:start])
        words.append(core)
        words.extend(piece[start + len(core) :])
    return words


def tag_sentence(line: str) -> list[tuple[str, str]]:
    """Turn one annotated sentence into (word, tag) pairs."""
    rows: list[tuple[str, str]] = []
    mentions = 0
    end = 0
    for match in MENTION.finditer(line):
        rows += [(word, "O") for word in tokenize(line[end : match.start()])]
        first, *rest = tokenize(match[1])
        rows.append((first, f"B-{match[2]}"))
        rows += [(word, f"I-{match[2]}") for word in rest]
        mentions += 1
        end = match.end()
    rows += [(word, "O") for word in tokenize(line[end:])]
    assert sum(tag.startswith("B-") for _, tag in rows) == mentions, line
    assert not any(set(word) & set("[]") for word, _ in rows), line
    return rows


def convert(source: str) -> dict[str, list[str]]:
    """Return the lines of each split's TSV file."""
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    split = SPLITS[0]
    for line in source.splitlines():
        if line.startswith("# "):
            doc_id = line[2:].strip()
            split = doc_id.partition("-")[0]
            lines[split] += [f"-DOCSTART-\t{doc_id}", ""]
        elif line.strip():
            lines[split] += [f"{word}\t{tag}" for word, tag in tag_sentence(line)]
            lines[split].append("")
    return lines


def main() -> None:
    source = (HERE / "annotated.txt").read_text(encoding="utf-8")
    for split, lines in convert(source).items():
        with (HERE / f"{split}.tsv").open("w", encoding="utf-8", newline="\n") as out:
            out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
