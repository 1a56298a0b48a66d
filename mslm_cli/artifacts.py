"""Artifacts: the folders passed between commands, each with a manifest.json.

The fingerprint covers what determines the content (kind, schema, options, content of inputs, source code) and nothing
else, so the same work has the same fingerprint.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mslm_cli import code_identity, console, fsio, provenance
from mslm_cli.errors import ArtifactError, DataError, UsageError
from mslm_cli.options import Config

_Options = TypeVar("_Options", bound=Config)

ArtifactKind = Literal["lexicon", "shards", "encoder", "ner", "eval", "silver"]
SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
"""The training log of an encoder or ner artifact, one line per step."""
ENCODER_METRICS = "encoder_metrics.jsonl"
"""In a ner artifact, the training log of its encoder."""
THRESHOLDS = "thresholds.jsonl"
"""In a ner artifact, precision and recall on dev by threshold."""
STATS = "stats.json"
"""Counts of a lexicon or shards artifact."""
MADE_BY = {
    "lexicon": "mslm extract-terms",
    "shards": "mslm preprocess",
    "encoder": "mslm adapt",
    "ner": "mslm finetune",
    "eval": "mslm eval",
    "silver": "mslm label",
}
"""The command that makes each kind of artifact."""

_LOADED_BY_LIBRARIES = frozenset({"shards", "encoder", "ner"})
"""Kinds whose folders are given to libraries, which read any file with a name that they know."""
_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".py", ".arrow"})
"""The names of such files end in these."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Record):
    """An input of an artifact; ``path`` is portable, ``fingerprint`` identifies the content."""

    role: str
    path: str
    fingerprint: str


class FileEntry(_Record):
    """A file of an artifact; ``path`` is relative to the artifact."""

    path: Annotated[str, Field(pattern=r"^[^\x00]+$")]
    bytes: int
    sha256: str


class Manifest(_Record):
    """The content of manifest.json; ``digest`` is the SHA-256 of all other fields."""

    kind: ArtifactKind
    schema_version: int
    fingerprint: str
    config: dict[str, Any]
    inputs: list[Input]
    files: list[FileEntry]
    code: dict[str, str]
    environment: dict[str, str]
    seeds: dict[str, int]
    run: dict[str, Any]
    digest: str | None = None

    def own_digest(self) -> str:
        """The correct value of ``digest``."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A loaded artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    def options(self, model: type[_Options]) -> _Options:
        """The options that the artifact was made with.

        Raises:
            ArtifactError: ``model`` does not accept them; another release of mslm may have other options.
        """
        try:
            return model.model_validate(self.manifest.config)
        except ValidationError as error:
            names = ", ".join(sorted({str(e["loc"][0]) for e in error.errors() if e["loc"]}))
            raise ArtifactError(
                f"{self.path / MANIFEST}: options that this release of mslm does not know: {names}",
                hint=f"make it again with `{MADE_BY[self.manifest.kind]}`",
            ) from error

    def file(self, name: str) -> Path:
        """The path of a file of the artifact.

        Raises:
            ArtifactError: the manifest does not list it.
        """
        if not self.has(name):
            raise ArtifactError(f"{self.path / MANIFEST}: lists no {name}", hint=remaking(self.manifest.kind))
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether the manifest lists the file."""
        return any(entry.path == name for entry in self.manifest.files)

    def sketches(self) -> list[Path]:
        """The sketches of the sentences seen by the artifact and everything upstream."""
        return [self.path / e.path for e in self.manifest.files if Path(e.path).match(f"{SKETCHES}/*.u64")]

    def as_input(self, role: str) -> Input:
        """This artifact as an input of another."""
        return Input(role=role, path=provenance.portable_path(self.path), fingerprint=self.manifest.fingerprint)


def file_input(role: str, path: Path) -> Input:
    """A plain file, a folder of files, or standard input (``-``) as an input, identified by its content.

    Afterwards, standard input can still be read from its start.

    Raises:
        DataError: it is unreadable, or can be read only once.
    """
    if str(path) == "-":
        return Input(role=role, path="<stdin>", fingerprint=fsio.spool_stdin())
    if path.is_fifo():
        raise DataError("a pipe can be read only once", path=path, hint="pass it on standard input, as -")
    try:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            listing = [(p.relative_to(path).as_posix(), fsio.sha256_of(p)) for p in files]
            fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        else:
            fingerprint = fsio.sha256_of(path)
    except FileNotFoundError as error:
        raise DataError("no such file or folder", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=error.filename) from error
    return Input(role=role, path=provenance.portable_path(path), fingerprint=fingerprint)


