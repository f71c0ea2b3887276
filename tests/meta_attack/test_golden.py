"""Each attack on real digits does what it did when it was last measured: success, L2, queries (``golden.json``).

The band is that of twenty seeds, the tested value the median of three others, so rounding passes and a changed
algorithm does not. ``python tests/meta_attack/test_golden.py`` measures anew: for a change that is meant to matter.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from thesislib.blackbox import Goal, Victim
from thesislib.meta_attack.column import UNTARGETED
from thesislib.meta_attack.experiments import case_of
from thesislib.meta_attack.runs import _made, chosen_images, victim_of
from thesislib.meta_attack.settings import METHODS, resolve

FILE = Path(__file__).with_name("golden.json")
NAMES = [name for name in METHODS if name != "Meta transfer"]  # the same attack, with another network
IMAGES, BAND, TESTED = range(6), range(20), range(100, 103)


def measure(method, seeds):
    """Success, mean L2 and mean queries of each seed; shape (seeds, 3). The networks are always the same."""
    settings = resolve("laptop", dataset=["digits"])
    case = case_of(settings, "digits", method, UNTARGETED)
    images, labels, ids = chosen_images(case, IMAGES)
    model, attack, rows = victim_of(case), _made(case), []
    for seed in seeds:
        result = attack(Victim(model, budget=case.budget), images, Goal(labels), seed=seed, ids=ids)
        frame = result.to_frame()
        fooled = frame[frame["success"]]
        rows.append((frame["success"].mean(), fooled["l2"].mean(), frame["queries"].mean()))
    return np.array(rows, dtype=float)


@pytest.mark.slow
def test_each_attack_does_what_it_did():  # one test: the workers of a parallel run would train the networks twice
    golden, other = json.loads(FILE.read_text()), []
    assert list(golden) == NAMES
    for method in NAMES:
        found = np.nanmedian(measure(method, TESTED), axis=0)
        for name, value in zip(("success", "l2", "queries"), found, strict=True):
            low, high = golden[method][name]
            if not low <= value <= high:
                other.append(f"{method}: {name} = {value:.4g}, was {low:.4g} to {high:.4g}")
    assert not other


def band(values):
    """Least and greatest, and a tenth of the mean on either side: other machines train otherwise rounded networks."""
    margin = 0.1 * np.nanmean(values)
    return [round(float(np.nanmin(values) - margin), 4), round(float(np.nanmax(values) + margin), 4)]


if __name__ == "__main__":
    made = {}
    for method in NAMES:
        made[method] = dict(
            zip(("success", "l2", "queries"), map(band, measure(method, BAND).T), strict=True)
        )
        print(method, made[method], flush=True)
    FILE.write_text(json.dumps(made, indent=1) + "\n")
