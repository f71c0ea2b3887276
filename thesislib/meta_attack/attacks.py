"""The methods of the comparison by the names the tables give them (thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from thesislib.blackbox import AttackResult
from thesislib.meta_attack.autozoom import AutoZOOM
from thesislib.meta_attack.bandits import Bandits
from thesislib.meta_attack.codec import decoder
from thesislib.meta_attack.decision_boundary import DecisionBoundary
from thesislib.meta_attack.fw_black import FWBlack
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.opt_attack import OptAttack
from thesislib.meta_attack.zoo import ZOO

ATTACKS: dict[str, Callable[..., Callable[..., AttackResult]]] = {
    "Meta attack": MetaAttack,
    "Meta transfer": MetaAttack,
    "ZOO": ZOO,
    "AutoZOOM": AutoZOOM,
    "Bandits": Bandits,
    "FW-black": FWBlack,
    "Decision boundary": DecisionBoundary,
    "Opt-attack": OptAttack,
}
"""Called with an attack's fields, each gives the attack; Meta transfer differs in whose meta attacker it is given."""

METHODS = tuple(ATTACKS)
DECODER = decoder
"""What makes the trained decoder of an attack that has a field for one."""
HARD_LABEL = ("Decision boundary", "Opt-attack")


def thesis_queries(method: str, steps: int, queries: int, options: Mapping[str, object]) -> int:
    """Queries as the thesis counts them: by a formula, from the number of steps.

    Meta attack: ``floor((s - 1) / m) * q + s``, with one query a coordinate where the difference is symmetric, too (so
    the authors' logs of tiny-ImageNet); ZOO: ``2 q s``. The others' formulas are not known, so theirs is the exact
    count.

    Parameters
    ----------
    method : str
        A key of :data:`ATTACKS`.
    steps, queries : int
        Made, and counted, of one image.
    options : mapping
        Fields of the attack, as far as they are not its own.
    """
    attack = ATTACKS[method]
    if attack is MetaAttack:
        q, m = (options.get(name, getattr(MetaAttack, name)) for name in ("q", "m"))
        return max(steps - 1, 0) // m * q + steps
    return 2 * options.get("q", ZOO.q) * steps if attack is ZOO else queries
