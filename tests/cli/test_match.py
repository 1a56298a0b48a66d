"""``mslm match``: what stands on stdout, in files and on a terminal, and that its offsets are right."""

import html
import json
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import pytest
from typer.testing import Result

Mslm = Callable[..., Result]

TERMS = """\
term,type,case
heart failure,Disease,
β-catenin,Gene,
IL-2,Gene,
COVID-19,Disease,
na\u00efve cell,,
\u0130stanbul fever,Disease,
mTOR,Gene,yes
"""
TEXT = """\
\u0130\u0130 \u0130stanbul fever and \u0392-CATENIN; IL-2R, IL-2 and il-2.
COVID-19-related heart  failure in nai\u0308ve
cells; a nai\u0308ve cell, MTOR, mTOR.

Nothing here.

Heart failure."""


@pytest.fixture
def place(in_tmp: Path, mslm: Mslm) -> Path:
    """The working folder with text.txt and a lexicon of TERMS."""
    (in_tmp / "terms.csv").write_text(TERMS, encoding="utf-8")
    (in_tmp / "text.txt").write_text(TEXT, encoding="utf-8")
    made = mslm("extract-terms", "--terms", "terms.csv", "-o", "lexicon")
    assert made.exit_code == 0, made.stderr
    return in_tmp


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_for_each_match_with_offsets_into_the_document(place: Path, mslm: Mslm) -> None:
    result = mslm("match", "text.txt", "--lexicon", "lexicon")
    assert result.exit_code == 0, result.stderr
    found = records(result.stdout)
    assert [(r["doc"], r["term"], r["text"]) for r in found] == [
        ("text.txt:1", "\u0130stanbul fever", "\u0130stanbul fever"),
        ("text.txt:1", "β-catenin", "\u0392-CATENIN"),
        ("text.txt:1", "IL-2", "IL-2"),
        ("text.txt:1", "COVID-19", "COVID-19"),
        ("text.txt:1", "heart failure", "heart  failure"),
        ("text.txt:1", "na\u00efve cell", "nai\u0308ve cell"),
        ("text.txt:1", "mTOR", "mTOR"),
        ("text.txt:3", "heart failure", "Heart failure"),
    ]
    documents = dict(zip(("text.txt:1", "text.txt:2", "text.txt:3"), TEXT.split("\n\n"), strict=True))
    for record in found:
        assert documents[record["doc"]][record["start"] : record["end"]] == record["text"]
    assert list(found[0]) == ["doc", "start", "end", "text", "term", "type", "score"]
    assert {record["type"] for record in found} == {"Disease", "Gene", None}
    assert "8 matches of 7 terms in 3 documents" in result.stderr


def test_tokenised_text_matches_too(place: Path, mslm: Mslm) -> None:
    Path("text.tsv").write_text("# doc 7\nIL\tO\n-\tO\n2\tO\n\nheart\tB\nfailure\tI\n", encoding="utf-8")
    found = records(mslm("match", "text.tsv", "--lexicon", "lexicon").stdout)
    assert [(r["doc"], r["start"], r["end"], r["text"]) for r in found] == [
        ("7", 0, 6, "IL - 2"),
        ("7", 7, 20, "heart failure"),
    ]


