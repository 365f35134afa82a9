"""Summary of a comparison in sentences: the best evaluation, its margin and its significance."""

from __future__ import annotations

from heteroreg.comparison import Comparison
from heteroreg.comparison.numbers import interval, mean_and_sd, p_value
from heteroreg.comparison.result import Result
from heteroreg.evaluation.metrics import Metric
from heteroreg.report.tables import Results
from heteroreg.report.wording import joined, unbroken

FEW_PATIENTS = 6  # with 5 even a perfect ranking is not significant in Wilcoxon's test: 2 / 2^5 > 0.05


def summary_sentences(results: Results) -> list[str]:
    """Return the sentences for the head of the page.

    Args:
        results: The results.

    Returns:
        One to four sentences without markup.
    """
    main = results.main_metric
    if main is None:
        return ["There are no scores to compare."]
    shown = results.column(main)
    patients = _patients(results.patients)
    if len(results.names) == 1:
        only = results.get(results.names[0], main)
        assert only is not None
        return [f"{results.names[0]} reaches {_mean(shown, only)} in {shown.spoken} ({patients})."]
    best = results.best(main)
    if best is None:
        return [f"{len(results.names)} evaluations over {patients}; {shown.spoken} has no better direction."]
    top = results.get(best, main)
    assert top is not None
    word = "highest" if shown.higher_is_better else "lowest"
    sentences = [f"{best} has the {word} {shown.spoken}: {_mean(shown, top)} ({patients})."]
    if best == results.baseline:
        sentences.append("It is the baseline: no other evaluation has a better mean.")
        sentences += _against_runner_up(results, main, shown)
    else:
        sentences += _against(best, top, results.baseline, shown)
    sentences += _elsewhere(results, best, main)
    return sentences


def notes(comparison: Comparison) -> list[str]:
    """Return notes on lost labels, rows that were left out, seeds, and the mode of scoring."""
    found = []
    unit = "slices" if any(scores.slicewise for scores in comparison.scores.values()) else "pairs"
    for name, label, missed, rows in comparison.misses():
        found.append(f"{name} lost {comparison.label_called(label)} in {missed} of {rows} {unit}.")
    if comparison.seeds > 1:
        found.append(
            "Rows are means over the seeds of the training. A difference smaller than the spread over seeds may "
            "come from the seeds. Curves and pairs are those of the first seed."
        )
    most = max(comparison.left_out.values(), default=0)
    if most:
        found.append(
            f"A metric is compared only where every evaluation has it. This leaves out up to {most} {unit} "
            "per metric."
        )
    if comparison.mode == "reference":
        found.append("Scored in the reference mode: masks above 0 after linear warping, distances in voxels.")
    if comparison.mode == "learn2reg":
        found.append("Scored as in Learn2Reg: nearest-neighbour warping of labels, distances in voxels.")
    return found


def _against(name: str, result: Result, baseline: str, shown: Metric) -> list[str]:
    if not result.compared:
        return [f"It cannot be compared with the baseline {baseline}: they share no patient."]
    if not result.tested:
        return [
            f"Against the baseline {baseline} the difference is {_difference(shown, result)}; "
            f"with {_patients(result.n)} no test is possible."
        ]
    sentence = f"Against the baseline {baseline} the difference is {_difference(shown, result)}, {_p(result)}."
    return [sentence, _verdict(name, result, baseline)]


def _against_runner_up(results: Results, main: str, shown: Metric) -> list[str]:
    others = [(name, results.get(name, main)) for name in results.names if name != results.baseline]
    ranked = [(name, result) for name, result in others if result is not None and result.compared]
    if not ranked:
        return []
    name, nearest = min(ranked, key=lambda entry: -entry[1].mean if shown.higher_is_better else entry[1].mean)
    if not nearest.tested:
        return [f"The next, {name}, differs by {_difference(shown, nearest)}; no test is possible."]
    text = f"The next, {name}, differs by {_difference(shown, nearest)}, {_p(nearest)}"
    if nearest.significant:
        return [f"{text}."]
    return [f"{text}: not significant, so the two cannot be told apart on these patients."]


def _verdict(name: str, result: Result, baseline: str) -> str:
    if result.significant:
        few = f", though {_patients(result.n)} are few" if result.n < FEW_PATIENTS else ""
        return f"The difference is statistically significant at the 5 % level{few}."
    few = f" {_patients(result.n).capitalize()} are few for any test." if result.n < FEW_PATIENTS else ""
    return (
        f"This is not statistically significant: on these patients {name} cannot be told apart from {baseline}."
        f"{few}"
    )


def _elsewhere(results: Results, best: str, main: str) -> list[str]:
    """Name the other metrics in which the best evaluation differs significantly from the baseline."""
    if best == results.baseline:
        return []
    better: list[Metric] = []
    worse: list[Metric] = []
    for name in results.main_metrics():
        result, other = results.get(best, name), results.get(results.baseline, name)
        shown = results.column(name)
        if name == main or result is None or other is None or not result.significant:
            continue
        if shown.higher_is_better is not None:
            gain = result.difference if shown.higher_is_better else -result.difference
            (better if gain > 0 else worse).append(shown)
    parts = [
        f"significantly {word} in {joined(_by_kind(columns))}"
        for word, columns in (("better", better), ("worse", worse))
        if columns
    ]
    return [f"Elsewhere it is {'; it is '.join(parts)}."] if parts else []


def _by_kind(columns: list[Metric]) -> list[str]:
    """Name each kind of metric once: `Dice of labels 1 and 3`, `folding`."""
    kinds: dict[str, list[Metric]] = {}
    for shown in columns:
        kinds.setdefault(shown.words, []).append(shown)
    return [
        alike[0].spoken if len(alike) == 1 else f"{alike[0].words} of {_labels(alike)}" for alike in kinds.values()
    ]


def _labels(alike: list[Metric]) -> str:
    if any(shown.label_name for shown in alike):
        return joined([shown.label_called for shown in alike])
    return f"labels {joined([str(shown.label) for shown in alike])}"


def _mean(shown: Metric, result: Result) -> str:
    return unbroken(mean_and_sd(shown, result.mean, result.sd, unit=True))


def _difference(shown: Metric, result: Result) -> str:
    text = unbroken(shown.format(result.difference, sign=True, unit=True))
    if not result.tested:
        return text
    ends = interval(shown, result.difference_low, result.difference_high, sign=True)
    return f"{text} (95 % interval {unbroken(ends)})"


def _p(result: Result) -> str:
    return f"{unbroken(p_value(result.p_holm))} after Holm’s correction"


def _patients(n: int) -> str:
    return "1 patient" if n == 1 else f"{n} patients"
