"""What fits a time limit: each design adds to the one before, and every one can be run."""

from itertools import pairwise
from pathlib import Path

import pytest

from mslm_cli.studies.preset import designs, largest_that_fits
from mslm_cli.studies.spec import read_study


@pytest.mark.parametrize("has_sources", [True, False])
def test_each_design_adds_to_the_one_before(has_sources: bool) -> None:
    found = designs(has_sources=has_sources)
    for one, following in pairwise(found):
        assert set(one.kinds) <= set(following.kinds)
        assert set(one.label_shares) <= set(following.label_shares)
        assert (one.seeds, one.tokens) <= (following.seeds, following.tokens)
        assert one != following
    assert all(1 in design.label_shares and design.seeds >= 3 for design in found)
    if not has_sources:
        assert len(found[0].label_shares) >= 4, "vanilla alone says something only if its curve can be fitted"


@pytest.mark.parametrize("design", designs(has_sources=True), ids=str)
def test_every_design_is_a_study(tmp_path: Path, design: object) -> None:
    assert hasattr(design, "arms")
    data = '[[data]]\nname = "toy"\ntrain = "t"\ntest = "t"\n[[source]]\nname = "other"\ntrain = "t"\n'
    (tmp_path / "study.toml").write_text(data + design.arms(["other"]))
    names = [arm.name for arm in read_study(tmp_path / "study.toml").arms()]
    assert names[:2] == ["vanilla", "transfer from other"]
    assert ("mslm elm 0.5 from other" in names) == ("mslm" in design.kinds), "adaptation, then transfer, gained most"


def test_the_largest_design_within_the_limit_is_chosen() -> None:
    assert [largest_that_fits([10, 20, 40], limit) for limit in (5, 10, 39, 100)] == [0, 0, 1, 2]
