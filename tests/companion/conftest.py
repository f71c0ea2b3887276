"""A small thesis of three chapters, so that the companion is tested without the real one."""

import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ARTEFACTS = """
chapters:
  - {number: 1, title: First, slug: ch1_alpha, short: Alpha, package: alpha, source: nowhere, datasets: [digits]}
  - {number: 2, title: Second, slug: ch2_beta, short: Beta, package: beta, source: nowhere}
  - {number: 3, title: Third, slug: ch3_gamma, short: Gamma, package: gamma, source: nowhere}
artefacts:
  - {id: fig-1.1, section: 1.1, title: Lines, claim: the new method is better, claim_from: caption}
  - {id: tab-1.1, section: 1.1, title: Numbers, claim: null}
  - {id: tab-2.1, section: 2.1, title: Numbers, claim: null}
  - {id: tab-3.1, section: 3.1, title: Attacks, claim: null}
  - {id: tab-3.2, section: 3.2, title: Sizes, claim: null}
"""

SETTINGS = """
from dataclasses import dataclass
from thesislib.settings import ChapterSettings, resolve as _resolve, setting

@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    dataset: tuple[str, ...] = setting(("digits",), choices=("digits", "breast_cancer", "a9a"))
    size: int = setting(3, low=1, high=9, symbol="n", unit="rows", source="nowhere")
    precision: str = setting("float32", choices=("float32", "bf16"))

PROFILES = {name: Settings(profile=name) for name in ("smoke", "laptop", "paper")}
REPLAY = {"repeats": 1}

def resolve(profile, **values):
    return _resolve(PROFILES, profile, **values)

def grids(settings):
    keys = {"dataset": settings.dataset, "method": ("old", "new"), "seed": settings.seeds()}
    return {"fig-1.1": keys, "tab-1.1": keys, "tab-2.1": keys}
"""

EXPERIMENTS = """
import numpy as np
import pandas as pd
from thesislib import toy_shared
from thesislib.memo import memoised

@memoised(data="dataset")
def one(dataset, method, seed, size):
    toy_shared.tally("{name}")
    base = np.random.default_rng([seed, len(dataset)]).normal(size=size).mean()
    return float(base) + (toy_shared.GAIN if method == "new" else 0.0)

def numbers(settings):
    rows = [
        {{"dataset": d, "method": m, "seed": s, "metric": "score", "value": one(d, m, s, settings.size)}}
        for d in settings.dataset for m in ("old", "new") for s in settings.seeds()
    ]
    return pd.DataFrame(rows).assign(**{{"made on": "a CPU, " + settings.precision}})

fig_1_1 = tab_1_1 = tab_2_1 = numbers
"""

CLAIMS = """
from thesislib.evidence import Claim, paired_t, pairs

def better(frame):
    new, old = pairs(frame, "value", "new", "old", on=["dataset", "seed"])
    return paired_t(new, old, unit="points", label="new against old")

CLAIMS = {"fig-1.1": [Claim("the new method is better", "caption", better)]}
"""

# The third chapter has no notebook, and its two methods have different numbers of images.
IMAGES = """
from dataclasses import dataclass
from thesislib.settings import ChapterSettings, resolve as _resolve, setting

TOTAL = {"old": 50, "new": 60}

@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    dataset: tuple[str, ...] = setting(("digits",), choices=("digits", "breast_cancer"))
    methods: tuple[str, ...] = setting(("old", "new"), choices=("old", "new"))
    first: int = setting(0, low=0)
    images: int = setting(60, low=1)
    precision: str = setting("float32", choices=("float32", "bf16"))

PROFILES = {name: Settings(profile=name) for name in ("smoke", "laptop", "paper")}
REPLAY = {"images": 2}
SHARDED = ("methods", "first", "images")

def resolve(profile, **values):
    return _resolve(PROFILES, profile, **values)

def grids(settings):
    def block(method):
        images = range(settings.first, min(settings.first + settings.images, TOTAL[method]))
        return {"dataset": settings.dataset, "method": (method,), "image": images}

    return {"tab-3.1": [block(m) for m in settings.methods], "tab-3.2": {"size": (1, 2)}}
"""

