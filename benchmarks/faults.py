"""Kill commands at random moments, run them again, and compare the output with that of an uninterrupted run.

python benchmarks/faults.py [--kills 80] [--quick] [--json] [--seed 0] [--others] [--only study]

extract-terms, preprocess, adapt and finetune run on the sample corpus with a tiny random encoder (no downloads). Each
gets a quarter of the kills (SIGKILL). With --others it is match and predict with -o, eval, and a study with two jobs
instead. The moments of the kills are spread over an uninterrupted run, which is divided into as many equal parts as
there are kills, with a random moment in each; one in four is drawn between the appearance of the output's hidden
folder, if it has one, and the end, because publishing is short. If the command ends before the kill, an earlier moment
is drawn. Then the same command is run to its end. "same" means: every file of the output is identical byte for byte,
except for durations, speeds and versions (manifest.json, metrics.jsonl), and no other files are left; of a study, the
verdict is compared. The exit code is 1 if any run was not the same.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from mslm_cli import fsio

N_COPIES = 8
_TRAINING = "--threads 1 --checkpoint-every 5steps"
COMMANDS = {
    "extract-terms": "extract-terms text.txt --pipeline none",
    "preprocess": "preprocess text.txt --lexicon lexicon --model encoder --copies 2 --max-length 64",
    "adapt": f"adapt shards --model encoder --held-out 0.2 --tokens 20000 --tokens-per-step 512 {_TRAINING}",
    "finetune": f"finetune --train train.tsv --dev dev.tsv --model encoder --epochs 3 {_TRAINING}",
}
OTHERS = {
    "match": "match text.txt --lexicon lexicon --overwrite",
    "predict": "predict ner text.txt --threads 1 --overwrite",
    "eval": "eval ner --data dev.tsv --threads 1",
    "study": "sweep study.toml --jobs 2 --threads 1",
}
_STUDY = """
model = "encoder"
probes = false
seeds = [1, 2]
text = ["short.txt"]
data = [{name = "sample", train = "train.tsv", dev = "dev.tsv", test = "test.tsv"}]
lexicon.terms.pipeline = "none"
adapt = {tokens = 300, tokens_per_step = 128, head_warmup_steps = 2}
finetune = {epochs = 1, tokens_per_step = 128}
arm = [{kind = "word"}, {kind = "mslm"}]
"""
_STAGES = ("extract_terms", "preprocess", "adapt", "finetune", "match", "predict", "evaluate")
_PRELOADED = ["mslm_cli.cli.app", *(f"mslm_cli.stages.{stage}" for stage in _STAGES)]


@dataclass
class Tally:
    """The outcome of the kills of one command."""

    duration_s: float
    n_kills: int = 0
    n_resumed: int = 0
    n_publishing: int = 0
    n_same: int = 0
    faults: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=80)
    parser.add_argument("--quick", action="store_true", help="8 kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", action="store_true", help="match, predict, eval and a study")
    parser.add_argument("--only", help="one of the commands alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    commands = OTHERS if options.others else COMMANDS
    if options.only:
        commands = {options.only: (COMMANDS | OTHERS)[options.only]}
    n_each = (8 if options.quick else options.kills) // len(commands)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        make_inputs(inputs)
        if options.others or options.only:
            finish(start(run_command, inputs, [*COMMANDS["finetune"].split(), "-o", "ner"]))
        tallies = {}
        for name, command in commands.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            tallies[name] = torment(command.split(), inputs, Path(folder), n_each, rng)
    if options.json:
        print(json.dumps({name: vars(tally) for name, tally in tallies.items()}, indent=2))
    else:
        print(table(tallies))
    return int(any(tally.n_same < tally.n_kills for tally in tallies.values()))


def make_inputs(folder: Path) -> None:
    """Write the inputs of the commands to ``folder``."""
    folder.mkdir()
    sample = fsio.resource("sample")
    text = (sample / "unlabelled.txt").read_text() + "\n\n" + (sample / "annotated.txt").read_text()
    (folder / "short.txt").write_text(text)
    (folder / "text.txt").write_text("\n\n".join([text.strip()] * N_COPIES) + "\n")
    (folder / "study.toml").write_text(_STUDY)
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        shutil.copyfile(sample / name, folder / name)
    finish(start(make_encoder, folder, text.splitlines()))
    for made, command in (("lexicon", "extract-terms"), ("shards", "preprocess")):
        arguments = COMMANDS[command].replace("text.txt", "short.txt").split()
        finish(start(run_command, folder, [*arguments, "-o", made]))


def make_encoder(lines: Sequence[str]) -> None:
    """Save a random two-layer BERT, with its own vocabulary, to the folder ``encoder``."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(lines, vocab_size=1000, show_progress=False)
    trained.save("tokenizer.json")
    tokenizer = BertTokenizerFast(tokenizer_file="tokenizer.json", do_lower_case=True, model_max_length=128)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **size))
    model.save_pretrained("encoder")
    tokenizer.save_pretrained("encoder")


def run_command(arguments: Sequence[str]) -> None:
    """``mslm`` with these arguments."""
    from mslm_cli.cli.app import app

    app(list(arguments), prog_name="mslm")


