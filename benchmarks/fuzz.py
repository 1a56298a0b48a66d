"""Millions of generated inputs through the readers, the matcher, the definitions and the scores of tags.

python benchmarks/fuzz.py [--n 1000000] [--seed 0] [--json]

Nothing may fail but with an error meant for the user. Each input is made from its number and the seed alone, so a
failure is repeated with ``--first N --n 1``. Files are sound ones of every format with damage to bytes, lines, numbers
or values (tests/damaged_data.py); their text and their labels are read. Text is built from what goes wrong in such
programs: words and short forms, brackets, all kinds of hyphens, quotes and spaces, combining and invisible characters,
superscripts, and any code point. Tags are of every scheme in any order. What must hold for every input is checked too:
matches are in order, disjoint and not empty, and have the key of their term; both forms of a definition are in its
sentence; tags of mentions give the mentions back.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import damaged_data

from mslm_cli import console
from mslm_cli.corpus.documents import document_parts
from mslm_cli.corpus.labels import (
    STRICT,
    count_outside,
    detect_scheme,
    mentions_from_tags,
    strict_mentions,
    tags_from_mentions,
)
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.errors import MslmError
from mslm_cli.evaluation.exact_match import match_spans
from mslm_cli.evaluation.spans import spans_from_tags
from mslm_cli.terms.definitions import find_abbreviations
from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.matcher import Matcher
from mslm_cli.text.tokens import folded_key, token_spans, visible, word_spans

WORDS = """
the of in and with for (HF) (IL-6) heart failure interleukin-6 CD4 p53 NF-κB TNF-α HF HFs iPSC 1,2,3 5.5 10⁶ 血液 İß ﬁ ᾳ
α-smooth 2-deoxyglucose c-Jun N-terminal kinase (JNK) Wilson's IL-2R¹² H₂O₂ Ca²⁺ ½ µ
"""
PIECES = [
    *WORDS.split(),
    *"()[]{}（）［］«»“”‘’'\".,;:=|/+-‐‑‒–—−_%°~",
    *" \t\n\r\x0b\x1c\x85\u00a0\u2009\u2028\u3000",
    *"\u0301\u0308\u20dd\u0e33\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\u034f\u3164\ufe0f\U000e0041\x00\ud7ff\uffff",
]
TERMS = ["heart failure", "IL-6", "CD4", "p53", "HF", "NF-κB", "H2O2", "interleukin-6", "İß", "血液", "iPSC", "α"]
OPTIONS = DataOptions()
SOUND = damaged_data.sound_files()
FOLDER = Path(tempfile.mkdtemp())
MATCHER = Matcher([Term(term, ("abbreviation" if i % 2 else "user",)) for i, term in enumerate(TERMS)])
TYPES = ["X", "Y", "cell-type", "B-I"]


def text_of(rng: random.Random) -> str:
    """Up to 24 pieces, some of them any character of Unicode, with and without spaces between them."""
    parts = []
    for _ in range(rng.randrange(25)):
        code = rng.randrange(0x110000) if rng.random() < 0.05 else 0xD800
        parts.append(rng.choice(PIECES) if 0xD800 <= code < 0xE000 else chr(code))
        parts.append(" " if rng.random() < 0.5 else "")
    return "".join(parts)


def check_matches(rng: random.Random) -> None:
    text = text_of(rng)
    end = 0
    for match in MATCHER.find(text):
        assert end <= match.start < match.end
        end = match.end
        key, term = folded_key(text[match.start : match.end]), folded_key(TERMS[match.term])
        assert key in (term, f"{term}s"), (key, term)
    for spans in (token_spans(text), word_spans(text)):
        assert "".join(visible(text[start:end]) for start, end in spans) == "".join(visible(text).split())


def check_definitions(rng: random.Random) -> None:
    sentence = text_of(rng)
    plain = " ".join(sentence.split())
    for short, long in find_abbreviations(sentence):
        assert short in plain
        assert long in plain
        assert len(visible(long)) > len(visible(short))


def check_tags(rng: random.Random) -> None:
    prefixes = rng.choice(["BI", "I", "BIES", "BILU"])
    tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in rng.sample(TYPES, rng.randint(1, 3)))]
    gold, predicted = ([[rng.choice(tags) for _ in range(n)] for n in (5, 1, 7)] for _ in range(2))
    scheme = detect_scheme([*gold, *predicted])
    for side in (*gold, *predicted):
        lenient, strict = mentions_from_tags(side), strict_mentions(side, scheme)
        assert mentions_from_tags(tags_from_mentions(lenient, len(side))) == lenient
        assert count_outside(side, lenient) == 0 <= count_outside(side, strict)
        assert set(strict) <= set(lenient) or scheme not in STRICT
    for reading in ("strict", "default"):
        score = match_spans(*spans_from_tags(gold, predicted, reading, (scheme, scheme))).micro
        read: Callable[[Sequence[str]], object] = mentions_from_tags
        if reading == "strict":
            read = lambda side: strict_mentions(side, scheme)  # noqa: E731 - of this turn
        assert score.gold == sum(len(list(read(side))) for side in gold)  # type: ignore[call-overload]  # lists
        assert 0 <= score.correct <= min(score.gold, score.predicted)


def check_files(rng: random.Random) -> None:
    name = rng.choice(list(SOUND))
    path = FOLDER / name
    if name in ("a.txt", "a.ann"):
        path = FOLDER / "a.txt"
        for other in ("a.txt", "a.ann"):
            (FOLDER / other).write_bytes(SOUND[other])
    (FOLDER / name).write_bytes(damaged_data.damaged(name, SOUND[name], rng))
    try:
        for document in read_documents([path], OPTIONS):
            assert [part.id for part in document_parts(document)]
    except MslmError:
        pass
    try:
        for sentence in read_labelled(path, OPTIONS).sentences:
            tags_from_mentions(sentence.mentions, len(sentence.words))
            assert len(sentence.tags) == len(sentence.words)
    except MslmError:
        pass


CHECKS = {"files": check_files, "matcher": check_matches, "definitions": check_definitions, "tags": check_tags}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="inputs, shared by the checks")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    console.configure(quiet=True, verbose=False, silent=True)
    names = list(CHECKS)
    seconds = dict.fromkeys(names, 0.0)
    n_failed = 0
    for number in range(options.first, options.first + options.n):
        name = names[number % len(names)]
        started = time.process_time()
        try:
            CHECKS[name](random.Random(f"{options.seed} {number}"))
        except Exception as error:  # every kind of error is a finding
            n_failed += 1
            print(f"{name}, --seed {options.seed} --first {number}: {type(error).__name__}: {error}")
        seconds[name] += time.process_time() - started
    shutil.rmtree(FOLDER)
    result = {"n": options.n, "seed": options.seed, "failed": n_failed, "cpu_s": seconds}
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    raise SystemExit(n_failed > 0)


if __name__ == "__main__":
    main()
