from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hamfit.comparison import RolloutComparison, compare_rollouts
from hamfit.errors import SpecError, StoreError
from hamfit.fitting import FitResult
from hamfit.reports import write_report
from hamfit.reports.text import UNKNOWN, counted, number, unit, with_error
from rolled import Ring, roll, write_rollouts
from worlds import liquids

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a strict reader sees: open elements, visible text, attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.mistakes: list[str] = []
        self.text: list[str] = []
        self.tags: Counter[str] = Counter()
        self.values: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.values += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.values += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture(scope="module")
def rings(ring: Ring) -> RolloutComparison:
    return compare_rollouts(ring.model, ring.reference, ring.rollouts)


@pytest.fixture(scope="module")
def liquid(binary_fit: FitResult, tmp_path_factory: pytest.TempPathFactory) -> RolloutComparison:
    folder = tmp_path_factory.mktemp("liquid")
    sides = [
        write_rollouts(
            folder / name,
            [
                roll(binary_fit.model, start, f"{name}-{k}", dt=0.004, steps=120, every=6)
                for k, start in enumerate(liquids(seed, 3, n_species=2))
            ],
        )
        for name, seed in (("reference", 5), ("rollouts", 6))
    ]
    return compare_rollouts(binary_fit.model, sides[0], sides[1])


@pytest.fixture(params=["rings", "liquid"])
def comparison(request: pytest.FixtureRequest) -> RolloutComparison:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RolloutComparison)
    return found