@dataclass
class StagedArtifact:
    """An artifact in the making: fill ``path``; ``run`` and ``seeds`` go into the manifest."""

    path: Path
    run: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ArtifactBuild:
    """The recipe of an artifact: kind, options, inputs and output folder."""

    kind: ArtifactKind
    output: Path
    config: Config
    inputs: Sequence[Input]
    started: float = field(default_factory=time.perf_counter, compare=False)

    @cached_property
    def code(self) -> dict[str, str]:
        """The hashes of the source code that determines the content (see ``code_identity``)."""
        return code_identity.sources_of(self.kind, self.config.model_dump())

    @property
    def fingerprint(self) -> str:
        """The SHA-256 that identifies the work."""
        identity = {
            "kind": self.kind,
            "schema_version": SCHEMA_VERSION,
            "config": self.config.identity(),
            "inputs": [[i.role, i.fingerprint] for i in self.inputs],
            "code": self.code,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def is_done(self, *, overwrite: bool) -> bool:
        """Whether the output already is this artifact (with a note on stderr).

        Raises:
            UsageError: the output exists with other content, and ``overwrite`` is false. Anything but an artifact of
                the same kind is never overwritten.
            ArtifactError: the output is damaged, and ``overwrite`` is false.
            UnavailableError: the output is not writable.
        """
        fsio.recover(self.output)
        if not self.output.exists():
            fsio.check_writable(self.output)
            return False
        kind = kind_at(self.output)
        if kind is None:
            raise UsageError(f"{self.output} exists and is not an mslm artifact, so it is not overwritten")
        if kind != self.kind:
            raise UsageError(f"{self.output} exists and is {_a(kind)}, not {_a(self.kind)}")
        if overwrite:
            return False
        manifest = load(self.output, self.kind).manifest
        if manifest.fingerprint == self.fingerprint:
            console.note(f"{self.output} is up to date (use --overwrite to make it again)")
            return True
        difference = _difference(manifest, self)
        raise UsageError(f"{self.output} exists: {difference}", hint="choose another -o, or use --overwrite")

    @contextmanager
    def publish(self) -> Iterator[StagedArtifact]:
        """Yield a staged artifact that becomes the output, with its manifest, if the block succeeds."""
        with fsio.staged_folder(self.output) as folder:
            staged = StagedArtifact(folder)
            yield staged
            files = [
                FileEntry(path=p.relative_to(folder).as_posix(), bytes=p.stat().st_size, sha256=fsio.sha256_of(p))
                for p in sorted(folder.rglob("*"))
                if p.is_file()
            ]
            manifest = Manifest(
                kind=self.kind,
                schema_version=SCHEMA_VERSION,
                fingerprint=self.fingerprint,
                config=self.config.model_dump(mode="json"),
                inputs=list(self.inputs),
                files=files,
                code={**provenance.code_version(), **self.code},
                environment=provenance.environment(),
                seeds=staged.seeds,
                run={"duration_s": round(time.perf_counter() - self.started, 3), **staged.run},
            )
            manifest = manifest.model_copy(update={"digest": manifest.own_digest()})
            fsio.sync_tree(folder)
            fsio.write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def kind_at(folder: Path) -> ArtifactKind | None:
    """The artifact kind in the manifest of ``folder``, or None if it has no readable manifest."""
    try:
        kind = json.loads((folder / MANIFEST).read_bytes())["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    known: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
    return next((k for k in known if k == kind), None)


def remaking(kind: ArtifactKind) -> str:
    """What to do about a damaged artifact."""
    return f"make it again with `{MADE_BY[kind]} ... --overwrite`"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} artifact"


def _difference(found: Manifest, wanted: ArtifactBuild) -> str:
    options = wanted.config.identity()
    keys = sorted(k for k in options if found.config.get(k) != options[k])
    if keys:
        pairs = ", ".join(f"{k} was {found.config.get(k)!r}, is {options[k]!r}" for k in keys[:4])
        return f"made with other options ({pairs})"
    roles = {i.role for i in found.inputs if i not in wanted.inputs} | {
        i.role for i in wanted.inputs if i not in found.inputs
    }
    if roles:
        return f"made from other inputs ({', '.join(sorted(roles))})"
    code = {name: value for name, value in found.code.items() if name != "mslm"}
    if changed := code_identity.difference(code, wanted.code):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return f"made with other code ({', '.join(changed[:3])}{more})"
    return f"made with mslm {found.code.get('mslm', 'unknown')}"


def load(path: Path, kind: ArtifactKind) -> Artifact:
    """Load the artifact at ``path`` after checking its kind, schema and every byte.

    Raises:
        ArtifactError: it is missing, damaged, or has another kind or schema; the message says what was expected, what
            was found, and which command makes it again.
    """
    remedy = f"make one with `{MADE_BY[kind]}`"
    manifest_path = path / MANIFEST
    if not path.exists():
        raise ArtifactError(f"{path}: no such {kind} artifact", hint=remedy)
    if not manifest_path.is_file():
        found = f"no {MANIFEST}" if path.is_dir() else "a file"
        raise ArtifactError(f"{path}: expected {_a(kind)}, found {found}", hint=remedy)
    try:
        raw = json.loads(manifest_path.read_bytes())
        version = raw["schema_version"]
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path}: expected schema version {SCHEMA_VERSION}, found {version}",
                hint="it was made with another release of mslm; " + remedy,
            )
        manifest = Manifest.model_validate(raw)
        if manifest.digest not in (None, manifest.own_digest()):
            raise ValueError("its content was changed after it was written")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error.error_count()} invalid fields" if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(f"{manifest_path}: damaged manifest: {reason}", hint=remedy) from error
    if manifest.kind != kind:
        raise ArtifactError(f"{path}: expected {_a(kind)}, found {_a(manifest.kind)}", hint=remedy)
    remedy = remaking(kind)
    root = path.resolve()
    for entry in manifest.files:
        file = path / entry.path
        resolved = file.resolve()
        if not resolved.is_relative_to(root):
            raise ArtifactError(f"{manifest_path}: lists {entry.path}, which is outside the artifact", hint=remedy)
        if resolved != root / entry.path:
            raise ArtifactError(f"{file}: is a link, and artifacts contain no links", hint=remedy)
        if not file.is_file():
            raise ArtifactError(f"{file}: missing from the {kind} artifact", hint=remedy)
        size = file.stat().st_size
        if size != entry.bytes:
            raise ArtifactError(f"{file}: damaged: expected {entry.bytes:,} bytes, found {size:,}", hint=remedy)
        if fsio.sha256_of(file) != entry.sha256:
            raise ArtifactError(f"{file}: damaged: its SHA-256 differs from the manifest", hint=remedy)
    if kind in _LOADED_BY_LIBRARIES and (extra := _unlisted(path, manifest)):
        raise ArtifactError(
            f"{extra}: not listed in {MANIFEST}, so it was added after the {kind} artifact was made",
            hint="move it out of the folder",
        )
    return Artifact(path, manifest)


