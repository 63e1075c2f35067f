"""What lies beside the templates: files of others unchanged, colours that can be read, all of it in the wheel."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

WEB = Path(str(files("hamfit_service.web")))
ROOT = Path(__file__).parents[3]


def test_vendored_files_are_those_of_the_packages_named() -> None:
    folder = WEB / "static" / "vendor"
    rows = re.findall(
        r"^\| (\S+) \| \S+ \| [\d.]+ \| .* \| ([0-9a-f]{64}) \|$", (folder / "VENDORED.md").read_text(), re.M
    )
    named = dict(rows)
    assert "npm" not in (folder / "VENDORED.md").read_text()
    assert named == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert {path.name for path in folder.glob("*.LICENSE")} == {"htmx.LICENSE", "uplot.LICENSE"}


def test_templates_hold_no_script_no_style_and_no_address_of_another_host() -> None:
    for path in (WEB / "templates").iterdir():
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:", text), path.name
        assert not re.search(r"https?:|[\"'(]//", text), path.name
        # what is not escaped is written out here, and holds nothing from outside
        known = ("' aria-invalid=\"true\"' | safe", '"</fieldset>" | safe if', '"</div>" | safe }}')
        assert text.count("| safe") == sum(text.count(one) for one in known), path.name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(scheme: str) -> None:
    sheet = (WEB / "static" / "hamfit.css").read_text()
    roots = re.findall(r":root \{([^}]*)\}", sheet)
    colours: dict[str, str] = {}
    for block in roots if scheme == "dark" else roots[:1]:
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    grounds = {"ground": ("ink", "soft", "blue", "red", "orange", "green"), "raised": ("ink", "soft", "blue", "red")}
    grounds |= {"alarm": ("ink", "soft"), "warm": ("ink", "soft"), "blue": ("on-blue",)}
    for ground, inks in grounds.items():
        for ink in inks:
            assert _contrast(colours[ground], colours[ink]) >= 4.5, (scheme, ground, ink)


def test_the_wheel_brings_everything_that_pages_need(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for folder in ("templates", "static"):
        for path in (WEB / folder).rglob("*"):
            if path.is_file():
                assert f"hamfit_service/web/{path.relative_to(WEB).as_posix()}" in packed


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
