"""Draws how cost grows with the cluster: the figures of `bench --json` as a PNG."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def seconds(duration):
    """A duration as Rust's serde writes it."""
    return duration["secs"] + duration["nanos"] / 1e9


def main(figures, picture):
    """Wall time and CPU on the left, memory on the right, both over the number of nodes."""
    with open(figures, encoding="utf-8") as file:
        rows = json.load(file)
    delay = max(row["delay_ms"] for row in rows)
    rows = sorted((row for row in rows if row["delay_ms"] == delay), key=lambda row: row["nodes"])
    nodes = [row["nodes"] for row in rows]
    with_daemon = [row for row in rows if row["daemon"]]

    _, (time, memory) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    time.plot(nodes, [seconds(row["run"]["warm"]) for row in rows], "o-", label="run")
    time.plot(nodes, [seconds(row["run"]["cpu"]) for row in rows], "o-", label="its CPU time")
    time.plot(
        nodes,
        [seconds(row["floor"]["sequence"]) for row in rows],
        "k--",
        label="Prometheus alone, in sequence",
    )
    time.plot(
        [row["nodes"] for row in with_daemon],
        [row["daemon"]["wall_seconds"] for row in with_daemon],
        "s-",
        color="tab:red",
        label="Python daemon's cycle",
    )
    time.set(title=f"Seconds, {delay} ms a call", yscale="log")
    memory.plot(nodes, [row["run"]["rss_kib"] / 1024 for row in rows], "o-", label="run")
    memory.plot(
        [row["nodes"] for row in with_daemon],
        [row["daemon"]["rss_kib"] / 1024 for row in with_daemon],
        "s-",
        color="tab:red",
        label="Python daemon",
    )
    memory.set(title="Peak resident MiB", yscale="log")
    for axes in (time, memory):
        axes.set(xscale="log", xlabel="nodes of 8 GPUs")
        axes.grid(True, which="major", alpha=0.3)
        axes.legend()
    plt.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
