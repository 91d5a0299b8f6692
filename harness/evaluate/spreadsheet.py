"""The first sheet of an XLSX workbook, as rows under their headings."""

import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.evaluate.archive import BROKEN, part

SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

BOOK, LINKS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"

COMPOUND = b"\xd0\xcf\x11\xe0"
"""First bytes of the container that encrypted workbooks and those of before 2007 lie in."""


def read_sheet(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return each row as heading → text, empty cells left out, and the names of all sheets.

    Raises:
        ValueError: It is no workbook, or an encrypted one.
    """
    with path.open("rb") as file:
        if file.read(4) == COMPOUND:
            raise ValueError("it is encrypted, or no XLSX but an XLS: save it as XLSX, or as TSV")
    try:
        with zipfile.ZipFile(path) as book:
            sheets = _sheets(book)
            strings = [_text(item) for item in _tree(book, STRINGS).iter(f"{SPACE}si")]
            tree = _tree(book, next(iter(sheets.values())))
            rows = [_cells(row, strings) for row in tree.iter(f"{SPACE}row")]
    except (*BROKEN, ElementTree.ParseError, IndexError) as error:
        raise ValueError(f"it is no XLSX workbook ({error})") from error
    headings = rows[0] if rows else {}
    named = [
        {headings[column]: text for column, text in row.items() if column in headings}
        for row in rows[1:]
    ]
    return named, list(sheets)


def _sheets(book: zipfile.ZipFile) -> dict[str, str]:
    """Return the name of each sheet → its part, in the order of the tabs."""
    if BOOK not in book.namelist():
        return {"1": SHEET}
    targets = {link.get("Id"): link.get("Target", "") for link in _tree(book, LINKS)}
    return {
        sheet.get("name", ""): "xl/" + targets[sheet.get(LINK)].removeprefix("/xl/")
        for sheet in _tree(book, BOOK).iter(f"{SPACE}sheet")
    }


def _tree(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if name == STRINGS and name not in book.namelist():
        return ElementTree.Element("sst")
    return ElementTree.fromstring(part(book, name))


def _cells(row: ElementTree.Element, strings: list[str]) -> dict[str, str]:
    """Return column → text; a cell that holds an error (`#NAME?`) is empty."""
    found = {}
    for cell in row.iter(f"{SPACE}c"):
        column = re.sub(r"\d", "", cell.get("r", ""))
        value, kind = cell.find(f"{SPACE}v"), cell.get("t")
        if kind == "inlineStr":
            found[column] = _text(cell)
        elif value is not None and value.text is not None and kind != "e":
            found[column] = strings[int(value.text)] if kind == "s" else value.text
    return found


def _text(item: ElementTree.Element) -> str:
    text = "".join(part.text or "" for part in item.iter(f"{SPACE}t"))
    # Characters that XML cannot hold are written as _xHHHH_.
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)
