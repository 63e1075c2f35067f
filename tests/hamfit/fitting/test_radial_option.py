"""`radial`: how many sampled radial functions the many-body block has."""

from __future__ import annotations

import pytest

from hamfit.data import Dataset
from hamfit.errors import SpecError
from hamfit.features.manybody import ManyBodyBlock
from hamfit.fitting import fit, plan
from hamfit.options import FitOptions
from worlds import liquids, write

OPTIONS = FitOptions(cutoff=1.75, blocks=("manybody",), features=17, l_max=0, threads=1, checkpoint=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("radial") / "a.zarr", [liquids(1, 8, side=3)])


@pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")
@pytest.mark.parametrize("radial", [1, 7])
def test_the_block_has_as_many_radial_functions_as_asked_and_as_predicted(data: Dataset, radial: int) -> None:
    options = OPTIONS.with_changes(radial=radial)
    block = fit(data, options=options).model.blocks[0]
    assert isinstance(block, ManyBodyBlock)
    assert block.layer.mixing.shape[2] == radial
    assert block.n_columns == 17 + radial == plan(data, options).columns


@pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")
def test_the_default_is_thirty_two(data: Dataset) -> None:
    first, second = (fit(data, options=o).model for o in (OPTIONS, OPTIONS.with_changes(radial=32)))
    assert first.theta[0].tobytes() == second.theta[0].tobytes()
    assert plan(data, OPTIONS).columns == 17 + 32


def test_no_radial_function_at_all_is_refused() -> None:
    with pytest.raises(SpecError, match="'radial' cannot be 0"):
        FitOptions(radial=1).with_changes(radial=0)