def test_offsets_continue_over_the_parts_of_a_long_document(
    place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = "".join(f"Heart{number}\tO\nheart\tO\nfailure\tO\n\n" for number in range(20))
    Path("text.tsv").write_text(f"# doc 7\n{sentences}# doc 8\nheart\tO\nfailure\tO\n")
    whole = mslm("match", "text.tsv", "--lexicon", "lexicon").stdout
    monkeypatch.setattr("mslm_cli.corpus.documents.MAX_DOCUMENT_CHARS", 50)
    assert mslm("match", "text.tsv", "--lexicon", "lexicon").stdout == whole
    starts = [record["start"] for record in records(whole)]
    assert len(starts) == 21
    assert starts[:-1] == sorted(starts[:-1])
    assert starts[-1] == 0


def test_a_short_form_is_found_in_the_singular_and_in_the_plural(in_tmp: Path, mslm: Mslm) -> None:
    Path("text.txt").write_text(
        "Human chronic kidney diseases (CKDs) matter. Every CKD patient is seen. CKD is bad.\n"
        "We made induced pluripotent stem cell (iPSC) lines and a GaAs wafer. All iPSC grew."
    )
    made = mslm(
        "extract-terms", "text.txt", "--pipeline", "none", "--sources", "abbreviation", "--min-score", 0, "-o", "l"
    )
    assert made.exit_code == 0, made.stderr
    Path("other.txt").write_text("CKD, CKDs, iPSC and iPSCs, but no ckd and IPSCS.")
    found = records(mslm("match", "other.txt", "--lexicon", "l").stdout)
    assert [(r["text"], r["term"]) for r in found] == [
        ("CKD", "CKD"), ("CKDs", "CKDs"), ("iPSC", "iPSC"), ("iPSCs", "iPSC"),
    ]  # fmt: skip


def test_preprocess_masks_what_match_shows(workplace: Path, mslm: Mslm) -> None:
    shown = records(mslm("match", "text.txt", "--lexicon", "lexicon").stdout)
    masked = mslm("preprocess", "text.txt", "--lexicon", "lexicon", "--model", "encoder", "--max-length", 64, "-o", "s")
    assert masked.exit_code == 0, masked.stderr
    stats = json.loads(Path("s/stats.json").read_text())
    assert stats["n_mentions"] == len(shown) > 100
    assert stats["n_matched_terms"] == len({record["term"] for record in shown})


def test_a_page_holds_text_and_types_escaped(place: Path, mslm: Mslm) -> None:
    Path("evil.csv").write_text("heart failure,<b>&amp;\n")
    assert mslm("extract-terms", "--terms", "evil.csv", "-o", "evil").exit_code == 0
    Path("a<i>.txt").write_text("<script>heart failure</script>")
    result = mslm("match", "a<i>.txt", "--lexicon", "evil", "--html")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("<!DOCTYPE html>")
    assert result.stdout.rstrip().endswith("</html>")
    assert not re.search(r"<(script|b|i)>", result.stdout)
    plain = html.unescape(re.sub(r"<[^>]*>", "", result.stdout))
    assert "a<i>.txt:1" in plain
    assert "<b>&amp;" in plain
    assert re.sub(r"\s", "", plain).count("<script>heartfailure") == 1


def test_a_file_is_written_atomically_and_not_overwritten(place: Path, mslm: Mslm) -> None:
    expected = mslm("match", "text.txt", "--lexicon", "lexicon").stdout
    written = mslm("match", "text.txt", "--lexicon", "lexicon", "-o", "out/found.jsonl")
    assert (written.exit_code, written.stdout) == (0, "out/found.jsonl\n")
    assert Path("out/found.jsonl").read_text(encoding="utf-8") == expected
    assert mslm("match", "text.txt", "--lexicon", "lexicon", "-o", "-").stdout == expected
    refused = mslm("match", "text.txt", "--lexicon", "lexicon", "-o", "out/found.jsonl")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "out/found.jsonl exists (choose another -o, or use --overwrite)" in refused.stderr
    Path("broken.txt").write_bytes(b"heart failure\n\ncaf\xe9\n")
    broken = mslm("match", "broken.txt", "--lexicon", "lexicon", "-o", "out/found.jsonl", "--overwrite")
    assert broken.exit_code == 3
    assert [p.name for p in Path("out").iterdir()] == ["found.jsonl"]
    assert Path("out/found.jsonl").read_text(encoding="utf-8") == expected


def test_mistakes_are_named(place: Path, mslm: Mslm) -> None:
    both = mslm("match", "text.txt", "--lexicon", "lexicon", "--json", "--html")
    assert (both.exit_code, both.stdout) == (2, "")
    assert "--json and --html cannot be combined" in both.stderr
    missing = mslm("match", "text.txt", "--lexicon", "nowhere")
    assert missing.exit_code == 4
    assert "mslm extract-terms" in missing.stderr
    shared = mslm("match", "-", "--lexicon", "-", stdin="x")
    assert shared.exit_code == 2


def on_a_terminal(*arguments: str, folder: Path, **environment: str | None) -> str:
    """What ``mslm`` writes to a terminal that is its stdout."""
    ours, theirs = pty.openpty()
    (folder / "stdout").symlink_to(os.ttyname(theirs))
    written: list[bytes] = []

    def read() -> None:
        while True:
            try:
                block = os.read(ours, 1 << 16)
            except OSError:
                return
            if not block:
                return
            written.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    process = child_process.start(*arguments, folder=folder, environment={"TERM": "xterm", **environment})
    process.join()
    os.close(theirs)
    reader.join(timeout=60)
    os.close(ours)
    (folder / "stdout").unlink()
    assert process.exitcode == 0, (folder / "stderr").read_text()
    return b"".join(written).decode().replace("\r\n", "\n")


def test_a_terminal_shows_the_text_with_its_matches(place: Path) -> None:
    Path("text.txt").write_text("Heart failure [1] and a naïve cell.\n\nNothing\x1b[2J.\n", encoding="utf-8")
    command = ("match", "text.txt", "--lexicon", "lexicon")
    plain = on_a_terminal(*command, folder=place, NO_COLOR="1")
    assert plain == "[Heart failure|Disease] [1] and a [naïve cell].\n\nNothing\\x1b[2J.\n\n"
    coloured = on_a_terminal(*command, folder=place, NO_COLOR=None)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    as_json = on_a_terminal(*command, "--json", folder=place)
    assert [record["text"] for record in records(as_json)] == ["Heart failure", "naïve cell"]
