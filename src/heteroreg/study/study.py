"""Whole study: train, choose, train the other seeds, score, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.evaluation.scores import SCORES_FILE, Scores
from heteroreg.report import write_report
from heteroreg.study.choice import Choice, choose, chosen_table
from heteroreg.study.images import ScoredImages
from heteroreg.study.jobs import Ended, Job, Local, Runner
from heteroreg.study.matrix import Arm, Matrix, StudyRow, differences, read_matrix, slug
from heteroreg.study.runs import Agreement, Trained
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.files import write_text
from heteroreg.system.locks import LOCK_FILE
from heteroreg.system.outputs import MARKER_FILE, growing_folder, require_growing, require_output
from heteroreg.system.progress import Report, duration, progress
from heteroreg.system.run_files import COHORT_RECORD, STUDY
from heteroreg.system.signals import Interruption
from heteroreg.system.text import read_yaml
from heteroreg.training.run import is_former_run

CHOSEN = "chosen.csv"
# What a folder without a record may hold: runs that were trained by hand are taken over.
STUDY_PARTS = ("runs", "scores", "logs", "slurm", CHOSEN, COHORT_RECORD)
Say = Callable[[str], None]


@dataclass(frozen=True)
class StudyPart:
    """Part of the study for one cohort.

    Attributes:
        arm: The matrix on it.
        folder: Holds `runs`, `scores`, `chosen.csv` and the reports.
        cohort: Its pairs.
        agreement: Of its runs with the matrix.
        images: Those that the scores are of.
        confine: The cohort may only name files in its own folder.
    """

    arm: Arm
    folder: Path
    cohort: Cohort
    agreement: Agreement
    images: ScoredImages
    confine: bool

    def run(self, row: StudyRow, point: Mapping[str, Any], seed: int) -> Trained:
        """Return the run of a row at a point."""
        return Trained(row, point, seed, self.folder / "runs" / row.folder(point, seed))

    def scores(self, name: str) -> Path:
        """Return the folder of scores of this name."""
        return self.folder / "scores" / name


def run_study(
    file: str | Path,
    out: str | Path,
    *,
    cohorts: Sequence[str] = (),
    confine: bool = False,
    runner: Runner | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Train what a file asks for, choose on the validation pairs, score on the test pairs, and compare.

    1. Each point of each row's grid is trained with the row's first seed.
    2. The point with the best score of the best checkpoint on the validation pairs is the row's
       (`chosen.csv`); it is trained with the other seeds.
    3. The chosen runs and the registrars register the test pairs, which nothing has looked at before.
    4. The rows are compared, each the mean over its seeds.

    What is there already is left as it is: the same call goes on after a stop, and runs that were trained by
    hand under the names of the matrix are taken over if their configuration is the one wanted.

    Args:
        file: Describes the study, see docs/studies.md.
        out: The folder to write.
        cohorts: Cohorts that are elsewhere than the file says: `PATH`, or `NAME=PATH`.
        confine: Do not trust the cohorts: they may only name files in their own folders.
        runner: Where the trainings run; one after the other on this machine by default.
        say: Gets a line for each piece of work.

    Returns:
        The pages of the reports.

    Raises:
        UserError: The file is unfit, `out` belongs to another study, a run that is there differs from the one
            that is wanted, or a training or an evaluation failed.
        StoppedError: SIGTERM or Ctrl-C asked for it; the same call goes on.

    Examples:
        >>> import heteroreg as hr
        >>> cohort = hr.phantom("hearts", pairs=3, size=32)
        >>> rows = "methods: [mse], networks: [voxelmorph], seeds: [0], settings: {steps: 2, batch_size: 2}"
        >>> file = Path("mine.yaml")
        >>> _ = file.write_text(f"{{cohort: hearts, {rows}}}")
        >>> [page.name for page in hr.study(file, "studies/mine")]
        ['index.html']
    """
    out, say = Path(out), say or _silent
    matrix = read_matrix(Path(file), cohorts)
    places = [_place(matrix, arm, out, confine) for arm in matrix.arms]
    _require_own(out, matrix, places)
    runner = runner or Local(1, out / "logs")
    total = _total(matrix)
    try:
        # On a terminal the bar; the lines that say so anyway are enough elsewhere.
        title = f"study {matrix.path.stem}"
        with (
            growing_folder(out, "study", former=lambda _: True),
            progress(title, sum(total.values()), lines=False) as report,
        ):
            for place in places:
                _require_free(place, matrix)
            for place in places:
                place.images.write(place.folder)
            write_text(out / STUDY, yaml.safe_dump(matrix.record(), sort_keys=False, allow_unicode=True))
            _work_off(places, matrix, _Work(runner, say, total, report))
    except Interruption as stop:
        raise StoppedError(f"{out}: the study was stopped; the same command goes on", stop.signal) from None
    pages = [
        write_report(report.groups, report.folder, baseline=report.baseline, title=report.title)
        for place in places
        for report in _planned(place, matrix)
    ]
    for page in pages:
        say(f"look at {page}")
    return pages


