"""The methods of the chapter's tables by their names there, and what each is made of (thesis, section 3.4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from thesislib.blackbox import AttackResult
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.sampler import NoiseSampler
from thesislib.motion_sampler.vbad import VBAD


@dataclass(frozen=True)
class Method:
    """An attack's class, the kind of motion map it reads, and how it samples noise.

    ``maps`` is a kind of :func:`thesislib.motion_sampler.recorded_maps.maps_of`, or a handcrafted map,
    ``u_sample`` or ``s_value``; empty: none. ``assignment`` stands in for that of the options, if it is not empty.
    """

    make: Callable[..., Callable[..., AttackResult]]
    maps: str = ""
    sampler: str = "look-up"
    assignment: str = ""


METHODS: dict[str, Method] = {
    "E-NES": Method(ENES),
    "E-Bandits": Method(EBandits),
    "V-BAD": Method(VBAD),
    "ME-Sampler(OF)": Method(MESampler, "flow"),
    "ME-Sampler(MV)": Method(MESampler, "mv"),
    "Multi-noise": Method(MESampler, sampler="multi-noise"),
    "One-noise": Method(MESampler, sampler="one-noise"),
    "U-Sample": Method(MESampler, "u_sample"),
    "S-Value": Method(MESampler, "s_value"),
    "Improved map": Method(MESampler, "improved"),
    "Shared map": Method(MESampler, "mv", assignment="shared"),
    "Warp": Method(MESampler, "mv", sampler="warp"),
}
"""By the names that the tables give them."""


def made(name: str, options: dict[str, Any], **given: Any) -> Callable[..., AttackResult]:
    """The attack of that name.

    Parameters
    ----------
    name : str
        A key of :data:`METHODS`.
    options : dict
        Fields of the attack, or of its noise sampler.
    given
        ``maps``, or ``image_model`` and ``examples``: what only some attacks take.
    """
    method = METHODS[name]
    if method.make is not MESampler:
        return method.make(**options, **given)
    noise = {f.name for f in fields(NoiseSampler)}
    sampler = {"sampler": method.sampler} | {k: v for k, v in options.items() if k in noise}
    if method.assignment:
        sampler["assignment"] = method.assignment
    rest = {k: v for k, v in options.items() if k not in noise}
    return MESampler(noise=NoiseSampler(**sampler), **rest, **given)
