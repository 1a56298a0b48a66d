"""The studies of benchmarks/ fit the public data sets."""

from pathlib import Path

import pytest

from mslm_cli.studies.spec import read_study
from mslm_cli.studies.sweep import check_data

STUDIES = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_finds_its_data_and_learns_from_none_that_it_scores_on(path: Path, shared_data: Path) -> None:
    study = read_study(path)
    check_data(study, shared_data)
    assert any(arm.is_adapted for arm in study.arms())
