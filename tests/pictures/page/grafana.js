// Grafana's panels, of what the dashboards here have: stat, timeseries, state-timeline, table, row.

import { chart, clock, element } from "./chart.js";
import { base, format } from "./units.js";

const ROW_PIXELS = 30;
const GAP_PIXELS = 8;
const COLUMNS = 24;

// What Grafana takes for the data source's scrape interval, and the steps it rounds to.
const SCRAPE_SECONDS = 15;
const STEPS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600];

// https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/themes/createVisualizationColors.ts
const PALETTE = [
  "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0",
  "#37872d", "#fade2a", "#447ebc", "#c15c17", "#890f02", "#0a437c", "#6d1f62", "#584477",
];
const NAMED = { green: "#73bf69", orange: "#ff9830", red: "#f2495c", text: "var(--text)" };

export async function grafana(dashboard, range, chosen) {
  const variables = await filledIn(dashboard, range, chosen);
  const values = Object.fromEntries(variables.map(({ name, filled }) => [name, filled]));
  const panels = await Promise.all(dashboard.panels.map((panel) => drawn(panel, range, values)));
  return { variables, panels };
}

// The lists above a dashboard, each with what it offers and what its name stands for in a query.
async function filledIn(dashboard, range, chosen) {
  const variables = [];
  for (const { name, label, query, allValue } of dashboard.templating.list.filter(({ type }) => type === "query")) {
    const values = Object.fromEntries(variables.map(({ name, filled }) => [name, filled]));
    const [, series, wanted] = /^label_values\((.*), (\w+)\)$/s.exec(query.query);
    const of = { "match[]": replaced(series, values), start: range.from, end: range.to };
    const options = await prometheus(`label/${wanted}/values`, of);
    const value = chosen[name];
    variables.push({ name, label, options, value, filled: value ?? allValue });
  }
  return variables;
}

function replaced(text, values) {
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`$${name}`, value), text);
}

