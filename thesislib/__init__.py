"""The methods of Hu Zhang's PhD thesis (UTS, 2021), each usable on its own.

Rooms: :mod:`thesislib.datasets` on the ground floor; one package a chapter above it,
such as :mod:`thesislib.meta_attack`; :mod:`thesislib.companion` turns runs into the book.
"""
