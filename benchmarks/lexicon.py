"""Quality and speed of lexicons: mentions and terms against gold, abbreviations, extraction, matching.

python benchmarks/lexicon.py shared/data [--quick] [--json] [--pipeline NAME] [--only mentions,terms,...]

mentions       A lexicon from the text of the training splits of NCBI-disease, BC5CDR and BC2GM (without their labels)
               and two sets of unlabelled abstracts, matched on the test splits; each source alone, all together, and
               for comparison the gold mentions of the training splits (as in the paper).
terms          The terms of a text against the annotators' term list (ACTER, heart failure).
abbreviations  Pairs of short and long forms on MED1250, compared to scispaCy's AbbreviationDetector on whole documents.
extraction     Words per second of `mslm extract-terms --workers 2`, compared to the same pipeline with plain
               `nlp.pipe(n_process=2)`, including start-up, in turns.
matching       Words per second, build time and peak memory of the matcher, compared to spaCy's PhraseMatcher (LOWER,
               with filter_spans), including tokenisation, with 50,000 terms from the training text, in turns. One
               thread and its CPU time, which equals wall-clock time on an idle machine.

Each side of a timing runs in its own process. --quick reads less text and takes one turn instead of three (extraction)
or five (matching).
"""

import argparse
import gzip
import json
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mslm_cli import console, fsio
from mslm_cli.config import ExtractTermsConfig
from mslm_cli.corpus.documents import LabelledSentence
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.corpus.seen import Sketch
from mslm_cli.stages import extract_terms
from mslm_cli.terms.definitions import find_abbreviations
from mslm_cli.terms.lexicon import Term, read_terms
from mslm_cli.terms.matcher import Matcher
from mslm_cli.text.sentences import split_sentences
from mslm_cli.text.tokens import folded_key

TRAIN = ["NCBI-disease/train.tsv.gz", "mtl-BC5CDR-IOB/train.txt.gz", "BC2GM/train.tsv.gz"]
TEST = {
    "NCBI-disease": "NCBI-disease/test.tsv.gz",
    "BC5CDR": "mtl-BC5CDR-IOB/test.txt.gz",
    "BC2GM": "BC2GM/test.tsv.gz",
}
TYPES = {"NCBI-disease": ["Disease"], "BC5CDR": ["Chemical", "Disease"], "BC2GM": ["Gene"]}
# The CRAFT articles in the same folder share sentences with test splits.
UNLABELLED = ["unlabelled/med1250_abstracts.txt.gz", "unlabelled/pubmedqa_abstracts.txt.gz"]
TIMED = [*UNLABELLED, "unlabelled/craft_fulltext_30articles.txt.gz"]
SOURCES = ("pipeline", "abbreviation", "termhood")
N_TERMS = 50_000
Spans = list[tuple[int, int]]
Lexicons = dict[str, list[Term]]


def prf(right: int, found: int, gold: int, hit: int | None = None) -> dict[str, float]:
    """Precision, recall and F1 in percent; ``hit``: the number of gold ones found, if different from ``right``."""
    precision = 100 * right / max(1, found)
    recall = 100 * (right if hit is None else hit) / max(1, gold)
    return {"P": precision, "R": recall, "F1": 2 * precision * recall / max(1e-9, precision + recall)}


# mentions


def lexicons(texts: Sequence[Path], labels: Sequence[Path], pipeline: str, folder: Path) -> Lexicons:
    """Lexicons from each source, from all sources, from gold mentions, and from everything."""
    plans: dict[str, tuple[tuple[str, ...], Sequence[Path], Sequence[Path]]] = {
        **{source: ((source,), texts, ()) for source in SOURCES if source != "pipeline" or has_pipeline(pipeline)},
        "all": (SOURCES, texts, ()),
        "gold mentions": ((), (), labels),
        "all, gold mentions": (SOURCES, texts, labels),
    }
    made = {}
    for name, (sources, files, gold) in plans.items():
        config = ExtractTermsConfig.build(sources=sources, pipeline=pipeline, workers=2)
        given = extract_terms.TermInputs(labels=gold)
        lexicon = extract_terms.run(files, folder / f"lexicon-{name}", config, given=given)
        made[name] = read_terms(lexicon / extract_terms.TERMS)
    return made


