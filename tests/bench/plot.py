"""Draws how cost grows with the cluster: the figures of `bench --json` as a PNG."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

RUN, CPU, DAEMON, FLOOR = "#1f5fa8", "#5ba3d9", "#c8442f", "#8a8a8a"


def seconds(duration):
    """A duration as Rust's serde writes it."""
    return duration["secs"] + duration["nanos"] / 1e9


def in_words(value, _):
    """A time on the axis, in the unit a reader would say it in."""
    return f"{value * 1e3:g} ms" if value < 1 else f"{value:g} s"


def line(axes, rows, value, name, colour, style="o-", lift=0):
    """A line with its name at its end, so that no legend is needed."""
    nodes = [row["nodes"] for row in rows]
    values = [value(row) for row in rows]
    axes.plot(nodes, values, style, color=colour, markersize=5, linewidth=1.8)
    axes.annotate(
        name,
        (nodes[-1], values[-1]),
        xytext=(7, lift),
        textcoords="offset points",
        color=colour,
        va="center",
    )


def main(figures, picture):
    """Time on the left, memory on the right, both over the number of nodes."""
    with open(figures, encoding="utf-8") as file:
        rows = json.load(file)
    delay = max(row["delay_ms"] for row in rows)
    rows = sorted((row for row in rows if row["delay_ms"] == delay), key=lambda row: row["nodes"])
    with_daemon = [row for row in rows if row["daemon"]]
    nodes = [row["nodes"] for row in rows]

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    _, (time, memory) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
    line(time, rows, lambda row: seconds(row["run"]["warm"]), "a run", RUN, lift=6)
    line(time, rows, lambda row: seconds(row["run"]["cpu"]), "its CPU time", CPU)
    floor = lambda row: seconds(row["floor"]["sequence"])
    line(time, rows, floor, "its queries alone", FLOOR, "--", lift=-6)
    line(time, with_daemon, lambda row: row["daemon"]["wall_seconds"], "daemon's cycle", DAEMON)
    time.set_title(f"Time, {delay} ms a call", loc="left")
    time.set(yscale="log")
    time.yaxis.set_major_formatter(FuncFormatter(in_words))

    line(memory, rows, lambda row: row["run"]["rss_kib"] / 1024, "a run", RUN)
    line(memory, with_daemon, lambda row: row["daemon"]["rss_kib"] / 1024, "daemon", DAEMON)
    memory.set_title("Peak resident memory", loc="left")
    memory.set(yscale="log", ylim=(5, 500), ylabel="MiB")
    memory.yaxis.set_major_locator(FixedLocator([5, 10, 20, 50, 100, 200, 500]))
    memory.yaxis.set_minor_locator(NullLocator())
    memory.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

    for axes in (time, memory):
        axes.set(xscale="log", xlabel="nodes of 8 GPUs, 6 fields")
        axes.set_xlim(nodes[0] / 1.3, nodes[-1] * 6)
        axes.xaxis.set_major_locator(FixedLocator(nodes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(axis="x", labelrotation=30)
        axes.grid(True, which="major", alpha=0.25)
    plt.savefig(picture, dpi=110, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
