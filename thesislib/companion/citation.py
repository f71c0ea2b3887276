"""``CITATION.cff`` as BibTeX, so that what a reader copies is typed in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def bibtex(path: Path) -> str:
    """The thesis and this companion, in a block of MyST that can be copied.

    Raises
    ------
    KeyError
        If the file lacks a field that an entry needs.
    """
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    thesis = own["preferred-citation"]
    entries = [
        _entry(
            "phdthesis",
            thesis,
            school=thesis["institution"]["name"],
            year=thesis["year"],
            month=thesis["month"],
        ),
        _entry("software", own, year=own["date-released"].year, version=own["version"], note=own["license"]),
    ]
    return "```bibtex\n" + "\n".join(entries) + "```\n"


def _entry(kind: str, work: dict[str, Any], **fields: Any) -> str:
    people = [", ".join(p[k] for k in ("family-names", "given-names")) if "given-names" in p else f"{{{p['name']}}}"
              for p in work["authors"]]  # fmt: skip
    first = work["authors"][0].get("family-names", "companion").lower()
    known = {"author": " and ".join(people), "title": work["title"]} | fields
    lines = [f"  {name} = {{{value}}}," for name, value in known.items()]
    return "\n".join([f"@{kind}{{{first}{fields['year']},", *lines, "}", ""])
