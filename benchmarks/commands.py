"""CPU time and memory of whole commands, of an older checkout and of this one, in turns.

git worktree add ../older COMMIT
python benchmarks/commands.py ../older TEXT LABELLED --ner NER [--rounds 7] [--only match eval] [--quick] [--json]

Start-up is one sentence through each command. Speed is all of TEXT (plain, maybe gzip'd) through ``match`` and
``preprocess``, with the lexicon that ``extract-terms --pipeline none`` makes of it, and LABELLED through ``eval``,
cycled to 20,000 sentences and to three times as many, with one predicted tag in twenty drawn anew. Each command is a
process of its own, with modules compiled before, as pip installs them; its CPU time and peak memory are those that the
system reports of it. The peer of ``match`` is
flashtext's KeywordProcessor on the same documents and terms, beside our Matcher in this process.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from mslm_cli import artifacts
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.terms.lexicon import terms_of
from mslm_cli.terms.matcher import Matcher

HERE = Path(__file__).resolve().parents[1]
N_SENTENCES, NOISE = 20_000, 0.05
SENTENCE = "The patients had chronic kidney disease (CKD) and were treated with IL-2.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("older", type=Path, help="a checkout to compare with")
    parser.add_argument("text", type=Path)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("--ner", type=Path, required=True, help="a NER model, for the start-up of predict")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", help="these commands alone")
    parser.add_argument("--quick", action="store_true", help="2 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    n_rounds = 2 if given.quick else given.rounds
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_inputs(work, given.text, given.labelled)
        result: dict[str, Any] = {}
        for name, arguments in commands(given.ner.resolve()).items():
            if given.only and name not in given.only:
                continue
            _, *rounds = (
                {side: run(tree, arguments, work) for side, tree in (("older", given.older.resolve()), ("this", HERE))}
                for _ in range(1 + n_rounds)  # the first compiles modules
            )
            result[name] = {
                "older_s": spread([r["older"][0] for r in rounds]),
                "this_s": spread([r["this"][0] for r in rounds]),
                "ratio": spread([r["older"][0] / r["this"][0] for r in rounds]),
                "memory_mb": {side: statistics.median(r[side][1] for r in rounds) for side in ("older", "this")},
            }
            print(name, result[name]["ratio"], file=sys.stderr)
        peer = against_flashtext(work, n_rounds) if find_spec("flashtext") and not given.only else None
    print(json.dumps({"commands": result, "flashtext": peer}, indent=2) if given.json else table(result, peer))


def write_inputs(work: Path, text: Path, labelled: Path) -> None:
    raw = text.read_bytes()
    (work / "text.txt").write_bytes(gzip.decompress(raw) if text.suffix == ".gz" else raw)
    (work / "sentence.txt").write_text(SENTENCE, encoding="utf-8")
    (work / "terms.csv").write_text("term\nchronic kidney disease\nCKD\n", encoding="utf-8")
    sentences = read_labelled(labelled).sentences
    gold = [(s.words, tags_from_mentions(s.mentions, len(s.words))) for s in sentences]
    known = sorted({tag for _, tags in gold for tag in tags})
    rng = random.Random(0)
    for size in (1, 3):
        with (work / f"predictions{size}.tsv").open("w", encoding="utf-8") as file:
            for words, tags in islice(cycle(gold), size * N_SENTENCES):
                predicted = [rng.choice(known) if rng.random() < NOISE else tag for tag in tags]
                file.writelines(f"{w}\t{t}\t{p}\n" for w, t, p in zip(words, tags, predicted, strict=True))
                file.write("\n")
    run(HERE, ["extract-terms", "text.txt", "--pipeline", "none", "-o", "lexicon"], work)


def commands(ner: Path) -> dict[str, list[str]]:
    """The arguments of each command, by what is measured."""
    lexicon = ["--lexicon", "lexicon"]
    extract = ["--pipeline", "none", "--terms", "terms.csv", "-o", "terms", "--overwrite"]
    return {
        "start: --help": ["--help"],
        "start: extract-terms": ["extract-terms", "sentence.txt", *extract],
        "start: match": ["match", "sentence.txt", "--lexicon", "terms"],
        "start: preprocess": ["preprocess", "sentence.txt", "--lexicon", "terms", "-o", "shards1", "--overwrite"],
        "start: predict": ["predict", str(ner), "sentence.txt"],
        "match": ["match", "text.txt", *lexicon, "-o", "found.jsonl", "--overwrite"],
        "preprocess": ["preprocess", "text.txt", *lexicon, "-o", "shards", "--overwrite"],
        "eval": ["eval", "--predictions", "predictions1.tsv", "--json"],
        "eval, 3 times as long": ["eval", "--predictions", "predictions3.tsv", "--json"],
    }


def run(tree: Path, arguments: Sequence[str], work: Path) -> tuple[float, float]:
    """CPU seconds and peak memory, MB, of a command of the checkout ``tree``."""
    compiled = {"PYTHONPYCACHEPREFIX": str(work / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    environment = {**os.environ, **compiled, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mslm_cli", *arguments]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=work, env=environment, stdout=nowhere, stderr=nowhere)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)}: exit code {process.returncode} in {tree}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def against_flashtext(work: Path, n_rounds: int) -> dict[str, dict[str, float]]:
    from flashtext import KeywordProcessor

    terms = terms_of(artifacts.load(work / "lexicon", "lexicon"))
    documents = (work / "text.txt").read_text(encoding="utf-8").split("\n\n")
    matcher, peer = Matcher(terms), KeywordProcessor()
    for number, term in enumerate(terms):
        peer.add_keyword(term.term, str(number))

    def cpu(find: Callable[[str], object]) -> float:
        start = time.process_time()
        for document in documents:
            find(document)
        return time.process_time() - start

    rounds = [
        (cpu(matcher.find), cpu(lambda text: peer.extract_keywords(text, span_info=True))) for _ in range(n_rounds)
    ]
    ours, theirs = zip(*rounds, strict=True)
    return {"this_s": spread(ours), "peer_s": spread(theirs), "ratio": spread([b / a for a, b in rounds])}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(result: dict[str, Any], peer: dict[str, dict[str, float]] | None) -> str:
    lines = [
        "| command | older, s | this, s | ratio | peak memory, MB: older | this |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, of in result.items():
        memory = f"{of['memory_mb']['older']:.0f} | {of['memory_mb']['this']:.0f}"
        lines.append(f"| {name} | {shown(of['older_s'])} | {shown(of['this_s'])} | {shown(of['ratio'])} | {memory} |")
    if peer:
        lines += ["", "| flashtext, s | Matcher, s | ratio |", "|--:|--:|--:|"]
        lines.append(f"| {shown(peer['peer_s'])} | {shown(peer['this_s'])} | {shown(peer['ratio'])} |")
    return "\n".join(lines)


def shown(of: dict[str, float]) -> str:
    return f"{of['median']:.2f} ({of['low']:.2f} to {of['high']:.2f})"


if __name__ == "__main__":
    main()