def start(work: Callable[[Any], None], folder: Path, argument: Any) -> ForkServerProcess:
    """Start ``work(argument)`` in ``folder``, in a process with all libraries imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_enter, args=(work, folder, argument))
    process.start()
    return process


def _enter(work: Callable[[Any], None], folder: Path, argument: Any) -> None:
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    work(argument)


def finish(process: ForkServerProcess) -> None:
    """Wait for ``process``, which must succeed."""
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"a command that nobody disturbed ended with {process.exitcode}")


def torment(command: list[str], inputs: Path, folder: Path, n_kills: int, rng: random.Random) -> Tally:
    """Kill ``command`` that often, each time in a new folder, and run it again."""
    command = [*command, "-o", "out"]
    undisturbed = fresh(inputs, folder)
    began = time.perf_counter()
    process = start(run_command, undisturbed, command)
    publishing = wait_for_publishing(process, undisturbed) - began
    publishes = process.is_alive()  # a study writes its folder as it goes
    finish(process)
    duration = time.perf_counter() - began
    expected = content(undisturbed / "out")
    tally = Tally(round(duration, 2))
    for number in range(n_kills):
        is_late = number % 4 == 1 and publishes
        within = duration - publishing if is_late else duration
        moment = rng.random() * within if is_late else (number + rng.random()) * within / n_kills
        while (place := fresh(inputs, folder)) and not killed(command, place, moment, from_publishing=is_late):
            shutil.rmtree(place)
            within = min(within, moment)
            moment = rng.random() * within
        tally.n_kills += 1
        tally.n_publishing += (place / ".out.partial").exists() or (place / "out").exists()
        again = start(run_command, place, command)
        again.join()
        said = (place / "stderr").read_text()
        tally.n_resumed += "resuming from" in said
        fault = fault_of(again.exitcode, said, place, expected)
        tally.n_same += not fault
        tally.faults += [fault] * bool(fault)
        shutil.rmtree(place)
    shutil.rmtree(undisturbed)
    return tally


def fresh(inputs: Path, folder: Path) -> Path:
    """A new folder with links to the inputs."""
    place = Path(tempfile.mkdtemp(dir=folder))
    for source in inputs.iterdir():
        (place / source.name).symlink_to(source)
    return place


def wait_for_publishing(process: ForkServerProcess, place: Path) -> float:
    """When the hidden folder of the output appeared."""
    while process.is_alive() and not (place / ".out.partial").exists():
        time.sleep(0.001)
    return time.perf_counter()


def killed(command: list[str], place: Path, moment: float, *, from_publishing: bool) -> bool:
    """Whether ``command`` was killed ``moment`` seconds after its start, or after it began to publish."""
    process = start(run_command, place, command)
    if from_publishing:
        wait_for_publishing(process, place)
    process.join(moment)
    with suppress(ProcessLookupError):
        os.killpg(process.ident or 0, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def content(output: Path) -> dict[str, Any]:
    """The files of an artifact by name, without timings; the verdict of a study, without its cost."""
    found: dict[str, Any] = {}
    if output.is_file():
        return {output.name: output.read_bytes()}
    if (verdict := output / "verdict.json").is_file():
        return {verdict.name: json.loads(verdict.read_bytes(), object_hook=_untimed)}
    for path in sorted(p for p in output.rglob("*") if p.is_file()):
        name = path.relative_to(output).as_posix()
        if name == "manifest.json":
            manifest = json.loads(path.read_bytes())
            files = [file for file in manifest["files"] if file["path"] != "metrics.jsonl"]
            found[name] = {**manifest, "files": files, "run": None, "environment": None, "digest": None}
        elif name == "metrics.jsonl":
            clock = {"tokens_per_s": None, "mfu": None, "seconds": None}
            found[name] = [json.loads(line) | clock for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def _untimed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.endswith("minutes")}


def fault_of(exit_code: int | None, said: str, place: Path, expected: dict[str, Any]) -> str:
    """The differences after a killed and repeated run; empty if there are none."""
    if exit_code != 0:
        return f"exit code {exit_code}: {said.splitlines()[-1:]}"
    found = content(place / "out")
    if different := sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k)):
        return f"differs in {', '.join(different)}"
    strays = [p.name for p in place.iterdir() if p.name.startswith((".", "out")) and p.name != "out"]
    return f"left {', '.join(strays)}" if strays else ""


def table(tallies: dict[str, Tally]) -> str:
    """The tallies as a Markdown table, and the differences."""
    rows = [
        "| command | undisturbed | kills | of them while or after publishing | went on from a checkpoint | same |",
        "|---|---|---|---|---|---|",
    ]
    for name, t in tallies.items():
        rows.append(f"| {name} | {t.duration_s:.1f} s | {t.n_kills} | {t.n_publishing} | {t.n_resumed} | {t.n_same} |")
    n_kills, n_same = (sum(getattr(t, n) for t in tallies.values()) for n in ("n_kills", "n_same"))
    rows.append(f"\n{n_same} of {n_kills} are the same")
    rows += [f"{name}: {fault}" for name, t in tallies.items() for fault in t.faults]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
