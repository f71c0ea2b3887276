"""The methods of the chapter's tables by their names there, and what each is made of (thesis, section 3.4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from thesislib.blackbox import AttackResult
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.sampler import ASSIGNMENTS, NoiseSampler
from thesislib.motion_sampler.vbad import VBAD


@dataclass(frozen=True)
class Method:
    """An attack's class, the kind of motion map it reads, and how it samples noise.

    ``maps`` is a kind of :func:`thesislib.motion_sampler.recorded_maps.maps_of`, or a handcrafted map,
    ``u_sample`` or ``s_value``; empty: none. ``turned``: frames share a map where the options give each its own, and
    have their own where these share one.
    """

    make: Callable[..., Callable[..., AttackResult]]
    maps: str = ""
    sampler: str = "look-up"
    turned: bool = False


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
    "Other assignment": Method(MESampler, "mv", turned=True),
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
    sampler = NoiseSampler(method.sampler, **{k: v for k, v in options.items() if k in noise})
    if method.turned:
        (other,) = set(ASSIGNMENTS) - {sampler.assignment}
        sampler = replace(sampler, assignment=other)
    rest = {k: v for k, v in options.items() if k not in noise}
    return MESampler(noise=sampler, **rest, **given)
