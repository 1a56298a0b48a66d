"""``mslm study``: write the usual comparison on one data set as a file for ``mslm sweep``, and run it."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mslm_cli import console
from mslm_cli.config import StudyConfig
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import UsageError
from mslm_cli.provenance import portable_name
from mslm_cli.studies import sweep
from mslm_cli.studies.spec import is_plain

_TEMPLATE = """\
# Written by `mslm study`. Edit it and run `mslm sweep {file} -o {folder}`: finished work is kept.
# Data paths are relative to this folder. docs/sweep.md lists all keys.
model = {model}
text = {text}
seeds = {seeds}
{reading}
[[data]]
name = {name}
train = {train}
{dev}test = {test}

# One lexicon for all arms; any option of `mslm extract-terms`.
[lexicon.lexicon]

# All arms mask the same fraction of the tokens.
[shards]
budget = 0.25

# Every adapted arm is adapted on the same number of tokens.
[adapt]
tokens = {tokens}

[finetune]
epochs = {epochs}
{probe}
[[arm]]
kind = "vanilla"

[[arm]]
kind = "more-steps"

[[arm]]
kind = "word"

[[arm]]
kind = "span"

[[arm]]
kind = "mslm"
elm_rate = 0.5
weights = ["uniform", "ratio:2"]
"""


class StudyData(NamedTuple):
    """The data of a study: labelled files, domain text, and a general text on which to measure forgetting."""

    train: Path
    test: Path
    dev: Path | None = None
    text: Sequence[Path] = ()
    general: Path | None = None


def run(data: StudyData, output: Path, config: StudyConfig) -> dict[str, Any]:
    """The verdict on the usual arms, or, with ``dry_run``, the plan, which leaves nothing behind.

    Raises: as ``sweep.run``; also UsageError if the folder holds a different study, or a path is not UTF-8.
    """
    if config.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, sweep.STUDY)
            draft.write_text(_as_toml(data, draft.parent, config), encoding="utf-8")
            return sweep.plan(draft, output, config, draft.parent)
    file = output / sweep.STUDY
    written = _as_toml(data, output, config)
    if file.is_file() and file.read_text(encoding="utf-8") != written:
        raise UsageError(
            f"{file} already exists with different contents", hint=f"continue with `mslm sweep {file} -o {output}`"
        )
    sweep.claim(output, written)
    return sweep.run(file, output, config, output)


def _as_toml(data: StudyData, output: Path, config: StudyConfig) -> str:
    def relative(path: Path) -> str:
        name = Path(os.path.relpath(path, output)).as_posix()
        if not name.isascii() and name != portable_name(name):
            raise UsageError(f"{path}: a study file can name only paths that are UTF-8", hint="rename it")
        return _string(name)

    return _TEMPLATE.format(
        file=_in_comment(output / sweep.STUDY),
        folder=_in_comment(output),
        model=_string(config.model),
        text="[" + ", ".join(map(relative, data.text)) + "]",
        seeds=list(range(1, config.seeds + 1)),
        reading=_reading(config),
        name=_string(_name_of(data.train)),
        train=relative(data.train),
        dev="" if data.dev is None else f"dev = {relative(data.dev)}\n",
        test=relative(data.test),
        tokens=config.tokens,
        epochs=json.dumps(config.epochs),
        probe="" if data.general is None else f"\n[probe]\ngeneral = {relative(data.general)}\n",
    )


def _reading(config: StudyConfig) -> str:
    """The [reading] table: data options that differ from the defaults."""
    chosen = {name: value for name, value in DataOptions.of(config) if value != DataOptions.model_fields[name].default}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in chosen.items()]
    return "".join(["\n[reading]\n", *lines]) if lines else ""


def _name_of(train: Path) -> str:
    """A name for the data set: that of the folder with its training data."""
    name = train.absolute().parent.name
    return name if is_plain(name) else "data"


def _in_comment(path: Path) -> str:
    """``path`` as one line."""
    return console.visible(str(path)).replace("\n", r"\n")


def _string(value: str) -> str:
    # every JSON string is a TOML string
    return json.dumps(value, ensure_ascii=False)
