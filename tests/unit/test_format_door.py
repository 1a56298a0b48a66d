"""A format that is defined here alone, and comes with an installed package, works in every command that reads data."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import plugin
import pytest
import tiny_study
from reading import documents
from typer.testing import Result

from mslm_cli import code_identity
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.studies import sweep
from mslm_cli.studies.spec import read_study

Mslm = Callable[..., Result]

SLASHES = '''
    """Lines of word/TAG under a first line of %slashes."""

    from mslm_cli.corpus.documents import Document
    from mslm_cli.corpus.formats.format import Format
    from mslm_cli.corpus.tagged import TaggedSentence, tagged_corpus

    def rows(source):
        lines = source.lines()
        assert next(lines) == "%slashes"
        return [[cell.rsplit("/", 1) for cell in line.split()] for line in lines]

    def documents(source):
        for number, row in enumerate(rows(source), 1):
            yield Document(f"{source.label}:{number}", " ".join(word for word, _ in row), None, False)

    def labelled(source):
        return tagged_corpus(
            [TaggedSentence(None, False, [w for w, _ in row], [t for _, t in row]) for row in rows(source)]
        )

    def matches(path, head):
        return head.raw.startswith(b"%slashes")

    ENTRY = Format("slashes", "words with their tags behind a slash", matches, documents, labelled)
'''


def as_slashes(columns: Path, slashes: Path) -> None:
    """Write the sentences of a CoNLL file in the toy format."""
    sentences = columns.read_text().strip().split("\n\n")
    rows = [" ".join("/".join(line.split("\t")) for line in sentence.splitlines()) for sentence in sentences]
    slashes.write_text("%slashes\n" + "\n".join(rows) + "\n")


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with {train,dev,test}.slashes, and the package that can read them."""
    for name in ("train", "dev", "test"):
        as_slashes(Path(f"{name}.tsv"), Path(f"{name}.slashes"))
    plugin.install(workplace / "site", monkeypatch, "mslm.formats", "slashes", SLASHES)
    return workplace


def test_text_is_read_as_from_columns(place: Path, mslm: Mslm) -> None:
    for name in ("tsv", "slashes"):
        made = mslm("extract-terms", f"train.{name}", "--pipeline", "none", "-o", f"lexicon-{name}")
        assert made.exit_code == 0, made.stderr
        masked = mslm(
            *("preprocess", f"train.{name}", "--lexicon", f"lexicon-{name}"),
            *("--model", "encoder", "--max-length", 64, "-o", f"shards-{name}"),
        )
        assert masked.exit_code == 0, masked.stderr
    terms = [Path(f"lexicon-{name}/terms.jsonl").read_text().splitlines() for name in ("tsv", "slashes")]
    found = [[json.loads(line)["term"] for line in lines] for lines in terms]
    assert found[0] == found[1] != []
    stats = [json.loads(Path(f"shards-{name}/stats.json").read_bytes()) for name in ("tsv", "slashes")]
    assert stats[0]["n_tokens"] == stats[1]["n_tokens"]
    assert stats[0]["n_mentions"] == stats[1]["n_mentions"] > 0


def test_labels_are_read_as_from_columns(place: Path, mslm: Mslm) -> None:
    assert [s.mentions for s in read_labelled(Path("dev.slashes")).sentences] == [
        s.mentions for s in read_labelled(Path("dev.tsv")).sentences
    ]
    made = mslm(
        *("finetune", "--train", "train.slashes", "--dev", "dev.slashes", "--format", "slashes"),
        *("--model", "encoder", "--epochs", 1, "--threads", 1, "-o", "ner-slashes"),
    )
    assert made.exit_code == 0, made.stderr
    scores = {}
    for name in ("tsv", "slashes"):
        scored = mslm("eval", "ner-slashes", "--data", f"test.{name}", "--train", f"train.{name}", "--json")
        assert scored.exit_code == 0, scored.stderr
        scores[name] = json.loads(scored.stdout)["exact_match"]
    assert scores["tsv"] == scores["slashes"]
    assert scores["tsv"]["gold"] > 0


