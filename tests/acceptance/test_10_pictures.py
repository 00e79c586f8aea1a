"""By the picture: a text mail's columns stand under each other, and nothing is cut off on a phone, in the light and in the dark."""

import html
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from proxmox_graph_mail.graph.page import HEAD, STYLE, text_page
from proxmox_graph_mail.graph.tables import TABLE as TABLE_LINE
from proxmox_graph_mail.graph.tables import kinds
from tests.pictures import BOXES, LONG, SMART, ZFS, picture

TABLE = [line.expandtabs(8) for line in ZFS.splitlines() if line.startswith("\t")]


def inked(image: Image.Image, *, by_row: bool) -> list[bool]:
    """For each row, or column, of pixels: is anything but the background in it?"""
    ground = image.getpixel((0, 0))
    pixels = image.load()
    assert pixels is not None
    lengths = (image.height, image.width) if by_row else (image.width, image.height)
    return [
        any(pixels[(across, along) if by_row else (along, across)] != ground for across in range(lengths[1]))
        for along in range(lengths[0])
    ]


def runs(flags: Sequence[bool], wanted: bool) -> list[tuple[int, int]]:
    """Where `flags` are as wanted: starts and ends."""
    found, start = [], None
    for at, flag in enumerate([*flags, not wanted]):
        if (flag == wanted) and start is None:
            start = at
        elif flag != wanted and start is not None:
            found.append((start, at))
            start = None
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_zfs_table_s_columns_line_up(tmp_path: Path, dark: bool) -> None:
    """Where no line of the table has a letter, the picture has no ink; where all have one, it has."""
    image = picture(text_page("\n".join(TABLE)), tmp_path / "table.png", 900, dark=dark)
    ground = image.getpixel((0, 0))
    assert isinstance(ground, int)
    assert (ground < 80) is dark
    columns = inked(image, by_row=False)
    ink = runs(columns, True)
    width = max(len(line) for line in TABLE)
    first = min(len(line) - len(line.lstrip()) for line in TABLE)
    letter = (ink[-1][1] - ink[0][0]) / (width - first)  # the width of a letter, and so of every letter
    assert 5 < letter < 12
    origin = ink[0][0] - first * letter
    empty = [all(at >= len(line) or line[at] == " " for line in TABLE) for at in range(width)]
    gutters = runs(empty, True)[1:]  # without the margin
    assert len(gutters) >= 4
    for start, end in gutters:
        at, until = round(origin + (start + 0.3) * letter), round(origin + (end - 0.3) * letter)
        assert not any(columns[at:until]), (start, end)
    for start, end in runs(empty, False):
        at, until = round(origin + start * letter), round(origin + end * letter)
        assert any(columns[at:until]), (start, end)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_long_line_wraps_on_a_phone(tmp_path: Path, dark: bool) -> None:
    """Its end is as far from the edge as its beginning, and there are as many lines as its letters need."""
    image = picture(text_page(LONG), tmp_path / "long.png", 390, dark=dark)
    columns, rows = inked(image, by_row=False), inked(image, by_row=True)
    assert not any(columns[-4:])
    assert len(runs(rows, True)) > 16
    wide = picture(text_page(LONG), tmp_path / "wide.png", 3200, dark=dark)
    assert len(runs(inked(wide, by_row=True), True)) < len(runs(rows, True)) / 2


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("text", [ZFS, BOXES, SMART], ids=["zpool", "boxes", "smartctl"])
def test_no_line_of_a_table_folds_on_a_phone(tmp_path: Path, text: str, dark: bool) -> None:
    """Of the table alone: as many lines of ink on a phone as on a wide screen. Smaller letters, and no scroll bar."""
    lines = text.expandtabs(8).replace("_", "-").split("\n")  # an underscore reaches into the next line
    table = "\n".join(line for line, kind in zip(lines, kinds(lines), strict=True) if kind == TABLE_LINE and line.strip())
    assert max(map(len, table.split("\n"))) > 46
    phone = runs(inked(picture(text_page(table), tmp_path / "phone.png", 390, dark=dark), by_row=True), True)
    desk = runs(inked(picture(text_page(table), tmp_path / "desk.png", 1100, dark=dark), by_row=True), True)
    assert len(phone) == len(desk)
    assert phone[-1][1] < desk[-1][1]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("text", [ZFS, BOXES, SMART], ids=["zpool", "boxes", "smartctl"])
def test_nothing_changes_on_a_desk(tmp_path: Path, text: str, dark: bool) -> None:
    """What one <pre> for all of it shows, but for how letters are smoothed: a line that is cut, or moved, differs by more."""
    one = f'<html><head>{HEAD}</head><body><pre style="{STYLE}">{html.escape(text.expandtabs(8))}</pre></body></html>'
    before = picture(one, tmp_path / "before.png", 1100, dark=dark)
    after = picture(text_page(text), tmp_path / "after.png", 1100, dark=dark)
    most = ImageChops.difference(before, after).getextrema()[1]
    assert isinstance(most, int | float)
    assert most < 100
