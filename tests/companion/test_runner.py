"""The runner: what runs again and what does not, and what the gate refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow


def records(project, chapter="ch1_alpha", profile="smoke"):
    return project.root / "_build" / profile / chapter / "records"


def test_runs_again_exactly_what_depends_on_a_change(project):
    out = project.thesis("run", "ch1", "--profile", "smoke").stdout
    assert "executed" in out
    project.thesis("run", "ch2", "--profile", "smoke")
    assert project.computed() == 20  # two chapters, two methods, five seeds
    record = json.loads((records(project) / "fig-1.1.json").read_text())
    assert record["claims"][0]["verdict"] == "holds"
    assert record["claims"][0]["estimate"] == pytest.approx(1.0)
    assert record["provenance"]["dirty"] is False

    # Nothing changed: nothing is executed.
    assert "nothing changed" in project.thesis("run", "ch1", "--profile", "smoke").stdout

    # Drawing changed: the notebook runs, the experiments do not.
    project.edit("notebooks/ch1_alpha.py", '"o"', '"s"')
    assert "executed" in project.thesis("run", "ch1", "--profile", "smoke").stdout
    assert "nothing changed" in project.thesis("run", "ch2", "--profile", "smoke").stdout
    assert project.computed() == 0

    # One chapter's settings changed: that chapter only.
    project.edit("thesislib/beta/settings.py", "setting(3,", "setting(4,")
    assert "nothing changed" in project.thesis("run", "ch1", "--profile", "smoke").stdout
    assert "executed" in project.thesis("run", "ch2", "--profile", "smoke").stdout
    assert project.computed() == 10

    # A module both import changed: both run, and compute anew.
    project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = -1.0")
    assert '"state": "stale"' in project.thesis("show", "fig-1.1", "--profile", "smoke", "--json").stdout
    for chapter in ("ch1", "ch2"):
        assert "executed" in project.thesis("run", chapter, "--profile", "smoke").stdout
    assert project.computed() == 20
    record = json.loads((records(project) / "fig-1.1.json").read_text())
    assert record["claims"][0]["verdict"] == "does not hold"
    assert record["provenance"]["dirty"] is True

    # A reported number changed: the page that shows it runs, nothing is computed.
    project.write(
        "data/reported/tab-2.1.csv", "dataset,model,setting,method,metric,value,unit,source,confidence\n"
    )
    assert "nothing changed" in project.thesis("run", "ch1", "--profile", "smoke").stdout
    assert "executed" in project.thesis("run", "ch2", "--profile", "smoke").stdout
    assert project.computed() == 0


def test_changed_parameters_never_enter_the_book(project):
    out = project.thesis("run", "ch1", "--profile", "smoke", "-p", "seed", "3", "-p", "size", "2").stdout
    assert "runs/ch1-" in out
    assert not records(project).exists()
    folder = project.root / out.rsplit(", ", 1)[1].strip()
    record = json.loads((folder / "records" / "fig-1.1.json").read_text())
    assert record["parameters"] == {"seed": 3, "size": 2}
    # A value equal to the profile's own is no change.
    assert "_build/smoke" in project.thesis("run", "ch1", "--profile", "smoke", "-p", "size", "3").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["run", "ch1", "-p", "sise", "2"],
            "no parameter sise; it has dataset (list of digits, breast_cancer, a9a)",
        ),
        (["run", "ch1", "-p", "size", "two"], "size = 'two' is str, expected int"),
        (["run", "ch1", "-p", "size", "12"], "size = 12 is out of range: 1 <= size <= 9"),
        (
            ["run", "ch1", "-p", "dataset", "mnist"],
            "dataset = 'mnist' is not one of digits, breast_cancer, a9a",
        ),
        (["run", "ch1", "-p", "dataset", "a9a"], "a9a: set THESISLIB_DATA"),
        (["run", "ch1", "-p", "dataset", "[a"], "cannot read the value '[a'"),
        (["run", "ch1", "-p", "size", "2", "-p", "size", "3"], "given twice"),
        (["run", "ch9"], "no chapter 'ch9'; known: ch1, ch2, ch3"),
        (["show", "fig-9.9"], "no artefact 'fig-9.9'"),
        (["show", "fig-1.1"], "missing at profile laptop; `thesis run ch1 --profile laptop` makes it"),
        (["keep"], "keep takes run folders"),
        (["keep", "runs/nothing"], "holds no records"),
    ],
)
def test_a_users_mistake_is_one_line(project, words, said):
    done = project.thesis(*words, code=2)
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (project.root / "_build").exists()
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"o")', '"o"); 1 / 0', "ch1_alpha stopped: ZeroDivisionError: division by zero"),
        ('page.record("tab-1.1", frame, s', '(lambda *a, **k: None)("tab-1.1", frame, s', "not recorded: tab-1.1"),
        ('("tab-1.1", frame, s', '("tab-1.1", frame[1:], s', "1 of 10 cells missing"),
        ('("tab-1.1", frame, s', '("tab-1.1", frame.replace({"metric": {"score": None}}), s', "missing values"),
        ('("tab-1.1", frame, s', '("tab-2.1", frame, s', "tab-2.1 is no artefact of ch1"),
        ('("tab-1.1", frame, summary', '("tab-1.1", frame.rename(columns={"value": "score"}), summary', "give compare="),
        (', alt="Two clouds of points, the new method above the old."', "", "say in alt= what the figure shows"),
    ],
)  # fmt: skip
def test_the_gate_refuses(executed, old, new, said):
    before = (records(executed) / "fig-1.1.json").read_bytes()
    if said == "give compare=":
        columns = "dataset,model,setting,method,metric,value,unit,source,confidence\n"
        executed.write("data/reported/tab-1.1.csv", f"{columns}digits,,,new,score,1,,nowhere,unknown\n")
    executed.edit("notebooks/ch1_alpha.py", old, new)
    done = executed.thesis("run", "ch1", "--profile", "smoke", code=2)
    assert said in done.stderr
    assert "log: _build/smoke/ch1_alpha.log" in done.stderr
    # The last good run still stands, nothing half-written beside it, and it is known to be stale.
    assert (records(executed) / "fig-1.1.json").read_bytes() == before
    assert not list((executed.root / "_build" / "smoke").glob(".*"))
    assert '"state": "stale"' in executed.thesis("show", "fig-1.1", "--profile", "smoke", "--json").stdout


def test_a_killed_kernel_is_one_line_that_names_the_log(project):
    """As the system kills it when memory is short. The folder is given from where the command is typed."""
    project.edit(
        "notebooks/ch1_alpha.py",
        "page = Page",
        "import os\nopen('here', 'w').write(os.getcwd())\npage = Page",
    )
    project.edit(
        "notebooks/ch1_alpha.py", 'page.record("fig-1.1"', 'os.kill(os.getpid(), 9)\npage.record("fig-1.1"'
    )
    done = subprocess.run(
        [sys.executable, "-m", "thesislib.companion.cli", "run", "ch1", "--profile", "smoke"],
        cwd=project.root.parent, env=project.environment() | {"THESISLIB_ROOT": project.root.name}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("thesis: "))
    assert (
        "ch1_alpha stopped: its kernel was killed; is there enough memory?; log: _build/smoke/ch1_alpha.log"
        in line
    )
    assert "Traceback" not in done.stderr and not list((project.root / "_build" / "smoke").glob(".*"))
    assert (project.root / "here").read_text() == str(project.root)


def test_numbers_that_are_gone_are_said_in_place_of_their_verdicts(executed):
    assert "HOLDS" in executed.thesis("show", "fig-1.1", "--profile", "smoke").stdout
    (records(executed) / "fig-1.1.csv").unlink()
    done = executed.thesis("show", "fig-1.1", "--profile", "smoke", code=2)
    assert done.stderr.splitlines() == ["thesis: cannot read fig-1.1.csv: No such file or directory"]
    assert "HOLDS" not in done.stdout


def test_an_unexecuted_cell_is_refused(executed):
    """Papermill marks nothing on a notebook that was never run; the gate counts."""
    code = (
        "import nbformat, jupytext\n"
        "from thesislib.companion import house, runner, runs\n"
        "c = house.chapter('ch1'); s = runs.settle(c, 'smoke', {})\n"
        "target, _ = runner.run(c, 'smoke', {})\n"
        "nb = nbformat.read(target / 'ch1_alpha.ipynb', 4)\n"
        "nb.cells[-1].execution_count = None\n"
        "nbformat.write(nb, target / 'ch1_alpha.ipynb')\n"
        "runner.gate(c, s, target)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=executed.root, env=executed.environment(),
                          capture_output=True, text=True)  # fmt: skip
    assert "was not executed" in done.stderr


def test_a_hollow_record_is_run_again(executed):
    csv = records(executed) / "fig-1.1.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    (records(executed) / "tab-1.1.json").write_text("{}")
    assert "executed" in executed.thesis("run", "ch1", "--profile", "smoke").stdout
    assert len(csv.read_text().splitlines()) == 11


def test_an_interrupted_run_leaves_nothing_and_resumes(project):
    project.edit(
        "thesislib/toy_shared.py", "def tally(name):", "def tally(name):\n    import time; time.sleep(0.5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "thesislib.companion.cli", "run", "ch1", "--profile", "smoke"],
        cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    tally = project.root / "tally"
    deadline = time.monotonic() + 60
    while not (tally.exists() and len(tally.read_text().splitlines()) >= 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)  # as when a session is cut: nobody can tidy up
    process.wait()
    assert not records(project).exists()
    done = project.computed()
    project.thesis("run", "ch1", "--profile", "smoke")
    assert 10 - done <= project.computed() <= 10 - done + 1  # at most the one in flight is computed twice
    assert not list((project.root / "_build" / "smoke").glob(".*"))


def test_a_folder_that_cannot_be_written(project):
    project.write("_build", "a file where the folder should be")
    done = project.thesis("run", "ch1", "--profile", "smoke", code=2)
    assert "cannot write to" in done.stderr


@pytest.mark.parametrize(
    ("file", "words", "code", "said"),
    [
        ("_build", ["run", "ch1", "--only", "fig-1.1"], 1, "Not a directory; set THESISLIB_CACHE (now "),
        ("runs", ["run", "ch1", "--only", "fig-1.1"], 2, "cannot write to "),
        ("data/recorded", ["keep", "made"], 1, "data/recorded: File exists; see that it is there"),
    ],
)
def test_what_the_disk_refuses_is_one_line(project, file, words, code, said):
    """A file where the folder should be is refused even to root."""
    if words[0] == "keep":
        out = project.thesis("run", "ch3", "--only", "tab-3.1", "--profile", "paper").stdout
        (project.root / out.rsplit(", ", 1)[1].strip()).rename(project.root / "made")
    project.write(file, "a file where the folder should be")
    done = project.thesis(*words, code=code)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(project.root.glob("runs/.*"))


def test_a_reader_that_went_away_is_no_error(project):
    buffered = {k: v for k, v in project.environment().items() if k != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-m", "thesislib.companion.cli", "data"],
        cwd=project.root, env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()  # as head does; all that is written fits the buffer
    assert process.stderr.read() == "" and process.wait() == 0


def test_plain_papermill_from_anywhere(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "jupytext", "--to", "ipynb", "-o", "n.ipynb",
                    str(project.root / "notebooks" / "ch2_beta.py")], cwd=elsewhere, check=True)  # fmt: skip
    subprocess.run([sys.executable, "-m", "papermill", "n.ipynb", "out.ipynb", "-p", "profile", "smoke"],
                   cwd=elsewhere, env=project.environment(), check=True, capture_output=True)  # fmt: skip
    assert list((project.root / "runs").glob("ch2-*/records/tab-2.1.json"))
    assert not (project.root / "_build" / "smoke").exists()


def test_a_chapters_parameters_are_shown_with_what_they_accept(project):
    shown = project.thesis("show", "ch1", "--profile", "smoke").stdout
    assert "size = 3; takes int >= 1 <= 9" in shown and "profile =" not in shown
    told = json.loads(project.thesis("show", "ch1", "--json").stdout)
    assert told["artefacts"] == ["fig-1.1", "tab-1.1"] and told["parameters"]["size"] == [3, "int >= 1 <= 9"]
    assert "ch3 is not written yet" in project.thesis("show", "ch3", code=2).stderr
