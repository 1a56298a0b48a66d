"""The parts of a plan: runs of stages, linked by their inputs, and the trials that need them.

The key of a node is the hash of its options and of the content of its inputs, and names its folder. So trials share
common work, a killed study finds what is done, and an extended study makes only what is new.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from mslm_cli import artifacts
from mslm_cli.corpus.formats.brat import annotations_beside
from mslm_cli.errors import DataError
from mslm_cli.options import Config
from mslm_cli.studies.spec import Arm

Stage = Literal[
    "split",
    "fold",
    "subset",
    "sample",
    "rename",
    "lexicon",
    "augment",
    "shards",
    "encoder",
    "ner",
    "silver",
    "eval",
    "probe",
]


@dataclass(frozen=True)
class OutputOf:
    """The output folder of a node, or one file in it."""

    node: "StageNode"
    name: str = ""


Dependency = Path | OutputOf


@dataclass(frozen=True)
class StageNode:
    """One run of a stage: its options and its inputs, each with a role."""

    stage: Stage
    config: Config
    inputs: tuple[tuple[str, Dependency], ...]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the options and the content of the inputs; the code's identity is kept once for the study."""
        inputs = [[role, [m.node.key, m.name] if isinstance(m, OutputOf) else content_of(m)] for role, m in self.inputs]
        identity = [self.stage, self.config.identity(), inputs]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of the node's folder."""
        return f"{self.stage}-{self.key[:16]}"

    def needs(self) -> list["StageNode"]:
        """The nodes whose output this node takes as input."""
        return [dependency.node for _, dependency in self.inputs if isinstance(dependency, OutputOf)]

    def chain(self) -> Iterator["StageNode"]:
        """The node and all its dependencies in topological order, itself last."""
        for need in self.needs():
            yield from need.chain()
        yield self


def content_of(path: Path) -> str:
    """The content hash of a file or folder.

    Raises:
        DataError: it cannot be read.
    """
    beside = annotations_beside(path)
    try:
        parts = [(each, each.stat()) for each in (path, beside) if each is not None]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    return " ".join(_content_of(each, found.st_mtime_ns, found.st_size) for each, found in parts)


@lru_cache(maxsize=4096)
def _content_of(path: Path, _mtime_ns: int, _n_bytes: int) -> str:
    return artifacts.file_input("", path).fingerprint


@dataclass(frozen=True)
class Trial:
    """One arm with one seed on one data set, with a share of its labels.

    ``share`` < 1: a short trial of the search, scored only on dev.
    """

    data: str
    arm: Arm
    seed: int
    ner: StageNode
    score: StageNode | None
    probe: StageNode | None
    share: float = 1.0
    label_share: float = 1.0
    fold: int = 0
    n_folds: int = 1

    @property
    def key(self) -> str:
        """The key of ``result``, which identifies the trial."""
        return self.result.key

    @property
    def result(self) -> StageNode:
        """The trial's last node; the trial is done once it is."""
        return self.score or self.ner

    @property
    def trained(self) -> list[StageNode]:
        """All that is trained: adaptation, models of other corpora, teachers, and the fine-tuning.

        Without the warm-up of the MLM head, which adaptations share.
        """
        found = [node for node in self.ner.chain() if node.stage in ("encoder", "ner")]
        heads = {need.key for node in found if node.stage == "encoder" for need in node.needs()}
        return list({node.key: node for node in found if node.key not in heads}.values())

    def nodes(self) -> Iterator[StageNode]:
        """All nodes of the trial in topological order."""
        yield from self.result.chain()
        if self.probe is not None:
            yield from self.probe.chain()

    @property
    def title(self) -> str:
        """The trial's name in messages."""
        labels = "" if self.label_share == 1 else f" · {100 * self.label_share:g} % of the labels"
        fold = "" if self.n_folds == 1 else f" · fold {self.fold + 1}"
        return f"{self.data} · {self.arm.name} · seed {self.seed}{labels}{fold}"

    @property
    def about(self) -> dict[str, Any]:
        """What is tried, as JSON values."""
        found = {"data": self.data, "arm": self.arm.name, "seed": self.seed, "share": self.share}
        found |= {} if self.label_share == 1 else {"label_share": self.label_share}
        return found | ({} if self.n_folds == 1 else {"fold": self.fold})
