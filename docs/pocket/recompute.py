"""Make every p, word and sentence of the pocket study again from the tables beside this file.

    python docs/pocket/recompute.py            # compare with the tables and the documents
    python docs/pocket/recompute.py --write    # put what the tables say into the documents

From the scores in `study_scores.csv` each difference is tested and each claim judged; from
`study_trials.csv` each setting is chosen. What `findings.csv` and the marked parts of the documents
say must be the same, to the letter.
"""

import sys
from pathlib import Path

from common.errors import UserError
from reports import study_csv, study_document

HERE = Path(__file__).resolve().parent
DOCUMENTS = {
    HERE: (HERE.parent / "pocket_study.md",),
    **{HERE / name: (HERE / name / "README.md",) for name in ("ten_points", "variants")},
}
"""Folder of tables → documents made from them."""


def main(folder: Path, documents: tuple[Path, ...], *, write: bool = False) -> list[str]:
    """Return what differs, a sentence each; of documents nothing, where they are to be written."""
    study = study_csv.read(folder)
    found = [
        f"{folder / name} differs from what the scores say"
        for name, text in study_csv.files(study).items()
        if (folder / name).read_text(encoding="utf-8") != text
    ]
    parts = study_document.blocks(study)
    for path in documents:
        text = path.read_text(encoding="utf-8")
        names = [match[1] for match in study_document.MARKED.finditer(text)]
        if unknown := [name for name in names if name not in parts]:
            raise UserError(
                f"{path} has the part {unknown[0]!r}, which the tables do not tell of: expected "
                f"{', '.join(parts)}"
            )
        told = study_document.MARKED.sub(lambda m: study_document.marked(m[1], parts[m[1]]), text)
        if write:
            path.write_text(told, encoding="utf-8")
            continue
        found += [
            f"{path}: the part {match[1]!r} differs from what the tables say"
            for match in study_document.MARKED.finditer(text)
            if match[2] != parts[match[1]]
        ]
    return found


if __name__ == "__main__":
    try:
        write = "--write" in sys.argv[1:]
        wrong = [one for place, own in DOCUMENTS.items() for one in main(place, own, write=write)]
    except UserError as error:
        wrong = [str(error)]
    print("\n".join(wrong) or "every number and sentence follows from the tables")
    sys.exit(bool(wrong))
