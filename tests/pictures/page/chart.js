// Lines over time. uPlot draws them, as it does in Grafana.

const POWERS_OF_TWO = Array.from({ length: 60 }, (_, power) => 2 ** power);

export function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  made.className = classes;
  made.textContent = text;
  return made;
}

// Draws into `box`:
//   range    from and to, in seconds
//   times    seconds, rising
//   series   label, values (null: nothing), colour, fill (opacity), axis ("left" or "right")
//   stacked  each series stands on those before it
//   axes     for "left" and "right": min, max, label, format, base (1024: ticks at powers of two)
//   lines    across the chart: value, label, colour, dashed, whether the axis has to reach it
export function chart(box, { range, times, series, stacked, axes, lines = [], height }) {
  const style = getComputedStyle(document.documentElement);
  const [text, grid] = ["--text-weak", "--grid"].map((name) => style.getPropertyValue(name));
  const values = stacked ? piled(series) : series.map(({ values }) => values);
  const used = ["left", "right"].filter((side) => side === "left" || series.some(({ axis }) => axis === side));
  const font = `11px ${style.fontFamily}`;

  const scales = { x: { range: [range.from, range.to] } };
  used.forEach((side) => {
    const reach = lines.filter((line) => line.reach && side === "left").map((line) => line.value);
    const own = values.filter((_, index) => (series[index].axis ?? "left") === side);
    scales[side] = { range: reached(axes[side], [...own.flat(), ...reach]) };
  });

  const options = {
    width: box.clientWidth,
    height,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    cursor: { y: false, points: { size: 5 }, drag: { setScale: false } },
    legend: { markers: { width: 0, fill: (_, index) => series[index - 1]?.colour } },
    scales,
    axes: [
      { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 26, values: hours },
      ...used.map((side) => ({
        scale: side,
        side: side === "left" ? 3 : 1,
        stroke: text,
        font,
        grid: { stroke: grid, width: 1, show: side === "left" },
        ticks: { show: false },
        size: widest,
        space: 36,
        incrs: axes[side].base === 1024 ? POWERS_OF_TWO : undefined,
        values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : axes[side].format(tick))),
      })),
    ],
    series: [
      { value: (_, at) => (at ? clock(at, true) : "") },
      ...series.map(({ label, colour, fill, axis = "left" }) => ({
        label,
        scale: axis,
        stroke: colour,
        width: 1.25,
        fill: fill ? `${colour}${Math.round(fill * 255).toString(16).padStart(2, "0")}` : undefined,
        points: { show: alone },
        value: (_, value) => (value === null ? "" : axes[axis].format(value)),
      })),
    ],
    // A pile is drawn from its top, or it would cover what is below.
    bands: stacked ? series.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
    hooks: { draw: [(plot) => across(plot, lines, font), (plot) => tell(box, plot)] },
  };
  box.replaceChildren();
  for (const side of used.filter((side) => axes[side].label)) {
    box.append(element("span", `unit ${side}`, axes[side].label));
  }
  new uPlot(options, [times, ...values], box);
}

// What uPlot holds after it has drawn, for whoever reads the page without eyes.
function tell(box, plot) {
  const drawn = {
    times: plot.data[0],
    series: plot.series.slice(1).map(({ label, scale }, index) => ({
      label,
      axis: scale,
      reach: [plot.scales[scale].min, plot.scales[scale].max],
      values: plot.data[index + 1],
    })),
  };
  box.dataset.drawn = JSON.stringify(drawn);
}

function piled(series) {
  const below = [];
  return series.map(({ values }) =>
    values.map((value, at) => {
      below[at] = (below[at] ?? 0) + (value ?? 0);
      return value === null ? null : below[at];
    }),
  );
}

function reached({ min, max }, values) {
  const known = values.filter((value) => value !== null);
  const lowest = min ?? Math.min(...known, Infinity);
  const highest = max ?? Math.max(...known, -Infinity);
  if (lowest < highest && Number.isFinite(highest - lowest)) {
    const room = (highest - lowest) * 0.05;
    return [min ?? lowest - room, max ?? highest + room];
  }
  const only = Number.isFinite(lowest) ? lowest : 0;
  return [min ?? only - 1, max ?? only + 1];
}

// One value between two gaps is no line.
function alone(plot, index) {
  const values = plot.data[index];
  return values.filter((value) => value !== null).length === 1;
}

function hours(_, ticks) {
  const short = ticks.length > 1 && ticks[1] - ticks[0] < 60;
  return ticks.map((tick) => clock(tick, short));
}

export function clock(seconds, exact) {
  return new Date(seconds * 1000).toISOString().slice(11, exact ? 19 : 16);
}

function widest(_, labels) {
  return 16 + 6.4 * Math.max(...(labels ?? []).map((label) => label.length), 2);
}

function across(plot, lines, font) {
  const { ctx, bbox } = plot;
  for (const { value, label, colour, dashed } of lines) {
    const y = Math.round(plot.valToPos(value, "left", true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) {
      continue;
    }
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.setLineDash(dashed ? [10, 10] : []);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.font = font;
    ctx.textAlign = "right";
    ctx.fillText(label ?? "", bbox.left + bbox.width - 4, y - 5);
    ctx.restore();
  }
}
