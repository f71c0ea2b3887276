"""Chapter 3: the motion-excited sampler, a black-box attack on video classifiers with motion as its prior.

The attack, :class:`~thesislib.motion_sampler.me_sampler.MESampler`, takes the motion maps of the clips and is
called as the attacks of :mod:`thesislib.blackbox` are; its rivals are in ``nes.py``, ``bandits.py`` and
``vbad.py``. Clips are float tensors in [0, 1] of shape (n, 3, frames, height, width).

>>> import torch
>>> from thesislib.blackbox import Goal, Victim
>>> from thesislib.motion_sampler.me_sampler import MESampler
>>> clips = torch.rand(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
>>> maps = [torch.arange(8).expand(1, 8, 8)[..., None].repeat(1, 1, 1, 2) for _ in clips]
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3))
>>> result = MESampler(maps, max_steps=5)(Victim(model), clips, Goal(model(clips).argmax(1)))
>>> bool((result.linf <= 0.03 + 1e-6).all())
True

Thesis, section 3.3.
"""