ATTACKS = """
import itertools
import pandas as pd
from thesislib import toy_shared
from thesislib.gamma.settings import grids

def tab_3_1(settings):
    toy_shared.tally("gamma")
    cells = [c for block in grids(settings)["tab-3.1"] for c in itertools.product(*block.values())]
    frame = pd.DataFrame(cells, columns=["dataset", "method", "image"])
    gain = toy_shared.GAIN * (frame["method"] == "new")
    frame = frame.assign(queries=(100 + frame["image"] - 10 * gain).astype(int), success=True)
    return frame.assign(**{"made on": settings.precision})

def tab_3_2(settings):
    return pd.DataFrame({"size": [1, 2], "pixels": [1, 4]})
"""

FEWER = """
from thesislib.evidence import Claim, paired_bootstrap, pairs

def fewer(frame):
    both = frame[frame["image"] < 50]
    old, new = pairs(both, "queries", "old", "new", on=["dataset", "image"])
    return paired_bootstrap(old, new, unit="queries", label="new against old")

CLAIMS = {"tab-3.1": [Claim("the new method needs fewer queries", "caption", fewer)]}
"""

SHARED = """
import os

GAIN = 1.0

def tally(name):
    with open(os.environ["TOY_TALLY"], "a") as file:
        file.write(name + "\\n")
"""

NOTEBOOK = """
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Alpha

# %% tags=["parameters"]
profile = "laptop"
dataset = None
seed = 0
repeats = None
size = None

# %%
from thesislib.companion import Page
from thesislib.{name} import experiments, settings as chapter

settings = chapter.resolve(profile, dataset=dataset, seed=seed, repeats=repeats, size=size)
page = Page("ch{number}", settings)

# %%
frame = experiments.numbers(settings)
"""

FIRST = """
# %%
import matplotlib.pyplot as plt

def draw(frame):
    figure, axes = plt.subplots()
    axes.plot(frame["seed"], frame["value"], "o")
    return figure

page.record("fig-1.1", frame, draw, alt="Two clouds of points, the new method above the old.")

# %%
page.record("tab-1.1", frame, summary=lambda f: f.groupby("method", as_index=False)["value"].mean())
"""

SECOND = """
# %%
page.record("tab-2.1", frame)
"""


@dataclass
class Project:
    """A copy of the companion with the toy chapters, driven through its command line."""

    root: Path

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(self.root),
            "TOY_TALLY": str(self.root / "tally"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return {k: v for k, v in os.environ.items() if not k.startswith("THESISLIB")} | own

    def thesis(self, *words: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "thesislib.companion.cli", *words],
            cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(self.root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def computed(self) -> int:
        """How often an experiment was really computed since the last call."""
        path = self.root / "tally"
        count = len(path.read_text().splitlines()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return count


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh project, nothing executed."""
    return make(tmp_path / "toy")


@pytest.fixture(scope="session")
def _executed_once(tmp_path_factory) -> Project:
    made = make(tmp_path_factory.mktemp("executed") / "toy")
    made.thesis("run", "ch1", "--profile", "smoke")
    return made


@pytest.fixture
def executed(_executed_once, tmp_path) -> Project:
    """A project whose first chapter has been executed at smoke; a copy, to be spoilt at will."""
    shutil.copytree(_executed_once.root, tmp_path / "toy")
    return Project(tmp_path / "toy")


def make(root: Path) -> Project:
    made = Project(root)
    ignore = shutil.ignore_patterns("__pycache__", "spi_mm")
    shutil.copytree(ROOT / "thesislib", made.root / "thesislib", ignore=ignore)
    made.write("data/artefacts.yml", ARTEFACTS)
    made.write("thesislib/toy_shared.py", SHARED)
    made.write(".gitignore", "_build/\nruns/\ntally\n__pycache__/\n")
    for number, (name, cells) in enumerate((("alpha", FIRST), ("beta", SECOND)), 1):
        made.write(f"thesislib/{name}/__init__.py", "")
        made.write(f"thesislib/{name}/settings.py", SETTINGS)
        made.write(f"thesislib/{name}/experiments.py", EXPERIMENTS.format(name=name))
        made.write(f"thesislib/{name}/claims.py", CLAIMS)
        notebook = NOTEBOOK.lstrip().format(name=name, number=number) + cells
        made.write(f"notebooks/ch{number}_{name}.py", notebook)
    for name, text in (("__init__", ""), ("settings", IMAGES), ("experiments", ATTACKS), ("claims", FEWER)):
        made.write(f"thesislib/gamma/{name}.py", text)
    made.git("init", "-q")
    made.git("add", "-A")
    made.git("commit", "-qm", "toy")
    return made