def test_a_study_reads_it(place: Path, mslm: Mslm) -> None:
    text = tiny_study.HEAD.replace(".tsv", ".slashes").replace('dev = "dev.slashes"\n', "").replace("[1, 2]", "[1]")
    file = tiny_study.write(place, text + '[[arm]]\nkind = "augment"\n\n[[arm]]\nkind = "mslm"\n')
    done = mslm("sweep", file, "-o", "study", "--json", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    assert {arm["name"] for arm in json.loads(done.stdout)["arms"]} == {"vanilla", "augment", "mslm"}


def test_data_written_by_a_study_are_read_despite_the_options(place: Path, mslm: Mslm) -> None:
    """Dev sentences that are split off are columns in UTF-8, the file they come from is not."""
    sentences = read_labelled(Path("train.slashes")).sentences
    text = Path("train.slashes").read_text().replace("patients", "pätients")
    Path("train.slashes").write_bytes(text.encode("latin-1"))
    Path("test.slashes").write_bytes(Path("test.slashes").read_text().replace("with", "wíth").encode("latin-1"))
    head = tiny_study.HEAD.replace(".tsv", ".slashes").replace('dev = "dev.slashes"\n', "").replace("[1, 2]", "[1]")
    head = head.replace("[[data]]", '[reading]\nformat = "slashes"\nencoding = "latin-1"\n\n[[data]]', 1)
    head = head.replace('pipeline = "none"', "from_text = false\nfrom_labels = true")
    file = tiny_study.write(place, head + '[[arm]]\nkind = "augment"\n')
    done = mslm("sweep", file, "-o", "study", "--json", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    (written,) = Path("study/work").glob("split-*/dev.tsv")
    assert "pätients" in written.read_text(encoding="utf-8")
    assert len(read_labelled(written).sentences) == round(0.15 * len(sentences))


def test_a_study_records_how_its_data_are_read(place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        *("study", "--train", "train.slashes", "--dev", "dev.slashes", "--test", "test.slashes", "--format", "slashes"),
        *("--model", "encoder", "--seeds", 1, "--threads", 1, "-o", "study"),
    )
    planned = mslm(*command, "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    monkeypatch.setattr(sweep, "run", lambda *_: {})
    assert mslm(*command).exit_code == 0
    study = read_study(Path("study/study.toml"))
    assert [study.finetune.format, study.shards.format, study.lexicon["lexicon"].format, study.probe.format] == [
        "slashes"
    ] * 4


def test_its_source_is_part_of_the_fingerprint(place: Path) -> None:
    counted = [
        "mslm_toy" in code_identity.sources_of("lexicon", {"format": name}) for name in ("auto", "slashes", "text")
    ]
    assert counted == [True, True, False]


def test_its_name_is_a_format(place: Path, mslm: Mslm) -> None:
    refused = mslm("match", "train.slashes", "--lexicon", "lexicon", "--format", "backslashes")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --format: expected auto, ")
    assert refused.stderr.endswith("conll, text or slashes, found 'backslashes'\n")
    assert documents(Path("train.slashes"), format="text")[0].text.startswith("%slashes")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("slashes", "import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("slashes", "ENTRY = 3", "expected a mslm_cli.corpus.formats.format.Format, found int"),
        ("slashed", SLASHES, "its name is 'slashes'"),
        ("conll", SLASHES, "'conll' is built into mslm"),
    ],
)
def test_a_broken_plug_in_is_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, mslm: Mslm, name: str, code: str, said: str
) -> None:
    plugin.install(workplace / "site", monkeypatch, "mslm.formats", name, code)
    refused = mslm("match", "text.txt", "--lexicon", "lexicon")
    assert refused.exit_code == 5
    assert refused.stderr.startswith(f"error: plug-in '{name}' of package mslm-toy (entry point mslm_toy:ENTRY, group ")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


BRACKETS = '''
    """Text with mentions as [text|Type] under a first line of %brackets, offsets by what the text is without them."""

    import re

    from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
    from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation

    def annotated(source):
        lines = source.lines()
        next(lines)
        for number, line in enumerate(lines, 1):
            text, annotations = "", []
            for part in re.split(r"(\\[[^|]+\\|\\w+\\])", line):
                mention, bar, kind = part.strip("[]").partition("|")
                if bar:
                    annotations.append(Annotation(((len(text), len(text) + len(mention)),), kind))
                text += mention if bar else part
            yield AnnotatedDocument(f"{source.label}:{number}", text, tuple(annotations), has_id=False)

    def matches(path, head):
        return head.raw.startswith(b"%brackets")

    def parts(documents, target):
        yield Part("%brackets\\n")
        for document in documents:
            text, position = "", 0
            for annotation in document.annotations:
                start, end = annotation.bounds
                text += f"{document.text[position:start]}[{document.text[start:end]}|{annotation.type}]"
                position = end
            yield Part(text + document.text[position:] + "\\n")

    ENTRY = standoff_format("brackets", "text with mentions in brackets", matches, annotated, Writer(parts))
'''


def test_a_format_that_annotates_characters(workplace: Path, monkeypatch: pytest.MonkeyPatch, mslm: Mslm) -> None:
    plugin.install(workplace / "site", monkeypatch, "mslm.formats", "brackets", BRACKETS)
    Path("a.txt").write_text("%brackets\nThe [heart failure|Disease]. It was [colon can|Disease]cer.\n")
    corpus = read_labelled(Path("a.txt"))
    assert [[" ".join(s.words[a:b]) for a, b, _ in s.mentions] for s in corpus.sentences] == [
        ["heart failure"],
        ["colon cancer"],
    ]
    assert [document.text for document in documents(Path("a.txt"))] == ["The heart failure. It was colon cancer."]
    written = mslm("convert", "a.txt", "--to", "brackets")
    assert written.stdout == Path("a.txt").read_text()
    predicted = mslm("predict", "ner", "a.txt", "--to", "brackets")
    assert predicted.exit_code == 0, predicted.stderr
    assert re.sub(r"[][]|[|]Disease", "", predicted.stdout) == "%brackets\nThe heart failure. It was colon cancer.\n"
