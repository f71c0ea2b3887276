"""Experiments computed ahead of the notebook, on several cores."""

import json

from thesislib.companion import ahead, house, runs


def test_the_notebook_reads_what_several_processes_computed_and_nothing_twice(project):
    words = ("run", "ch1", "--profile", "smoke", "-p", "dataset", "digits,breast_cancer")
    done = project.thesis(*words, "--workers", "2")
    (folder,) = (p for p in (project.root / "runs").iterdir() if p.is_dir())
    assert project.computed() == 20  # two sets, two methods, five seeds, whoever came first
    ahead_of = {p.name: p.read_bytes() for p in folder.glob("records/*.csv")}
    assert "2 processes" in done.stderr

    project.thesis(*words, "--force")
    assert project.computed() == 0
    project.thesis("clean", "--all")
    project.thesis(*words)
    assert project.computed() == 20
    assert {p.name: p.read_bytes() for p in folder.glob("records/*.csv")} == ahead_of
    assert not list(project.root.rglob("*.lock"))


def test_single_artefacts_are_computed_ahead_too(project):
    words = ("run", "ch1", "--profile", "smoke", "--only", "tab-1.1", "--force")
    project.thesis(*words, "--workers", "2")
    (file,) = project.root.glob("runs/*/records/tab-1.1.csv")
    ahead_of, made = file.read_bytes(), project.computed()
    project.thesis(*words)
    assert made > 0 == project.computed() and file.read_bytes() == ahead_of


def test_an_error_is_told_by_the_notebook_alone(project):
    project.edit("thesislib/alpha/experiments.py", "base = ", "base = 1 / 0; ")
    done = project.thesis("run", "ch1", "--profile", "smoke", "--workers", "2", code=2)
    last = done.stderr.strip().splitlines()[-1]
    assert "ch1_alpha stopped: ZeroDivisionError: division by zero; log: " in last
    assert "Traceback" not in done.stderr


def test_workers_are_refused_where_they_mean_nothing(project):
    done = project.thesis("run", "ch1", "--profile", "smoke", "--workers", "0", code=2)
    assert done.stderr == "thesis: --workers is at least 1\n"
    words = ("--only", "fig-1.1", "--workers", "2", "--threads", "2")
    done = project.thesis("run", "ch1", "--profile", "smoke", *words, code=2)
    assert "each of several --workers computes on one thread" in done.stderr
    assert not (project.root / "_build").exists()


def test_tasks_ask_for_every_row_of_the_run_and_for_no_other():
    """Whatever a chapter's artefacts do with their first data set only is not done with the second."""
    for name in ("ch2", "ch3", "ch4", "ch5", "ch6"):
        chapter = house.chapter(name)
        settings = runs.settle(chapter, "laptop", {})
        found: dict[str, list] = {}
        for _, profile, values, identity in ahead.tasks(chapter, settings):
            alone = runs.settle(chapter, profile, json.loads(json.dumps(values)), every=True)
            found.setdefault(identity, []).extend(ahead._cells(chapter, alone, identity))
        for artefact in chapter.artefacts:
            whole = ahead._cells(chapter, settings, artefact.id)
            assert sorted(found.get(artefact.id, [])) == sorted(whole), artefact.id
