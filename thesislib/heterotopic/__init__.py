"""Chapter 5: heterotopic ensembling of self-supervision for long-tailed recognition (thesis, section 5.3).

Self-supervision finds in rare classes' images what labels alone do not ask for. Ensembled naively, in the space
of the classifier, the two tasks get in each other's way; so self-supervision is ensembled in two places:

- its *generic* feature lives in the trunk, which both share, and is taken out of it by a Filter
  (:mod:`~thesislib.heterotopic.filters`) before self-supervision pools it;
- its *specific* feature, after the MLP, is what the classifier's feature is held to share information with
  (:mod:`~thesislib.heterotopic.mutual_information`).

:class:`~thesislib.heterotopic.ensemble.HeterotopicEnsemble` puts both around any trunk and classifier,
:func:`~thesislib.heterotopic.joint.fit_joint` trains it; self-supervised methods are in
:mod:`~thesislib.heterotopic.self_supervision`. At test, trunk and classifier are all that is left.

The chapter's text, its code and its pre-print were not available: a reconstruction after headings and captions
(thesis, chapter 5; Zhang, Zhu, Zhu and Yang, pre-print 2021).
"""