def _work_off(places: Sequence[StudyPart], matrix: Matrix, work: _Work) -> None:
    """Train, choose and score, as far as it is not done."""
    first = [(place, run) for place in places for run in _first_runs(place)]
    work.train(first)
    choices = [(place, _choose(place, matrix)) for place in places]
    _tell(choices, work.say)
    others = [(place, run) for place, chosen in choices for choice in chosen for run in _others(place, choice)]
    work.train(others)
    for place, chosen in choices:
        trained = [run for where, run in [*first, *others] if where is place]
        write_text(place.folder / CHOSEN, chosen_table(trained, chosen, matrix.choose_by))
    work.evaluate(places, choices, matrix)


def _place(matrix: Matrix, arm: Arm, out: Path, confine: bool) -> StudyPart:
    cohort = Cohort.read(arm.cohort, confine=confine)
    for split in ("train", "val", matrix.split):
        cohort.split(split)
    prints = Fingerprints()
    images = ScoredImages.of(cohort.split(matrix.split), prints)
    return StudyPart(arm, out / arm.name, cohort, Agreement(cohort, prints), images, confine)


def _require_own(out: Path, matrix: Matrix, places: Sequence[StudyPart]) -> None:
    """Check that a folder is new, or belongs to this study.

    Raises:
        UserError: It holds another study, or something else.
    """
    path, record = out / STUDY, matrix.record()
    if path.is_file():
        earlier = read_yaml(path)
        for place in places:
            _take_place(earlier, record, place)
        found = differences(earlier, record)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise UserError(
                f"{out}: belongs to another study: {'; '.join(found[:3])}{more}; choose another folder "
                "(rows, values, seeds, registrars and cohorts may be added to a study, not changed)"
            )
    elif out.is_file():
        raise UserError(f"{out}: is a file; name a folder to write to")
    elif out.is_dir():
        own = {*STUDY_PARTS, MARKER_FILE, LOCK_FILE, *(arm.name for arm in matrix.arms)}
        foreign = sorted(part.name for part in out.iterdir() if part.name not in own)
        if foreign:
            raise UserError(f"{out}: is no study (no {STUDY}) and holds {foreign[0]}; choose another folder")


def _take_place(earlier: Any, record: Mapping[str, Any], place: StudyPart) -> None:
    """Write into an earlier record where its cohort lies now, if the images are the same.

    Raises:
        UserError: The study was begun with other images.
    """
    known = ScoredImages.read(place.folder)
    if known is None:  # begun by an earlier version: the place has to do
        return
    if odd := known.difference(place.images):
        raise UserError(
            f"{place.folder}: was begun with other images than those of {place.cohort.name} (first difference: "
            f"{odd}); choose another folder"
        )
    if known.complete and known.pairs.keys() <= place.images.pairs.keys():
        name = place.arm.name or "cohort"
        cohorts = earlier.get("cohorts") if isinstance(earlier, dict) else None
        entry = cohorts.get(name) if isinstance(cohorts, dict) else None
        if isinstance(entry, dict):
            entry["path"] = record["cohorts"][name]["path"]


