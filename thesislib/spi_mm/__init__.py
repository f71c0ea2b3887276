"""Chapter 6: generalised majorization-minimisation with a path-integrated surrogate (SPI-MM) (thesis, section 6.3).

Minimise the mean of many smooth, possibly non-convex components plus a simple, possibly non-smooth term:
:func:`thesislib.spi_mm.minimise.minimise` runs SPI-MM or a rival on a
:class:`~thesislib.spi_mm.finite_sum.FiniteSum`. The problems of the thesis are
:class:`~thesislib.spi_mm.logistic.NonconvexLogistic`, :class:`~thesislib.spi_mm.sparse_pca.SparsePCA` and
:class:`~thesislib.spi_mm.sparse_pca.SparseFactorisation`; a problem of your own is a subclass of
:class:`~thesislib.spi_mm.finite_sum.FiniteSum`.

The body of the chapter was not available. The algorithm is a reconstruction from the abstract, the captions
and the section titles; what was chosen is said where it is used.
"""
