"""``mslm preprocess`` as a user meets it: streams, exit codes, messages, files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mslm_cli import artifacts
from mslm_cli.cli.app import app
from mslm_cli.config import ExtractTermsConfig
from mslm_cli.corpus.seen import Sketch
from mslm_cli.masking.shards import ShardReader
from mslm_cli.terms.lexicon import Term, write_terms

TEXT = "\n\n".join(
    f"The patients with chronic kidney disease had aspirin after {n} days. The risk of heart failure was acute."
    for n in range(30)
)
Mslm = Callable[..., Result]


@pytest.fixture
def mslm(in_tmp: Path, tiny_encoder: Path) -> Mslm:
    """Run ``mslm preprocess`` with the tiny encoder in a folder with text.txt and a lexicon."""
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    make_lexicon(Path("lexicon"), ["chronic kidney disease", "aspirin", "heart failure"])

    def run(*arguments: str, stdin: str | None = None) -> Result:
        model = [] if "--model" in arguments else ["--model", str(tiny_encoder), "--max-length", "64"]
        return CliRunner().invoke(app, ["preprocess", *arguments, *model], input=stdin)

    return run


def make_lexicon(folder: Path, terms: list[str]) -> None:
    with artifacts.ArtifactBuild("lexicon", folder, ExtractTermsConfig(), []).publish() as staged:
        write_terms(staged.path / "terms.jsonl", [Term(t, ("user",)) for t in terms])
        sketch = Sketch()
        sketch.add("A sentence that the lexicon was made from.")
        (staged.path / artifacts.SKETCHES).mkdir()
        sketch.save(staged.path / artifacts.SKETCHES / "extract-terms.u64")


def assert_refused(result: Result, exit_code: int, *parts: str, output: str = "shards") -> None:
    assert result.exit_code == exit_code, result.stderr
    assert result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last
    assert [p for p in Path().iterdir() if output in p.name] == [], "nothing half-written is left"


@pytest.mark.parametrize(
    ("given", "unused"),
    [
        (["--strategy", "word", "--elm-rate", "0.3", "--rate", "0.2"], ["elm-rate"]),
        (["--rate", "0.3", "--lexicon", "lexicon"], ["rate"]),
        (["--strategy", "span", "--pmi-size", "9"], ["pmi-size"]),
        (["--strategy", "word", "--rate", "0.3"], []),
    ],
)
def test_an_option_that_does_not_apply_is_named(mslm: Mslm, given: list[str], unused: list[str]) -> None:
    result = mslm("text.txt", *given, "-o", "shards")
    assert result.exit_code == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if "does not apply" in line]
    strategy = given[given.index("--strategy") + 1] if "--strategy" in given else "mslm"
    assert said == [f"warning: --{name} does not apply to --strategy {strategy}" for name in unused]


def test_the_path_goes_to_stdout_and_the_realised_rates_to_stderr(mslm: Mslm) -> None:
    result = mslm("text.txt", "--lexicon", "lexicon", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "shards\n"
    stats = json.loads(Path("shards/stats.json").read_text())
    for share in (stats["realised"]["all_tokens"], stats["realised"]["ds_tokens"], stats["ds_share"]):
        assert share > 0
        assert f"{100 * share:.2f} %" in result.stderr or f"{100 * share:.1f} %" in result.stderr
    assert f"{stats['n_sequences']} sequences from 60 sentences" in result.stderr


def test_the_artifact_holds_what_adapt_needs(mslm: Mslm) -> None:
    assert mslm("text.txt", "--lexicon", "lexicon", "-o", "shards", "--copies", "3").exit_code == 0
    artifact = artifacts.load(Path("shards"), "shards")
    files = [entry.path for entry in artifact.manifest.files]
    assert [f for f in files if f.endswith(".arrow")] == [
        "data-00000.arrow",
        *(f"masks-{copy:03}-00000.arrow" for copy in range(3)),
    ]
    assert "tokenizer/tokenizer.json" in files
    assert [(i.role, i.path) for i in artifact.manifest.inputs] == [
        ("text", "text.txt"),
        ("tokenizer", "tokenizer"),
        ("lexicon", "lexicon"),
    ]
    assert artifact.manifest.seeds == {"masks": 0}
    assert ShardReader(Path("shards")).n_copies == 3


def test_sketches_of_this_text_and_of_the_lexicon_go_along(mslm: Mslm) -> None:
    assert mslm("text.txt", "--lexicon", "lexicon", "-o", "shards").exit_code == 0
    own = Sketch.load(Path("shards/seen/preprocess.u64"))
    assert own.count(["the risk of heart failure was acute", "a sentence that nobody has ever read"]) == 1
    passed_on = Sketch.load(Path("shards/seen/extract-terms.u64"))
    assert passed_on.count(["A sentence that the lexicon was made from ."]) == 1


def test_the_same_work_is_not_done_twice(mslm: Mslm) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "-o", "shards"]
    assert mslm(*arguments).exit_code == 0
    before = Path("shards/manifest.json").stat().st_mtime_ns
    again = mslm(*arguments)
    assert (again.exit_code, again.stdout) == (0, "shards\n")
    assert "up to date" in again.stderr
    assert Path("shards/manifest.json").stat().st_mtime_ns == before
    other = mslm(*arguments, "--blm-rate", "0.3")
    assert other.exit_code == 2
    assert "blm_rate was 0.15, is 0.3" in other.stderr
    assert mslm(*arguments, "--blm-rate", "0.3", "--overwrite").exit_code == 0
    assert json.loads(Path("shards/stats.json").read_text())["asked"]["blm_rate"] == 0.3


def test_the_same_work_has_the_same_bytes(mslm: Mslm) -> None:
    for output in ("one", "two"):
        assert mslm("text.txt", "--lexicon", "lexicon", "-o", output, "--copies", "2").exit_code == 0
    for file in sorted(Path("one").glob("*.arrow")):
        assert file.read_bytes() == Path("two", file.name).read_bytes()
    fingerprints = [artifacts.load(Path(o), "shards").manifest.fingerprint for o in ("one", "two")]
    assert fingerprints[0] == fingerprints[1]


def test_the_seed_changes_only_the_masks(mslm: Mslm) -> None:
    for seed in ("1", "2"):
        assert mslm("text.txt", "--lexicon", "lexicon", "-o", f"seed{seed}", "--seed", seed).exit_code == 0
    one, two = ShardReader(Path("seed1")), ShardReader(Path("seed2"))
    everything = np.arange(len(one))
    assert one.batch(everything).input_ids.tolist() == two.batch(everything).input_ids.tolist()
    assert one.epoch(0).batch(everything).positions.tolist() != two.epoch(0).batch(everything).positions.tolist()


def test_token_masks_without_a_lexicon_are_all_generic(mslm: Mslm) -> None:
    result = mslm("text.txt", "--strategy", "token", "--rate", "0.4", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    stats = json.loads(Path("shards/stats.json").read_text())
    assert stats["asked"] == {"rate": 0.4}
    assert stats["n_mentions"] == 0
    assert 0.3 < stats["realised"]["all_tokens"] < 0.5
    n_generic, n_ds_term = ShardReader(Path("shards")).epoch(0).count_kinds()
    assert n_generic > 0 == n_ds_term


def test_token_with_a_lexicon_reports_masked_ds_tokens(mslm: Mslm) -> None:
    assert mslm("text.txt", "--strategy", "token", "--lexicon", "lexicon", "-o", "shards").exit_code == 0
    stats = json.loads(Path("shards/stats.json").read_text())
    assert stats["n_mentions"] == 90
    assert stats["realised"]["ds_tokens"] > 0
    assert stats["copies"][0]["n_ds_term"] == 0


def test_mask_replace_is_obeyed(mslm: Mslm) -> None:
    assert mslm("text.txt", "--lexicon", "lexicon", "--mask-replace", "1,0,0", "-o", "shards").exit_code == 0
    assert json.loads(Path("shards/stats.json").read_text())["corrupted"] == {"mask": 1, "random": 0, "unchanged": 0}


def test_text_from_standard_input(mslm: Mslm) -> None:
    result = mslm("-", "--lexicon", "lexicon", "-o", "piped", stdin=TEXT)
    assert result.exit_code == 0, result.stderr
    assert mslm("text.txt", "--lexicon", "lexicon", "-o", "shards").exit_code == 0
    assert Path("piped/data-00000.arrow").read_bytes() == Path("shards/data-00000.arrow").read_bytes()
    manifests = [artifacts.load(Path(o), "shards").manifest for o in ("piped", "shards")]
    assert manifests[0].inputs[0].path == "<stdin>"
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert "up to date" in mslm("-", "--lexicon", "lexicon", "-o", "piped", stdin=TEXT).stderr
    assert mslm("-", "--lexicon", "lexicon", "-o", "piped", stdin=TEXT + " More.").exit_code == 2


def test_the_lexicon_may_come_through_a_pipe(mslm: Mslm) -> None:
    result = mslm("text.txt", "--lexicon", "-", "-o", "shards", stdin="lexicon\n")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("shards/stats.json").read_text())["n_mentions"] == 90


@pytest.mark.parametrize("strategy", ["mslm", "entity"])
def test_ds_terms_without_a_lexicon_are_a_usage_error(mslm: Mslm, strategy: str) -> None:
    refused = mslm("text.txt", "--strategy", strategy, "-o", "shards")
    assert_refused(refused, 2, f"--strategy {strategy}", "--lexicon", "mslm extract-terms", "--strategy token")


def stats_of(output: str) -> dict[str, Any]:
    stats: dict[str, Any] = json.loads(Path(output, "stats.json").read_text())
    return stats


@pytest.mark.parametrize("strategy", ["token", "word", "span", "pmi", "entity", "mslm"])
def test_every_strategy_meets_the_budget_in_every_copy(mslm: Mslm, strategy: str) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "--strategy", strategy, "--budget", "0.2", "--elm-rate", "0.3"]
    result = mslm(*arguments, "--copies", "3", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    stats = stats_of("shards")
    assert stats["asked"] == ({"elm_rate": 0.3} if strategy == "mslm" else {}) | {"budget": 0.2}
    for copy in stats["copies"]:
        # 600 tokens: half a mention of 3 words is more than 0.2 points
        assert abs(copy["realised"]["all_tokens"] - 0.2) < 3 / stats["n_tokens"]
        assert 0 < list(copy["rates"].values())[-1] < 1


def test_masks_do_not_depend_on_the_size_of_a_block(mslm: Mslm) -> None:
    for strategy in ("span", "pmi", "mslm"):
        arguments = ["text.txt", "--lexicon", "lexicon", "--strategy", strategy, "--budget", "0.2", "--elm-rate", "0.2"]
        for size in ("200", "100000"):
            assert mslm(*arguments, "--block-chars", size, "-o", f"{strategy}{size}").exit_code == 0
        small, large = (ShardReader(Path(f"{strategy}{size}")) for size in ("200", "100000"))
        everything = np.arange(len(small))
        one, two = (reader.epoch(0).batch(everything) for reader in (small, large))
        for name, column in vars(one).items():
            assert column.tolist() == getattr(two, name).tolist()


def test_blocks_of_which_nothing_is_left(mslm: Mslm) -> None:
    """Every document of the second file is a duplicate, so that its blocks are empty."""
    Path("twice.txt").write_text(Path("text.txt").read_text())
    options = ["--lexicon", "lexicon", "--block-chars", "100", "--deduplicate", "near"]
    once, both = (
        mslm(*texts, *options, "-o", name)
        for name, texts in (("once", ["text.txt"]), ("both", ["text.txt", "twice.txt"]))
    )
    assert once.exit_code == both.exit_code == 0, once.stderr + both.stderr
    assert len(ShardReader(Path("both"))) == len(ShardReader(Path("once")))
    assert stats_of("both")["left_out"]["duplicates"] > stats_of("once")["left_out"]["duplicates"]
    assert "documents left out: the same as an earlier one, or nearly" in both.stderr


def test_an_elm_rate_beyond_the_budget_names_the_largest_feasible(mslm: Mslm) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "--budget", "0.1", "-o", "shards", "--elm-rate"]
    refused = mslm(*arguments, "0.9")
    assert_refused(refused, 2, "--elm-rate 0.9 alone", "the largest feasible --elm-rate is 0.")
    largest = refused.stderr.strip().rstrip(")").split()[-1]
    assert mslm(*arguments, largest).exit_code == 0


def test_a_budget_above_the_maskable_fraction_is_refused(mslm: Mslm) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "--strategy", "entity", "--budget", "0.9", "-o", "shards"]
    assert_refused(mslm(*arguments), 2, "a budget of 0.9: entity can mask at most 0.")


def test_a_schedule_changes_the_budget_of_each_copy(mslm: Mslm) -> None:
    arguments = ["text.txt", "--strategy", "word", "--schedule", "linear:0.3:0.15", "-o", "shards"]
    result = mslm(*arguments, "--copies", "4")
    assert result.exit_code == 0, result.stderr
    realised = [copy["realised"]["all_tokens"] for copy in stats_of("shards")["copies"]]
    assert realised == pytest.approx([0.3, 0.25, 0.2, 0.15], abs=0.005)
    assert stats_of("shards")["asked"] == {"schedule": "linear:0.3:0.15"}
    assert "word: schedule linear:0.3:0.15, 4 copies" in result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--schedule", "linear:0.3:0.15"], "--copies EPOCHS"),
        (["--schedule", "linear:0.3:0.15", "--copies", "2", "--budget", "0.2"], "drop --budget"),
        (["--schedule", "linear:0.3"], "linear:FROM:TO"),
        (["--schedule", "linear:0.3:1.5", "--copies", "2"], "linear:FROM:TO"),
        (["--budget", "1.5"], "--budget"),
    ],
)
def test_invalid_budgets_are_usage_errors(mslm: Mslm, more: list[str], said: str) -> None:
    assert_refused(mslm("text.txt", "--strategy", "word", "-o", "shards", *more), 2, said)


def test_span_lengths_are_reported_as_drawn_and_as_masked(mslm: Mslm) -> None:
    result = mslm("text.txt", "--strategy", "span", "--rate", "0.3", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    lengths = stats_of("shards")["span_lengths"]
    for name in ("drawn", "realised"):
        counts = {int(n): count for n, count in lengths[name]["counts"].items()}
        assert set(counts) == set(range(1, 11))
        mean = sum(n * count for n, count in counts.items()) / sum(counts.values())
        assert lengths[name]["mean"] == pytest.approx(mean)
    assert lengths["realised"]["mean"] < lengths["drawn"]["mean"]
    drawn, realised = lengths["drawn"]["mean"], lengths["realised"]["mean"]
    assert f"mean span length: {drawn:.2f} words drawn, {realised:.2f} masked" in result.stderr


def test_collocations_come_from_the_text(mslm: Mslm) -> None:
    arguments = ["text.txt", "--strategy", "pmi", "-o"]
    result = mslm(*arguments, "shards")
    assert result.exit_code == 0, result.stderr
    assert all(stats_of("shards")["n_collocations"][n] > 0 for n in "2345")
    assert "collocations: " in result.stderr
    assert mslm(*arguments, "few", "--pmi-size", "4").exit_code == 0
    assert stats_of("few")["n_collocations"] == {"2": 2, "3": 1, "4": 0, "5": 0}
    result = mslm(*arguments, "none", "--pmi-min-count", "1000")
    assert "warning: no collocation occurs more than 1000 times" in result.stderr
    assert not any(stats_of("none")["n_collocations"].values())


def test_none_masks_nothing(mslm: Mslm) -> None:
    result = mslm("text.txt", "--strategy", "none", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    assert stats_of("shards")["realised"]["all_tokens"] == 0
    assert ShardReader(Path("shards")).epoch(0).count_kinds() == (0, 0)


def test_a_lexicon_that_matches_nothing_is_warned_about_with_numbers(mslm: Mslm) -> None:
    make_lexicon(Path("other"), ["myocardial infarction", "sepsis"])
    result = mslm("text.txt", "--lexicon", "other", "-o", "shards")
    assert result.exit_code == 0, result.stderr
    assert "warning: none of the lexicon's 2 terms occurs in the text (60 sentences)" in result.stderr
    n_generic, n_ds_term = ShardReader(Path("shards")).epoch(0).count_kinds()
    assert n_generic > 0 == n_ds_term


def test_a_length_above_the_models_limit_names_the_limit(mslm: Mslm, tiny_encoder: Path) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "-o", "shards", "--model", str(tiny_encoder)]
    assert_refused(mslm(*arguments, "--max-length", "65"), 2, "--max-length 65", "at most 64 tokens")
    assert mslm(*arguments, "--max-length", "64").exit_code == 0


def test_roberta_numbers_its_positions_from_after_the_padding(mslm: Mslm, tiny_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "roberta"
    folder.mkdir()
    config = {"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_encoder / name).read_bytes())
    arguments = ["text.txt", "--lexicon", "lexicon", "-o", "shards", "--model", str(folder)]
    assert_refused(mslm(*arguments, "--max-length", "65"), 2, "at most 64 tokens")


@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_an_empty_corpus_is_a_data_error_that_names_the_file(mslm: Mslm, content: str) -> None:
    Path("empty.txt").write_text(content)
    assert_refused(mslm("empty.txt", "--lexicon", "lexicon", "-o", "shards"), 3, "empty.txt")


def test_text_without_known_words_is_a_data_error(mslm: Mslm) -> None:
    Path("controls.txt").write_text("\x01\x02 \x03\n")
    assert_refused(mslm("controls.txt", "--lexicon", "lexicon", "-o", "shards"), 3, "no words")


def test_text_that_cannot_be_read_names_file_and_line(mslm: Mslm) -> None:
    Path("latin.txt").write_bytes(b"the study\n\nthe caf\xe9 study\n")
    assert_refused(mslm("latin.txt", "--lexicon", "lexicon", "-o", "shards"), 3, "latin.txt:3", "--encoding")
    assert mslm("latin.txt", "--lexicon", "lexicon", "-o", "shards", "--encoding", "latin-1").exit_code == 0


def test_a_missing_text_is_a_data_error(mslm: Mslm) -> None:
    assert_refused(mslm("nowhere.txt", "--lexicon", "lexicon", "-o", "shards"), 3, "nowhere.txt")


def test_a_lexicon_that_is_not_one_is_an_artifact_error(mslm: Mslm) -> None:
    assert_refused(mslm("text.txt", "--lexicon", "nowhere", "-o", "shards"), 4, "nowhere", "mslm extract-terms")
    assert mslm("text.txt", "--strategy", "token", "-o", "baseline").exit_code == 0
    refused = mslm("text.txt", "--lexicon", "baseline", "-o", "shards")
    assert_refused(refused, 4, "expected a lexicon artifact, found a shards artifact")


def test_a_model_without_mask_token_or_without_words_is_refused(mslm: Mslm, tiny_encoder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    for name, mask, pre_tokenizer, said in [
        ("causal", {}, pre_tokenizers.Whitespace(), "no mask token"),
        ("flat", {"mask_token": "[MASK]"}, None, "does not separate words"),
    ]:
        backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "[MASK]": 2, "x": 3, "the": 4}, "[UNK]"))
        if pre_tokenizer is not None:
            backend.pre_tokenizer = pre_tokenizer
        folder = tmp_path / name
        special = {"unk_token": "[UNK]", "pad_token": "[PAD]", **mask}
        PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
        (folder / "config.json").write_bytes((tiny_encoder / "config.json").read_bytes())
        arguments = ["text.txt", "--lexicon", "lexicon", "--model", str(folder), "--max-length", "32"]
        assert_refused(mslm(*arguments, "-o", "shards"), 5, said)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--elm-rate", "1.5", "--elm-rate"), ("--mask-replace", "0.5,0.5,0.5", "sum to 1"), ("--copies", "0", "--copies")],
)
def test_options_out_of_bounds_are_usage_errors(mslm: Mslm, option: str, value: str, said: str) -> None:
    assert_refused(mslm("text.txt", "--lexicon", "lexicon", "-o", "shards", option, value), 2, said)
