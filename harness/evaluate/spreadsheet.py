"""The first sheet of an XLSX workbook, as rows under their headings.

An XLSX cell holds at most 32,767 characters: a longer answer was cut by whoever wrote the file.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"

SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"

LARGEST = 1 << 30
"""Bytes of an unpacked part; a larger one is a bomb."""


def read_sheet(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each row as heading → text; empty cells are left out.

    Raises:
        ValueError: It is no workbook.
    """
    try:
        with zipfile.ZipFile(path) as book:
            strings = [_text(item) for item in _part(book, STRINGS)]
            rows = [_cells(row, strings) for row in _part(book, SHEET).iter(f"{SPACE}row")]
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, IndexError) as error:
        raise ValueError(f"it is no XLSX workbook ({error})") from error
    headings = rows[0] if rows else {}
    for row in rows[1:]:
        yield {headings[column]: text for column, text in row.items() if column in headings}


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if name not in book.namelist() and name == STRINGS:
        return ElementTree.Element("sst")
    if book.getinfo(name).file_size > LARGEST:
        raise ValueError(f"its part {name} is larger than {LARGEST} bytes")
    return ElementTree.fromstring(book.read(name))


def _cells(row: ElementTree.Element, strings: list[str]) -> dict[str, str]:
    """Return column → text."""
    found = {}
    for cell in row.iter(f"{SPACE}c"):
        column = re.sub(r"\d", "", cell.get("r", ""))
        value = cell.find(f"{SPACE}v")
        if cell.get("t") == "inlineStr":
            found[column] = _text(cell)
        elif value is not None and value.text is not None:
            found[column] = strings[int(value.text)] if cell.get("t") == "s" else value.text
    return found


def _text(item: ElementTree.Element) -> str:
    text = "".join(part.text or "" for part in item.iter(f"{SPACE}t"))
    # Characters that XML cannot hold are written as _xHHHH_.
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)
