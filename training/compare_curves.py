"""The curves of several runs on one picture."""

from pathlib import Path

from training.compare_runs import Run

SERIES = {"training loss": "train/loss", "held-out loss": "eval/loss"}
COLOURS = 10  # after those, the same again, dashed
POINTS = 50  # of a smoothed curve; a long run's noise would hide the others


def draw(runs: list[Run], letters: str, path: Path) -> None:
    """Both losses by step; a cross ends the curve of a run that did not finish."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    height = 4.5 + 0.11 * len(runs)
    figure, axes = pyplot.subplots(1, 2, figsize=(12, height), layout="constrained")
    for axis, (title, key) in zip(axes, SERIES.items(), strict=True):
        for number, (letter, run) in enumerate(zip(letters, runs, strict=True)):
            _curve(axis, number, letter, run, key)
        axis.set(title=title, xlabel="step", ylabel="nats a trained token")
        axis.grid(alpha=0.3)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _curve(axis, number: int, letter: str, run: Run, key: str) -> None:
    logged = run.series(key)
    curve = logged.rolling(max(1, len(logged) // POINTS), min_periods=1).mean()
    mark: dict = {}
    if len(curve) and run.status not in ("finished", "running"):
        mark = {"marker": "X", "markersize": 9, "markevery": [-1]}
    elif len(curve) < POINTS:
        mark = {"marker": "."}
    axis.plot(
        curve.index,
        curve,
        label=f"{letter}  {run.name}, {run.status}",
        color=f"C{number % COLOURS}",
        linestyle="-" if number < COLOURS else "--",
        alpha=0.85,
        **mark,
    )