def _unlisted(path: Path, manifest: Manifest) -> Path | None:
    """A file in the folder that a library might read, but that the manifest does not list."""
    listed = {MANIFEST, *(entry.path for entry in manifest.files)}
    found = (p for p in sorted(path.rglob("*")) if p.suffix in _SUFFIXES and not p.is_dir())
    return next((p for p in found if p.relative_to(path).as_posix() not in listed), None)


def load_if_artifact(path: Path, *kinds: ArtifactKind) -> Artifact | None:
    """The artifact at ``path``, of one of ``kinds``, or None if the folder is not an artifact.

    Raises:
        ArtifactError: it is an artifact, but damaged or of another kind.
    """
    if not (path / MANIFEST).is_file():
        return None
    found = kind_at(path)
    return load(path, found if found in kinds else kinds[0])


SKETCHES = "seen"
"""In an artifact, the folder with sketches of the sentences seen by it and everything upstream."""


def sketch_prefix(model: Artifact | None) -> str:
    """What precedes the names of the sketches of a model to start from, to tell its data from new ones."""
    return "model-" if model and model.manifest.kind == "ner" else ""


def pass_on_sketches(sources: Sequence[Artifact | None], folder: Path, *, prefix: str = "") -> None:
    """Copy the sketches of ``sources`` to the staged artifact in ``folder``, with ``prefix`` before their names."""
    target = folder / SKETCHES
    target.mkdir(exist_ok=True)
    for source in sources:
        for sketch in source.sketches() if source else []:
            name = prefix + sketch.name
            if (target / name).exists() and (target / name).read_bytes() != sketch.read_bytes():
                name = f"{prefix}{sketch.stem}-{fsio.sha256_of(sketch)[:8]}.u64"
            shutil.copyfile(sketch, target / name)