def _total(matrix: Matrix) -> dict[str, int]:
    rows = [row for arm in matrix.arms for row in arm.rows]
    return {
        "train": sum(len(row.points()) + len(row.seeds) - 1 for row in rows),
        "evaluate": sum(len(row.seeds) for row in rows) + len(matrix.registrars) * len(matrix.arms),
    }


def _first_runs(place: StudyPart) -> list[Trained]:
    return [place.run(row, point, row.seeds[0]) for row in place.arm.rows for point in row.points()]


def _others(place: StudyPart, choice: Choice) -> list[Trained]:
    return [place.run(choice.row, choice.point, seed) for seed in choice.row.seeds[1:]]


def _choose(place: StudyPart, matrix: Matrix) -> list[Choice]:
    runs = _first_runs(place)
    return [choose(row, [run for run in runs if run.row is row], matrix.choose_by) for row in place.arm.rows]


def _tell(choices: Iterable[tuple[StudyPart, list[Choice]]], say: Say) -> None:
    for place, chosen in choices:
        for choice in chosen:
            where = f"{place.arm.name}: " if place.arm.name else ""
            say(f"{where}{choice}")


class _Work:
    """Run what is left to do, and says how far it is."""

    def __init__(self, runner: Runner, say: Say, total: Mapping[str, int], report: Report) -> None:
        self.say = say
        self._runner = runner
        self._report = report
        self._left = dict(total)
        self._all = sum(total.values())
        self._seconds: dict[str, list[float]] = {kind: [] for kind in total}

    def train(self, runs: Sequence[tuple[StudyPart, Trained]]) -> None:
        """Train the runs that are not finished.

        Raises:
            UserError: A run that is there is another one, or a training failed.
        """
        for place, run in runs:
            place.agreement.require(run)
        left = [(place, run) for place, run in runs if not run.finished]
        jobs = [run.job(_name(place, run.folder), place.arm.cohort, confine=place.confine) for place, run in left]
        self._run("train", jobs, len(runs))
        for _, run in left:
            if not run.finished:
                raise UserError(f"{run.folder}: is not finished although its training ended; train it by hand")

    def evaluate(
        self, places: Sequence[StudyPart], choices: Sequence[tuple[StudyPart, list[Choice]]], matrix: Matrix
    ) -> None:
        """Score the chosen runs and the registrars, unless that is done.

        Raises:
            UserError: An evaluation failed.
        """
        own: dict[str, str] = {}
        wanted = [(place, name, name, own) for place in places for name in matrix.registrars]
        for place, chosen in choices:
            for choice in chosen:
                for seed in choice.row.seeds:
                    run = place.run(choice.row, choice.point, seed)
                    wanted.append((place, f"{choice.row.name}-seed{seed}", str(run.folder), run.own_parts))
        jobs = []
        for place, name, model, own in wanted:
            target = place.scores(name)
            if not _is_scored(target, model, place.cohort.split(matrix.split)):
                arguments = {
                    "model": model, "cohort": str(place.arm.cohort), "confine": place.confine,
                    "split": matrix.split, "out": str(target), "parts": own,
                }  # fmt: skip
                jobs.append(Job(f"score-{_name(place, target)}", "evaluate", arguments))
        self._run("evaluate", jobs, len(wanted))

    def _run(self, kind: str, jobs: Sequence[Job], wanted: int) -> None:
        self._left[kind] -= wanted - len(jobs)
        self._report(self._count())
        if jobs:
            self.say(f"{self._progress()}: {len(jobs)} to {kind}")
        failed: list[Ended] = []

        def report(ended: Ended) -> None:
            if ended.error:
                failed.append(ended)
            self._ended(ended, len(failed))

        self._runner.run(jobs, report)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(jobs)} failed, first {failed[0].job.name}: {failed[0].error}; correct it, "
                "and run the study again, which continues"
            )

    def _ended(self, ended: Ended, failed: int) -> None:
        kind = ended.job.kind
        if not ended.error:
            self._left[kind] -= 1
            self._seconds[kind].append(ended.seconds)
        rest = sum(
            self._left[kind] * sum(times) / len(times) for kind, times in self._seconds.items() if times
        ) / max(1, self._runner.width)
        self._report(self._count())
        outcome = "failed" if ended.error else f"in {duration(ended.seconds)}"
        status = f"{ended.running} running, {failed} failed"
        left = f", about {duration(rest)} left" if self._left[kind] else ""
        self.say(f"{self._progress()}: {ended.job.name} {outcome}; {status}{left}")

    def _count(self) -> int:
        return self._all - sum(self._left.values())

    def _progress(self) -> str:
        return f"{self._count()}/{self._all}"


