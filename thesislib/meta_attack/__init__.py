"""Chapter 2: query-efficient meta attack on image models, with the attacks it is compared with.

A small auto-encoder, the meta attacker (:class:`~thesislib.meta_attack.meta_attacker.MetaAttacker`), learns
from the gradients of other models (:mod:`~thesislib.meta_attack.gradient_data`,
:func:`~thesislib.meta_attack.reptile.reptile`) to guess the gradient of a model it has never seen;
:class:`~thesislib.meta_attack.meta_attack.MetaAttack` spends its queries only on checking and correcting the
guess where it is largest. The rivals are one file each: :mod:`~thesislib.meta_attack.zoo`,
:mod:`~thesislib.meta_attack.autozoom`, :mod:`~thesislib.meta_attack.bandits`,
:mod:`~thesislib.meta_attack.fw_black`, :mod:`~thesislib.meta_attack.decision_boundary`,
:mod:`~thesislib.meta_attack.opt_attack`.

Written after the authors' released code where the thesis's text was not available (thesis, chapter 2; Du*,
Zhang*, Zhou, Yang and Feng, ICLR 2020).
"""
