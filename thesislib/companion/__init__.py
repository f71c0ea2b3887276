"""Turns runs into a book: parameters, records, verdicts, provenance, figure style, runner, command line.

Method-agnostic: it knows chapters and artefacts from ``data/artefacts.yml`` and finds a chapter's
``settings``, ``experiments`` and ``claims`` by the name of its package. Notebooks use :class:`Page`.
"""

from thesislib.companion.page import Page

__all__ = ["Page"]