def _name(place: StudyPart, folder: Path) -> str:
    """The name of a job: the folder's, after the cohort's where there are several."""
    return "-".join(part for part in (place.arm.name, folder.name) if part)


def _is_scored(folder: Path, model: str, cohort: Cohort) -> bool:
    """Return True if a folder holds the scores of a run, or of a registrar, on these pairs."""
    if not (folder / SCORES_FILE).is_file():
        return False
    scores = Scores.read(folder)
    made_by = scores.summary["info"].get("model") or scores.summary["registrar"]
    # By name: a study that was moved to another place is still the same.
    return Path(made_by).name == Path(model).name and set(scores.table["id"]) == {pair.id for pair in cohort}


@dataclass(frozen=True)
class _Planned:
    """A report to write.

    Attributes:
        folder: Its folder.
        groups: Folders of scores by the name of their row.
        baseline: The row to compare with.
        title: Its title.
    """

    folder: Path
    groups: Mapping[str, list[Path]]
    baseline: str
    title: str


def _planned(place: StudyPart, matrix: Matrix) -> Iterator[_Planned]:
    """A report for all rows, and one for each network where there are several; each for every baseline."""
    networks = list(dict.fromkeys(row.network for row in place.arm.rows))
    several = len(networks) > 1
    registrars = {name: [place.scores(name)] for name in matrix.registrars}
    for network in [None, *(networks if several else [])]:
        rows = [row for row in place.arm.rows if network in (None, row.network)]
        names = {row.name: f"{row.network} {row.label}" if several and not network else row.label for row in rows}
        groups = registrars | {
            names[row.name]: [place.scores(f"{row.name}-seed{seed}") for seed in row.seeds] for row in rows
        }
        first = True
        for label in matrix.baselines:
            candidates = [label] if label in registrars else [names[r.name] for r in rows if r.label == label]
            if not candidates:  # this network has no such row
                continue
            parts = ["report", network, None if first else f"against-{slug(label)}"]
            title = " · ".join(part for part in (matrix.path.stem, place.arm.name, network) if part)
            folder = place.folder / "-".join(part for part in parts if part)
            yield _Planned(folder, groups, candidates[0], f"Study {title}")
            first = False


def _require_free(place: StudyPart, matrix: Matrix) -> None:
    """Check before the work that nothing of the user's is where it will write.

    Raises:
        UserError: The folder of a run, of scores or of a report holds something else.
    """
    for run in _first_runs(place):
        require_growing(run.folder, "run", former=is_former_run)
        place.agreement.require(run)
    names = [*matrix.registrars, *(f"{row.name}-seed{seed}" for row in place.arm.rows for seed in row.seeds)]
    for target in map(place.scores, names):
        if not (target / SCORES_FILE).is_file():  # else it may be done, also by version 0.1.0
            require_output(target, "evaluation")
    for report in _planned(place, matrix):
        require_output(report.folder, "comparison")


def _silent(_text: str) -> None:
    """Say nothing."""
