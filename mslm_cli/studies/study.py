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
from mslm_cli.studies import preset, sweep
from mslm_cli.studies.preset import Design, toml_string
from mslm_cli.studies.spec import is_plain

_TEMPLATE = """\
# Written by `mslm study`. Edit it and run `mslm sweep {file} -o {folder}`: finished work is kept.
# Data paths are relative to this folder. docs/sweep.md lists all keys.
model = {model}
text = {text}
{train_text}seeds = {seeds}
{label_shares}{reading}
[[data]]
name = {name}
train = {train}
{dev}{test}
{sources}
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
{arms}"""


_SOURCE = """
# All seeds of its transfer arm go on from one model.
[[source]]
name = {name}
train = {train}
epochs = 2
per_seed = false
"""


class StudyData(NamedTuple):
    """The data of a study: labelled files, domain text, and a general text on which to measure forgetting.

    sources: labelled files of other corpora, to learn first.
    """

    train: Path
    test: Path | None
    dev: Path | None = None
    text: Sequence[Path] = ()
    general: Path | None = None
    sources: Sequence[Path] = ()


def run(data: StudyData, output: Path, config: StudyConfig) -> dict[str, Any]:
    """The verdict on the usual arms, or, with ``dry_run``, the plan, which leaves nothing behind.

    With a time limit, the arms, shares and seeds are those that fit it, by speeds measured on this machine; a study
    that has been begun goes on with those it has.

    Raises: as ``sweep.run``; also UsageError if there is neither a test set nor a number of folds, or both, the folder
        holds a different study, or a path is not UTF-8.
    """
    if (data.test is None) == (config.folds is None):
        raise UsageError("a study needs either --test or --folds", hint="with few labels: --folds 5")
    file = output / sweep.STUDY
    designs = _designs(data, config)
    begun = file.read_text(encoding="utf-8") if file.is_file() else None
    if not config.dry_run and begun is not None:
        if begun not in [_as_toml(data, output, config, design) for design in designs]:
            raise UsageError(
                f"{file} already exists with different contents", hint=f"continue with `mslm sweep {file} -o {output}`"
            )
        return sweep.run(file, output, config, output)
    with tempfile.TemporaryDirectory() as folder:
        design = _chosen(designs, data, Path(folder), config)
        if config.dry_run:
            draft = Path(folder, sweep.STUDY)
            draft.write_text(_as_toml(data, draft.parent, config, design), encoding="utf-8")
            return sweep.plan(draft, output, config, draft.parent)
    sweep.claim(output, _as_toml(data, output, config, design))
    return sweep.run(file, output, config, output)


def _limit_minutes(config: StudyConfig) -> int | None:
    return preset.OVERNIGHT_MINUTES if config.overnight else config.minutes


def _designs(data: StudyData, config: StudyConfig) -> list[Design]:
    """The designs to choose from: one, unless there is a time limit.

    Raises:
        UsageError: options contradict the time limit.
    """
    if _limit_minutes(config) is None:
        return [Design(config.seeds, config.tokens, epochs=config.epochs)]
    limit = "--overnight" if config.overnight else "--minutes"
    if config.overnight and config.minutes is not None:
        raise UsageError("--minutes and --overnight both limit the time", hint="give one of them")
    for name in ("seeds", "tokens", "epochs"):
        if getattr(config, name) != StudyConfig.model_fields[name].default:
            raise UsageError(f"--{name} cannot be set beside {limit}", hint=f"{limit} chooses it; or edit study.toml")
    return preset.designs(has_sources=bool(data.sources))


def _chosen(designs: Sequence[Design], data: StudyData, folder: Path, config: StudyConfig) -> Design:
    """The largest design that fits the time limit, by an estimate measured on this machine."""
    limit = _limit_minutes(config)
    if limit is None:
        return designs[0]
    files = [folder / f"{i}.toml" for i in range(len(designs))]
    for file, design in zip(files, designs, strict=True):
        file.write_text(_as_toml(data, folder, config, design), encoding="utf-8")
    console.note("measuring the speed of this machine")
    with console.warnings_only():
        seconds = sweep.seconds_needed(files, config, folder)
    number = preset.largest_that_fits(seconds, 60 * limit)
    design = designs[number]
    kinds = ["vanilla", *(["transfer"] if data.sources else []), *design.kinds]
    shares = ", ".join(f"{100 * share:g} %" for share in design.label_shares)
    needed = seconds[number] / 60
    told = f"in {limit} minutes" if needed <= limit else f"{limit} minutes are too few, so the smallest study"
    console.note(
        f"{told}: {', '.join(kinds)}, with {shares} of the labels, {design.seeds} seeds; about {needed:.0f} minutes"
    )
    return design


def _as_toml(data: StudyData, output: Path, config: StudyConfig, design: Design) -> str:
    def relative(path: Path) -> str:
        name = Path(os.path.relpath(path, output)).as_posix()
        if not name.isascii() and name != portable_name(name):
            raise UsageError(f"{path}: a study file can name only paths that are UTF-8", hint="rename it")
        return toml_string(name)

    return _TEMPLATE.format(
        file=_in_comment(output / sweep.STUDY),
        folder=_in_comment(output),
        model=toml_string(config.model),
        text="[" + ", ".join(map(relative, data.text)) + "]",
        seeds=list(range(1, design.seeds + 1)),
        label_shares=f"label_shares = {list(design.label_shares)}\n" if len(design.label_shares) > 1 else "",
        reading=_reading(config),
        name=toml_string(_name_of(data.train)),
        train=relative(data.train),
        dev="" if data.dev is None else f"dev = {relative(data.dev)}\n",
        test=f"folds = {config.folds}" if data.test is None else f"test = {relative(data.test)}",
        # or else every fold would need its own adaptation, on the text of its training sentences
        train_text="train_text = false\n" if data.test is None and data.text else "",
        sources="".join(
            _SOURCE.format(name=toml_string(name), train=relative(path)) for name, path in _sources(data).items()
        ),
        tokens=design.tokens,
        epochs=json.dumps(design.epochs),
        probe="" if data.general is None else f"\n[probe]\ngeneral = {relative(data.general)}\n",
        arms=design.arms(list(_sources(data))),
    )


def _sources(data: StudyData) -> dict[str, Path]:
    """The other corpora, by name: that of their folder, or of the file if it is beside --train."""
    names = [_name_of(path) for path in data.sources]
    names = [
        path.stem if name == _name_of(data.train) and is_plain(path.stem) else name
        for name, path in zip(names, data.sources, strict=True)
    ]
    return {
        name if names.count(name) == 1 else f"{name} {number}": path
        for number, (name, path) in enumerate(zip(names, data.sources, strict=True), 1)
    }


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