def has_pipeline(name: str) -> bool:
    from mslm_cli.terms import pipeline

    return name != pipeline.NONE


def mentions(data: Path, pipeline: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    texts = [data / name for name in (TRAIN if quick else TRAIN + UNLABELLED)]
    made = lexicons(texts, [data / name for name in TRAIN], pipeline, folder)
    seen = Sketch.load(folder / "lexicon-all" / "seen" / "extract-terms.u64")
    rows, shared = [], {}
    for corpus, file in TEST.items():
        sentences = read_labelled(data / file).sentences
        shared[corpus] = seen.count(" ".join(s.words) for s in sentences)
        for name, terms in made.items():
            rows.append({"corpus": corpus, "lexicon": name, "terms": len(terms), **score_mentions(terms, sentences)})
        typed = [term for term in made["all"] if term.type in TYPES[corpus]]
        if typed:
            name = f"all, --types {','.join(TYPES[corpus])}"
            rows.append({"corpus": corpus, "lexicon": name, "terms": len(typed), **score_mentions(typed, sentences)})
    return {"texts": [str(t.relative_to(data)) for t in texts], "test_sentences_seen": shared, "rows": rows}


def score_mentions(terms: Sequence[Term], sentences: Iterable[LabelledSentence]) -> dict[str, Any]:
    """Scores of the matches of ``terms``, ignoring types."""
    matcher = Matcher(terms)
    n_gold = n_found = n_exact = n_right = n_hit = 0
    for sentence in sentences:
        gold = [(start, end) for start, end, _ in sentence.mentions]
        found = matched_words(matcher, sentence.words)
        n_gold += len(gold)
        n_found += len(found)
        n_exact += len(set(gold) & set(found))
        n_right += sum(any(overlap(f, g) for g in gold) for f in found)
        n_hit += sum(any(overlap(f, g) for f in found) for g in gold)
    return {"exact": prf(n_exact, n_found, n_gold), "overlapping": prf(n_right, n_found, n_gold, n_hit)}


def matched_words(matcher: Matcher, words: Sequence[str]) -> Spans:
    """The matches as [start, end) in words, extended to whole words."""
    text = " ".join(words)
    word_at = [i for i, word in enumerate(words) for _ in range(len(word) + 1)]
    return [(word_at[match.start], word_at[match.end - 1] + 1) for match in matcher.find(text)]


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


# terms


def acter(data: Path, pipeline: str, folder: Path) -> dict[str, Any]:
    with tarfile.open(data / "acter-en-htfl/htfl.tar.gz") as archive:
        archive.extractall(folder / "acter", filter="data")
    base = folder / "acter/en/htfl/annotated"
    listed = (base / "annotations/unique_annotation_lists/htfl_en_terms_nes.tsv").read_text(encoding="utf-8")
    gold = {folded_key(line.split("\t")[0]) for line in listed.splitlines()}
    rows = []
    plans = {source: (source,) for source in SOURCES if source != "pipeline" or has_pipeline(pipeline)} | {
        "all": SOURCES
    }
    for name, sources in plans.items():
        for min_count in (1, 2):
            config = ExtractTermsConfig.build(
                sources=sources, pipeline=pipeline, min_count=min_count, one_per_line=True, workers=2
            )
            lexicon = extract_terms.run([base / "texts"], folder / f"acter-{name}-{min_count}", config)
            found = {folded_key(term.term) for term in read_terms(lexicon / extract_terms.TERMS)}
            scores = prf(len(found & gold), len(found), len(gold))
            rows.append({"lexicon": name, "min_count": min_count, "terms": len(found), "terms_scores": scores})
    return {"gold": len(gold), "rows": rows}


# abbreviations


def med1250(data: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress((data / "abbrev-MED1250/MED1250_labeled.txt.gz").read_bytes()).decode("cp1252", "replace")
    texts, gold = [], []
    for block in re.split(r"\n\s*\n", raw.strip()):
        lines = block.split("\n")[1:]
        texts.append("\n".join(line for line in lines if not line.startswith("  ")))
        gold.append({pair(*line.strip().split("|")) for line in lines if line.startswith("  ")})
    rows = []
    for name, find in {"mslm": pairs_of_sentences, "scispaCy": scispacy_pairs()}.items():
        list(find("warming up (WU)"))
        started = time.process_time()
        found = [set(find(text)) for text in texts]
        duration = time.process_time() - started
        right = sum(len(f & g) for f, g in zip(found, gold, strict=True))
        counts = {"right": right, "found": sum(map(len, found)), "gold": sum(map(len, gold))}
        rows.append({"detector": name, **counts, "scores": prf(*counts.values()), "cpu_s": duration})
    return rows


def pair(short: str, long: str) -> tuple[str, str]:
    return " ".join(short.split()).casefold(), " ".join(long.split()).casefold()


def pairs_of_sentences(text: str) -> Iterator[tuple[str, str]]:
    for start, end in split_sentences(text):
        yield from (pair(short, long) for short, long in find_abbreviations(text[start:end]))


def scispacy_pairs() -> Callable[[str], Iterator[tuple[str, str]]]:
    import spacy
    from scispacy.abbreviation import AbbreviationDetector  # noqa: F401 - registers the component
    from scispacy.custom_tokenizer import combined_rule_tokenizer

    nlp = spacy.blank("en")
    nlp.tokenizer = combined_rule_tokenizer(nlp)
    nlp.add_pipe("abbreviation_detector")

    def find(text: str) -> Iterator[tuple[str, str]]:
        return (pair(short.text, short._.long_form.text) for short in nlp(text)._.abbreviations)

    return find


# timings: each side is a process that prints its measurements


def in_turn(sides: dict[str, list[str]], n_turns: int) -> dict[str, list[dict[str, Any]]]:
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(n_turns):
        for name, arguments in sides.items():
            command = [sys.executable, __file__, *arguments]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
    return measured


def measure(side: str, arguments: Sequence[str]) -> dict[str, Any]:
    sides: dict[str, Callable[..., dict[str, Any]]] = {
        "extract": extract_side,
        "pipe": pipe_side,
        "matcher": matcher_side,
        "phrasematcher": phrasematcher_side,
    }
    memory: dict[str, Any] = {"peak_mb": 0.0}
    with peak_memory(memory):
        measured = sides[side](*arguments)
    multiprocessing.active_children()  # finished children are waited for, and their time counts
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))
    return {**measured, **memory, "cpu_s": cpu_s}


