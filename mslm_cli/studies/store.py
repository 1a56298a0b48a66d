"""The work folder of a study: run the stage of each node once, into the folder named after its key."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mslm_cli import console, fsio
from mslm_cli.artifacts import METRICS, load
from mslm_cli.studies import resampled_data
from mslm_cli.studies.nodes import OutputOf, StageNode, Trial
from mslm_cli.workspace import RunOptions

WORK, LOCKS = "work", "locks"
PROBE = "probe.json"


@dataclass(frozen=True)
class Spent:
    """Time of training and of scoring dev, and tokens trained on; from the log, so that resumed runs count in full."""

    seconds: float = 0.0
    n_tokens: int = 0

    @property
    def minutes(self) -> float:
        return self.seconds / 60

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.n_tokens + other.n_tokens)


class StudyStore:
    """The folder of a study, in which its nodes are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, node: StageNode) -> Path:
        """The folder of a node, whether or not it exists."""
        return self.folder / WORK / node.name

    def has(self, node: StageNode) -> bool:
        """Whether a node is made; its folder appears complete or not at all."""
        return self.path(node).exists()

    def lock(self, name: str) -> Path:
        """The path of a lock file."""
        return self.folder / LOCKS / f"{name}.lock"

    def make(self, node: StageNode) -> Path:
        """The folder of a node; the node and its dependencies are made first if they are missing.

        Waits for another process that is making the same node.

        Raises: as the stages do.
        """
        output = self.path(node)
        if self.has(node):
            return output
        for need in node.needs():
            self.make(need)
        with fsio.held(self.lock(node.name)):
            fsio.recover(output)
            if not self.has(node):
                with console.warnings_only():
                    _STAGES[node.stage](self._inputs(node), output, node.config)
        return output

    def read(self, node: StageNode, file: str) -> Any:
        """The JSON content of a file in a node's folder."""
        return json.loads((self.path(node) / file).read_bytes())

    def dev_score(self, node: StageNode) -> float:
        """The dev score of a fine-tuned model, by the primary metric of its task."""
        return float(load(self.path(node), "ner").manifest.run["dev_score"])

    def spent(self, node: StageNode) -> Spent:
        """Time and tokens of a training node."""
        spent = Spent()
        with (self.path(node) / METRICS).open(encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                if "tokens_per_s" in record:
                    n_tokens = record["n_tokens"]
                    spent += Spent(n_tokens / max(record["tokens_per_s"], 1e-9), n_tokens)
                elif "dev" in record:
                    spent += Spent(record["seconds"])
        return spent

    def spent_on(self, trials: Iterable[Trial]) -> Spent:
        """Total time and tokens of all training; work shared between trials counts once."""
        trained = {node.key: node for trial in trials for node in trial.trained}
        return sum(map(self.spent, trained.values()), Spent())

    def dependency(self, node: StageNode, role: str) -> Path:
        """The first input of a node with this role."""
        return self._inputs(node)[role][0]

    def _inputs(self, node: StageNode) -> dict[str, list[Path]]:
        """The input files and folders of a node, by role."""
        found: dict[str, list[Path]] = {}
        for role, dependency in node.inputs:
            path = self.path(dependency.node) / dependency.name if isinstance(dependency, OutputOf) else dependency
            found.setdefault(role, []).append(path)
        return found


Inputs = dict[str, list[Path]]

_RESUME_ANYWAY = RunOptions(resume_anyway=True)
"""A study may continue on another machine: differences in the last bits are better than a stop."""


def _lexicon(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import extract_terms

    given = extract_terms.TermInputs(terms=of.get("terms", ()), labels=of.get("labels", ()))
    extract_terms.run(of.get("text", []), output, config, given=given)


def _shards(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import preprocess

    lexicon = of["lexicon"][0] if "lexicon" in of else None
    preprocess.run(of["text"], output, _on(config, of["model"][0]), lexicon=lexicon)


def _encoder(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import adapt

    adapt.run(of["shards"][0], output, _on(config, of["model"][0]), _RESUME_ANYWAY)


def _ner(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import finetune

    companions = finetune.Companions(tuple(of.get("also", ())), next(iter(of.get("silver", ())), None))
    finetune.run(of["train"][0], of["dev"][0], output, _on(config, of["model"][0]), _RESUME_ANYWAY, companions)


def _silver(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import label

    label.run(of["text"], of["model"], output, config, overwrite=False)


def _eval(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import evaluate

    sources = evaluate.Sources(ner=of["ner"][0], data=of["data"][0], train=of["train"][0])
    evaluate.run(sources, output, config, with_report=False)


def _probe(of: Inputs, output: Path, config: Any) -> None:
    from mslm_cli.stages import probe

    general = of["general"][0] if "general" in of else None
    found = probe.run([str(of["encoder"][0])], of["text"], config, lexicon=of["lexicon"][0], general=general)
    with fsio.staged_folder(output) as folder:
        (folder / PROBE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _split(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.split(of["train"][0], output, config)


def _fold(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.fold(of["train"][0], output, config)


def _subset(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.subset(of["source"][0], output, config)


def _sample(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.sample(of["source"][0], output, config, beside=next(iter(of.get("beside", ())), None))


def _rename(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.rename_types(of["source"][0], output, config)


def _augment(of: Inputs, output: Path, config: Any) -> None:
    resampled_data.augment(of["train"][0], of["lexicon"][0], output, config)


def _on(config: Any, model: Path) -> Any:
    """The options with ``model`` set to this encoder."""
    return config.model_copy(update={"model": str(model)})


_STAGES: dict[str, Callable[[Inputs, Path, Any], None]] = {
    "split": _split,
    "fold": _fold,
    "subset": _subset,
    "sample": _sample,
    "lexicon": _lexicon,
    "rename": _rename,
    "augment": _augment,
    "shards": _shards,
    "encoder": _encoder,
    "ner": _ner,
    "silver": _silver,
    "eval": _eval,
    "probe": _probe,
}