def written(comparison: RolloutComparison, path: Path, title: str | None = None) -> str:
    return write_report(comparison, path, title=title).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_stands_alone(comparison: RolloutComparison, tmp_path: Path) -> None:
    text = written(comparison, tmp_path / "report.html")
    page = Page(text)
    assert (page.open, page.mistakes) == ([], [])
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert "http" not in text
    assert "@import" not in text
    assert "src" not in dict(page.values)
    for name, value in page.values:
        if name in ("href", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
    ids = Counter(value for name, value in page.values if name == "id")
    assert set(ids.values()) == {1}
    for reference in re.findall(r'(?:href="|url\()#([^")]+)', text):
        assert reference in ids


def test_nothing_on_the_page_reads_nan_or_none(comparison: RolloutComparison, tmp_path: Path) -> None:
    words = re.findall(r"\w+", " ".join(Page(written(comparison, tmp_path / "report.html")).text).lower())
    assert not {"nan", "inf", "none", "null"} & set(words)
    drawn = re.findall(r'\bd="([^"]*)"', (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert drawn
    assert not any("nan" in path.lower() for path in drawn)


def test_the_numbers_of_the_comparison_stand_on_the_page(rings: RolloutComparison, tmp_path: Path) -> None:
    text = " ".join(Page(written(rings, tmp_path / "report.html")).text)
    told = rings.to_dict()
    values = [told["errors"][metric] for metric in ("zerr", "herr", "perr")]
    values += [told["drift"]["energy_fluctuation"], told["drift"]["energy_largest"], told["forces"]["relative_error"]]
    values += [one["zerr"] for one in told["rollouts"]["each"]]
    for value in values:
        assert number(value) in text
    for one in told["rollouts"]["each"]:
        assert one["name"] in text
    assert told["reference"]["digest"][:12] in text
    for title in ("Positions, Zerr", "Energy, Herr", "Drift of the energy", "Forces", "V(r) of bond"):
        assert title in text


def test_a_liquid_shows_every_curve_and_every_p_value(liquid: RolloutComparison, tmp_path: Path) -> None:
    text = " ".join(Page(written(liquid, tmp_path / "report.html")).text)
    assert liquid.liquid is not None
    for title in (
        "Radial distribution function of A-B",
        "Mean-square displacement of B",
        "Velocity autocorrelation of A",
    ):
        assert title in text
    for pair in liquid.liquid.observables:
        assert pair.difference is not None
        assert number(pair.difference.chi2_per_bin) in text
        assert number(pair.difference.p_value, 2) in text
    temperature = next(pair for pair in liquid.liquid.observables if pair.kind == "temperature")
    assert with_error(temperature.reference.mean[0], temperature.reference.standard_error[0]) in text


def test_warnings_stand_at_the_top(liquid: RolloutComparison, tmp_path: Path) -> None:
    text = written(liquid, tmp_path / "report.html")
    assert liquid.warnings
    for warning in liquid.warnings:
        assert warning[1:] in unescape(text[: text.index("<section>")])


def test_text_from_outside_is_escaped(rings: RolloutComparison, tmp_path: Path) -> None:
    nasty = '<script>alert("1")</script> & <b>'
    units = {**rings.model.units, "length": nasty}
    model = replace(rings.model, labels=(nasty,), units=units)
    text = written(replace(rings, model=model, warnings=(nasty,)), tmp_path / "report.html", title=nasty)
    page = Page(text)
    assert (page.open, page.mistakes) == ([], [])
    assert page.tags["script"] == 0
    assert nasty in " ".join(page.text)


def test_the_same_comparison_gives_the_same_bytes(rings: RolloutComparison, tmp_path: Path) -> None:
    assert written(rings, tmp_path / "a.html") == written(rings, tmp_path / "b.html")


def test_an_old_report_is_replaced_and_nothing_else_is_left(rings: RolloutComparison, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.html"
    path.parent.mkdir()
    path.write_text("old")
    assert written(rings, path).startswith("<!DOCTYPE html>")
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error_that_leaves_nothing(
    rings: RolloutComparison, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(StoreError, match="taken: is a folder"):
        write_report(rings, taken)
    assert list(tmp_path.iterdir()) == [taken]
    (tmp_path / "file").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(rings, tmp_path / "file" / "report.html")


def test_what_is_unknown_is_left_out_of_the_page(rings: RolloutComparison, tmp_path: Path) -> None:
    bare = replace(rings, errors=None, forces=None, pair_curves=(), extrapolated=None, truth=None)
    text = written(bare, tmp_path / "report.html")
    page = Page(text)
    assert (page.open, page.mistakes) == ([], [])
    assert "Errors against time" not in text
    assert UNKNOWN in text


def test_lost_rollouts_are_drawn_up_to_where_they_were_lost(rings: RolloutComparison, tmp_path: Path) -> None:
    assert rings.errors is not None
    zerr = rings.errors.zerr.copy()
    zerr[0, 6:] = 1.0
    perr = rings.errors.perr.copy()
    perr[0, 6:] = np.nan
    drift = replace(rings.drifts[0], first_non_finite=11, energy=np.where(np.arange(31) < 11, 0.0, np.nan))
    broken = replace(rings, errors=replace(rings.errors, zerr=zerr, perr=perr), drifts=(drift, *rings.drifts[1:]))
    text = written(broken, tmp_path / "report.html")
    assert "frame 11" in text
    assert not any("nan" in path.lower() for path in re.findall(r'\bd="([^"]*)"', text))


def test_without_matplotlib_the_error_names_the_extra(
    rings: RolloutComparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("hamfit.reports.", "matplotlib"))]:
        if name not in ("hamfit.reports.report", "hamfit.reports.text"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SpecError, match=r"pip install hamfit\[report\]"):
        write_report(rings, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_importing_reports_does_not_load_matplotlib() -> None:
    code = "import sys, hamfit.reports; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numbers_read_as_people_write_them() -> None:
    cases = {
        0.0: "0",
        1.0: "1",
        0.12345: "0.123",
        -0.5: "−0.5",
        1234.5: "1234",
        1.234e-5: "1.23·10⁻⁵",
        -4.5e12: "−4.50·10¹²",
        np.nan: UNKNOWN,
        np.inf: UNKNOWN,
    }
    for value, expected in cases.items():
        assert number(value) == expected
    assert number(None) == UNKNOWN
    assert number(12345) == "12\u202f345"
    assert with_error(0.81234, 0.0131) == "0.812 ± 0.013"
    assert with_error(-3.0, 0.5) == "−3.00 ± 0.50"
    assert with_error(2.0, np.nan) == "2"
    assert counted(1, "rollout") == "1 rollout"
    assert counted(3, "rollout") == "3 rollouts"
    assert unit("sigma*sqrt(m/epsilon)") == "σ√(m/ε)"
    assert unit("A*sqrt(amu/eV)") == "Å√(amu/eV)"