@contextmanager
def peak_memory(found: dict[str, Any]) -> Iterator[None]:
    """Put into ``found`` the peak memory of this process and its children during the block (Linux only).

    Proportional set size, sampled every 50 ms: shared memory counts once, and the parent process does not count.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            found["peak_mb"] = max(found.get("peak_mb", 0.0), sum(map(pss_mb, family(os.getpid()))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in read_or_nothing(task).split():
            yield from family(int(child))


def pss_mb(process: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", read_or_nothing(Path(f"/proc/{process}/smaps_rollup")), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def read_or_nothing(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def extract_side(pipeline: str, *texts: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = ExtractTermsConfig.build(pipeline=pipeline, workers=2)
        started = time.perf_counter()
        lexicon = extract_terms.run([Path(text) for text in texts], Path(folder, "lexicon"), config)
        duration = time.perf_counter() - started
        n_words = json.loads((lexicon / extract_terms.STATS).read_text())["n_words"]
    return {"duration_s": duration, "n_words": n_words}


def pipe_side(pipeline: str, *texts: str) -> dict[str, Any]:
    import spacy

    from mslm_cli.terms.pipeline import DEFAULT, DETECTOR

    n_mentions = 0
    started = time.perf_counter()
    nlp = spacy.load(fsio.resource(DETECTOR) if pipeline == DEFAULT else pipeline)
    documents = (document.text for document in read_documents([Path(text) for text in texts], DataOptions()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for doc in nlp.pipe(documents, n_process=2, batch_size=64):
            n_mentions += len(doc.ents)
    return {"duration_s": time.perf_counter() - started, "n_mentions": n_mentions}


def matcher_side(lexicon: str, *texts: str) -> dict[str, Any]:
    terms = [Term(term, ("user",)) for term in json.loads(Path(lexicon).read_text())]
    documents = [document.text for document in read_documents([Path(text) for text in texts], DataOptions())]
    started = time.thread_time()
    matcher = Matcher(terms)
    built = time.thread_time()
    n_matches = sum(len(matcher.find(text)) for text in documents)
    ended = time.thread_time()
    return {"build_s": built - started, "duration_s": ended - built, "n_matches": n_matches, **sizes(documents)}


def phrasematcher_side(lexicon: str, *texts: str) -> dict[str, Any]:
    import spacy
    from spacy.matcher import PhraseMatcher
    from spacy.util import filter_spans

    terms = json.loads(Path(lexicon).read_text())
    documents = [document.text for document in read_documents([Path(text) for text in texts], DataOptions())]
    nlp = spacy.blank("en")
    started = time.thread_time()
    matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
    matcher.add("TERM", [nlp.make_doc(term) for term in terms])
    built = time.thread_time()
    n_matches = sum(len(filter_spans(matcher(doc, as_spans=True))) for doc in nlp.pipe(documents))
    ended = time.thread_time()
    return {"build_s": built - started, "duration_s": ended - built, "n_matches": n_matches, **sizes(documents)}


def sizes(documents: Sequence[str]) -> dict[str, int]:
    return {"n_words": sum(len(text.split()) for text in documents), "n_chars": sum(map(len, documents))}


def extraction(data: Path, pipeline: str, *, quick: bool) -> dict[str, Any]:
    texts = [str(data / name) for name in (TIMED[:1] if quick else TIMED)]
    sides = {"extract-terms": ["--side", "extract", pipeline, *texts], "nlp.pipe": ["--side", "pipe", pipeline, *texts]}
    measured = in_turn(sides, 1 if quick else 3)
    n_words = measured["extract-terms"][0]["n_words"]
    return {
        "n_words": n_words,
        "words_per_s": {name: [n_words / m["duration_s"] for m in runs] for name, runs in measured.items()},
        "peak_mb": {name: [m["peak_mb"] for m in runs] for name, runs in measured.items()},
        "cpu_s": {name: [m["cpu_s"] for m in runs] for name, runs in measured.items()},
        "ratio": ratios(measured, "nlp.pipe", "extract-terms", "duration_s"),
        "cpu_ratio": ratios(measured, "nlp.pipe", "extract-terms", "cpu_s"),
    }


def matching(data: Path, folder: Path, *, quick: bool) -> dict[str, Any]:
    texts = [data / name for name in TRAIN + UNLABELLED]
    config = ExtractTermsConfig.build(sources=("abbreviation", "termhood"), min_count=1, min_score=0, workers=2)
    lexicon = extract_terms.run(texts, folder / "lexicon-matching", config)
    terms = [term.term for term in read_terms(lexicon / extract_terms.TERMS)][:N_TERMS]
    listed = folder / "terms.json"
    listed.write_text(json.dumps(terms))
    searched = [str(text) for text in texts[-1:]] if quick else [str(text) for text in texts[-2:]]
    sides = {"mslm": ["--side", "matcher", str(listed), *searched]}
    sides["PhraseMatcher"] = ["--side", "phrasematcher", str(listed), *searched]
    measured = in_turn(sides, 1 if quick else 5)
    return {
        "n_terms": len(terms),
        "n_words": measured["mslm"][0]["n_words"],
        "words_per_s": {name: [m["n_words"] / m["duration_s"] for m in runs] for name, runs in measured.items()},
        "build_s": {name: [m["build_s"] for m in runs] for name, runs in measured.items()},
        "peak_mb": {name: [m["peak_mb"] for m in runs] for name, runs in measured.items()},
        "n_matches": {name: runs[0]["n_matches"] for name, runs in measured.items()},
        "ratio": ratios(measured, "PhraseMatcher", "mslm", "duration_s"),
        "build_ratio": ratios(measured, "PhraseMatcher", "mslm", "build_s"),
    }


def ratios(measured: dict[str, list[dict[str, Any]]], peer: str, ours: str, key: str) -> list[float]:
    """The speed of ``ours`` relative to ``peer``, turn by turn."""
    return [p[key] / o[key] for p, o in zip(measured[peer], measured[ours], strict=True)]


# tables


def table(result: dict[str, Any]) -> str:
    parts = []
    if found := result.get("mentions"):
        seen = ", ".join(f"{corpus} {n}" for corpus, n in found["test_sentences_seen"].items())
        rows = [
            [row["corpus"], row["lexicon"], f"{row['terms']:,}", *numbers(row["exact"]), *numbers(row["overlapping"])]
            for row in found["rows"]
        ]
        parts.append(
            markdown(["test", "lexicon", "terms", "P", "R", "F1", "P overlap", "R overlap", "F1 overlap"], rows)
        )
        parts.append(f"Test sentences that stand in the text of the lexicon too: {seen}.\n")
    if found := result.get("terms"):
        rows = [
            [row["lexicon"], str(row["min_count"]), f"{row['terms']:,}", *numbers(row["terms_scores"])]
            for row in found["rows"]
        ]
        parts.append(markdown(["ACTER heart failure", "min. count", "terms", "P", "R", "F1"], rows))
        parts.append(f"{found['gold']:,} gold terms.\n")
    if found := result.get("abbreviations"):
        rows = [
            [
                row["detector"],
                *(f"{row[k]:,}" for k in ("right", "found", "gold")),
                *numbers(row["scores"]),
                f"{row['cpu_s']:.2f}",
            ]
            for row in found
        ]
        parts.append(markdown(["MED1250", "right", "found", "gold", "P", "R", "F1", "CPU s"], rows))
    for name in ("extraction", "matching"):
        if found := result.get(name):
            columns = {"words/s": ("words_per_s", ",.0f"), "build s": ("build_s", ".2f"), "CPU s": ("cpu_s", ",.0f")}
            columns = {title: how for title, how in columns.items() if how[0] in found} | {
                "peak MB": ("peak_mb", ",.0f")
            }
            rows = [
                [side, *(spread(found[key][side], form) for key, form in columns.values())]
                for side in found["words_per_s"]
            ]
            parts.append(markdown([name, *columns], rows))
            what = {"ratio": "speed", "build_ratio": "building", "cpu_ratio": "CPU time"}
            said = [f"{title} {spread(found[key], '.2f')}" for key, title in what.items() if key in found]
            parts.append(f"{found['n_words']:,} words; times the peer's, turn by turn: {', '.join(said)}.\n")
    return "\n".join(parts)


def numbers(scores: dict[str, float]) -> list[str]:
    return [f"{scores[key]:.1f}" for key in ("P", "R", "F1")]


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the range if there are several values."""
    median = format(statistics.median(values), form)
    return median if len(values) == 1 else f"{median} ({min(values):{form}} to {max(values):{form}})"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---" if i == 0 else "--:" for i in range(len(columns))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the public data sets")
    parser.add_argument("--pipeline", default=ExtractTermsConfig().pipeline, help="spaCy pipeline (the default one)")
    parser.add_argument("--only", default="mentions,terms,abbreviations,extraction,matching")
    parser.add_argument("--quick", action="store_true", help="less text, and one turn of each timing")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    console.configure(quiet=True)
    wanted = options.only.split(",")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "mentions" in wanted:
            result["mentions"] = mentions(options.data, options.pipeline, folder, quick=options.quick)
        if "terms" in wanted:
            result["terms"] = acter(options.data, options.pipeline, folder)
        if "abbreviations" in wanted:
            result["abbreviations"] = med1250(options.data)
        if "extraction" in wanted and has_pipeline(options.pipeline):
            result["extraction"] = extraction(options.data, options.pipeline, quick=options.quick)
        if "matching" in wanted:
            result["matching"] = matching(options.data, folder, quick=options.quick)
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        console.configure(quiet=True)
        print(json.dumps(measure(sys.argv[2], sys.argv[3:])))
    else:
        main()