async function prometheus(path, parameters) {
  const answer = await fetch(`prometheus/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const { status, error, data } = await answer.json();
  if (status !== "success") {
    throw new Error(`${JSON.stringify(parameters)}: ${error}`);
  }
  return data;
}

async function drawn(panel, range, values) {
  const { x, y, w, h } = panel.gridPos;
  const box = element("section", `panel ${panel.type}`);
  const pixels = (rows) => rows * (ROW_PIXELS + GAP_PIXELS) - GAP_PIXELS;
  box.style.gridArea = `${y + 1} / ${x + 1} / span ${h} / span ${w}`;
  const title = element("h2", "", panel.title);
  title.title = panel.description ?? "";
  box.append(title);
  const inside = element("div", "inside");
  box.append(inside);
  const draw = { stat, timeseries, "state-timeline": timeline, table, row: async () => () => {} }[panel.type];
  // About a value for each two pixels.
  const step = stepOf(range, (w / COLUMNS) * 1376);
  const fill = await draw(panel, { range, values, step, inside, height: pixels(h) });
  return { box, fill: () => fill(inside) };
}

function stepOf({ from, to }, pixels) {
  const wanted = Math.max((to - from) / pixels, SCRAPE_SECONDS);
  return STEPS.find((step) => step >= wanted);
}

// A panel's series: labels, their name, and the target they are of.
async function asked(panel, { range, values, step }) {
  const answers = await Promise.all(
    panel.targets.map(async (target) => {
      const seconds = target.interval === "1m" ? 60 : SCRAPE_SECONDS;
      const own = Math.max(step, seconds);
      const filled = { __rate_interval: `${Math.max(own + seconds, 4 * seconds)}s`, ...values };
      const query = replaced(target.expr, filled);
      const [start, end] = [range.from, range.to].map((at) => Math.floor(at / own) * own);
      const found = target.range
        ? await prometheus("query_range", { query, start, end, step: own })
        : await prometheus("query", { query, time: range.to });
      return found.result.map(({ metric, value, values }) => ({
        metric,
        target,
        name: target.legendFormat.replace(/{{(\w+)}}/g, (_, label) => metric[label] ?? "").trim(),
        points: (values ?? [value]).map(([at, text]) => [at, Number(text)]),
      }));
    }),
  );
  return answers.flat();
}

async function stat(panel, context) {
  const [series] = await asked(panel, context);
  const { unit, decimals, thresholds } = panel.fieldConfig.defaults;
  const value = series?.points.at(-1)[1];
  const number = element("b", "", value === undefined ? "No data" : format(value, unit, decimals));
  number.style.color = NAMED[stepAt(thresholds, value ?? -Infinity).color];
  number.dataset.value = value ?? "";
  return (inside) => inside.append(number);
}

function stepAt({ steps }, value) {
  return steps.findLast((step) => step.value === null || value >= step.value);
}

async function timeseries(panel, context) {
  const series = await asked(panel, context);
  const { unit, decimals, min, max, thresholds, custom } = panel.fieldConfig.defaults;
  const times = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b);
  const lines = (custom.thresholdsStyle ? thresholds.steps : [])
    .filter(({ value }) => value !== null)
    .map(({ value, color }) => ({ value, colour: NAMED[color], dashed: true }));
  const data = {
    range: context.range,
    times,
    stacked: custom.stacking.mode === "normal",
    axes: { left: { min, max, format: (value) => format(value, unit, decimals), base: base(unit) } },
    lines,
    height: context.height - 66,
    series: series.map(({ name, points }, index) => {
      const known = new Map(points);
      return {
        label: name,
        colour: PALETTE[index % PALETTE.length],
        fill: custom.fillOpacity / 100,
        values: times.map((at) => known.get(at) ?? null),
      };
    }),
  };
  return (inside) => (series.length ? chart(inside, data) : nothing(inside));
}

function nothing(inside) {
  inside.append(element("p", "nothing", "No data"));
}

// A row for each series, coloured while there is a value.
async function timeline(panel, context) {
  const series = await asked(panel, context);
  const { from, to } = context.range;
  const { thresholds, mappings } = panel.fieldConfig.defaults;
  const share = (seconds) => `${(100 * seconds) / (to - from)}%`;
  const rows = series.map(({ name, points }) => {
    const bar = element("div", "bar");
    for (const [start, end, value] of stretches(points, context.step)) {
      const block = element("i");
      block.style.left = share(start - from);
      block.style.width = share(end - start);
      block.style.background = NAMED[stepAt(thresholds, value).color];
      block.title = mappings[0]?.options[value]?.text ?? value;
      block.dataset.stretch = JSON.stringify([start, end, value]);
      bar.append(block);
    }
    const row = element("div", "line");
    row.append(element("span", "", name), bar);
    return row;
  });
  const [axis, ticks] = [element("div", "line axis"), element("div", "bar")];
  axis.append(element("span"), ticks);
  const every = STEPS.find((step) => step >= (to - from) / 13);
  for (let at = Math.ceil(from / every) * every; at < to; at += every) {
    const tick = element("span", "", clock(at));
    tick.style.left = share(at - from);
    ticks.append(tick);
  }
  return (inside) => {
    inside.style.gridTemplateRows = `repeat(${rows.length}, minmax(16px, 1fr)) 18px`;
    rows.length ? inside.append(...rows, axis) : nothing(inside);
  };
}

// Runs of one value without a gap.
function stretches(points, step) {
  const found = [];
  for (const [at, value] of points) {
    const last = found.at(-1);
    if (last && last[1] === at && last[2] === value) {
      last[1] = at + step;
    } else {
      found.push([at, at + step, value]);
    }
  }
  return found;
}

async function table(panel, context) {
  const series = await asked(panel, context);
  const { excludeByName: left_out } = panel.transformations.find(({ id }) => id === "organize").options;
  const several = panel.targets.length > 1;
  // Grafana's merge: what has the same labels is one row.
  const rows = new Map();
  for (const { metric, target, points } of series) {
    const key = JSON.stringify(metric);
    const value = several ? `Value #${target.refId}` : "Value";
    rows.set(key, { ...(rows.get(key) ?? metric), [value]: points[0][1] });
  }
  const names = panel.targets.map(({ refId }) => (several ? `Value #${refId}` : "Value"));
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const columns = [...labels, ...names].filter((name) => !left_out[name]).map((name) => column(panel, name));
  const [{ displayName, desc }] = panel.options.sortBy;
  const by = columns.find(({ title }) => title === displayName)?.name;
  const sorted = [...rows.values()].sort((a, b) => (desc ? -1 : 1) * compared(a[by], b[by]));

  const head = element("tr");
  const isNumber = (name) => sorted.every((row) => typeof row[name] === "number");
  head.append(...columns.map(({ name, title }) => element("th", isNumber(name) ? "number" : "", title)));
  const body = sorted.map((row) => {
    const line = element("tr");
    line.append(...columns.map((column) => cell(column, row[column.name])));
    return line;
  });
  const made = element("table");
  made.append(head, ...body);
  return (inside) => (sorted.length ? inside.append(made) : nothing(inside));
}

function compared(a, b) {
  return typeof a === "number" ? a - b : String(a ?? "").localeCompare(String(b ?? ""));
}

function column({ fieldConfig }, name) {
  const found = fieldConfig.overrides.find(({ matcher }) => matcher.options === name)?.properties ?? [];
  const own = Object.fromEntries(found.map(({ id, value }) => [id, value]));
  return { name, title: own.displayName ?? name, ...own };
}

function cell({ title, unit, decimals, min, max, mappings, links, "custom.cellOptions": options }, value) {
  const mapped = mappings?.[0].options[value];
  const text = mapped?.text ?? (typeof value === "number" ? format(value, unit, decimals) : (value ?? ""));
  const made = element("td", typeof value === "number" ? "number" : "");
  made.dataset.value = value ?? "";
  made.dataset.column = title;
  if (links) {
    const there = element("a", "", text);
    const to = new URLSearchParams(location.search);
    to.set("dashboard", "gpu-node");
    to.set("var-node", value);
    there.href = `?${to}`;
    made.append(there);
  } else if (options?.type === "gauge") {
    const gauge = element("span", "gauge");
    const bar = element("i");
    bar.style.width = `${(100 * (value - min)) / (max - min)}%`;
    gauge.append(bar);
    made.append(gauge, text);
  } else {
    made.append(text);
    made.style.color = NAMED[mapped?.color] ?? "";
  }
  return made;
}
