// CloudWatch's widgets, of what the dashboard here has: lines, and a table of log lines.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html

import { chart, element } from "./chart.js";

const ROW_PIXELS = 50;

const PALETTE = [
  "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
];
const ANNOTATION = "#d62728";

export async function cloudWatch(body, range) {
  const panels = await Promise.all(body.widgets.map((widget) => drawn(widget, range)));
  return { variables: [], panels };
}

async function aws(operation, input) {
  const answer = await fetch(`aws/${operation}`, { method: "POST", body: JSON.stringify(input) });
  const output = await answer.json();
  if (!answer.ok) {
    throw new Error(`${operation}: ${output.message}`);
  }
  return output;
}

async function drawn({ type, x, y, width, height, properties }, range) {
  const box = element("section", `panel ${type}`);
  box.style.gridArea = `${y + 1} / ${x + 1} / span ${height} / span ${width}`;
  box.append(element("h2", "", properties.title));
  const inside = element("div", "inside");
  box.append(inside);
  const draw = { metric: lines, log: messages }[type];
  const fill = await draw(properties, range, height * ROW_PIXELS);
  return { box, fill: () => fill(inside) };
}

async function lines(properties, range, height) {
  const { yAxis, annotations, stacked, period } = properties;
  const rows = (await Promise.all(writtenOut(properties.metrics).map(searched))).flat();
  // Whole periods, as the console asks for them.
  const [from, to] = [range.from, range.to].map((at) => Math.floor(at / period) * period);
  const found = await Promise.all(
    rows.map(async ({ namespace, name, dimensions, stat, period: own = period }) => {
      const metric = { Namespace: namespace, MetricName: name, Dimensions: dimensions };
      const query = { Id: "m", MetricStat: { Metric: metric, Period: own, Stat: stat } };
      const input = { MetricDataQueries: [query], StartTime: from, EndTime: to, ScanBy: "TimestampAscending" };
      const [{ Timestamps, Values }] = (await aws("GetMetricData", input)).MetricDataResults;
      return new Map(Timestamps.map((at, index) => [at, Values[index]]));
    }),
  );
  const times = [];
  for (let at = from; at < to; at += period) {
    times.push(at);
  }
  const axis = (side) => ({ ...yAxis[side], format: short });
  const data = {
    range,
    times,
    stacked,
    axes: { left: axis("left"), right: axis("right") },
    lines: (annotations?.horizontal ?? []).map((line) => ({ ...line, colour: ANNOTATION, reach: true })),
    height: height - 84,
    series: rows.map(({ label, name, yAxis: axis }, index) => ({
      label: label ?? name,
      axis,
      colour: PALETTE[index % PALETTE.length],
      fill: stacked ? 0.5 : 0,
      values: times.map((at) => found[index].get(at) ?? null),
    })),
  };
  return (inside) => {
    chart(inside, data);
    if (data.series.every(({ values }) => values.every((value) => value === null))) {
      inside.append(element("p", "nothing", "No data available. Try adjusting the dashboard time range."));
    }
  };
}

// `.` repeats one field of the row above, `...` all that are left.
function writtenOut(metrics) {
  let above = [];
  return metrics.map((row) => {
    const options = row.find((field) => typeof field === "object") ?? {};
    const fields = row.filter((field) => typeof field === "string");
    const own = fields.flatMap((field, at) => (field === "..." ? above.slice(at) : field === "." ? above[at] : field));
    above = own;
    const [namespace, name, ...pairs] = own;
    const dimensions = [];
    for (let at = 0; at < pairs.length; at += 2) {
      dimensions.push({ Name: pairs[at], Value: pairs[at + 1] });
    }
    return { namespace, name, dimensions, ...options };
  });
}

// A search becomes the metrics it finds, as the account here has no metric math.
async function searched(row) {
  if (!row.expression) {
    return [row];
  }
  const search = /^SEARCH\('{"(.+)",([\w,]+)} MetricName="(\w+)"', '(\w+)', (\d+)\)$/;
  const [, namespace, schema, name, stat, period] = search.exec(row.expression);
  const names = schema.split(",");
  const input = { Namespace: namespace, MetricName: name, Dimensions: names.map((Name) => ({ Name })) };
  const { Metrics } = await aws("ListMetrics", input);
  const exact = Metrics.filter(({ Dimensions }) => Dimensions.length === names.length);
  return exact.map(({ Dimensions }) => ({
    namespace,
    name,
    stat,
    period: Number(period),
    dimensions: Dimensions,
    // An empty label is CloudWatch's own: what tells the lines apart.
    label: row.label || names.map((name) => Dimensions.find(({ Name }) => Name === name).Value).join(" "),
  }));
}

function short(value) {
  const [size, unit] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  return `${Number((value / (unit === "k" ? 1e3 : size)).toFixed(2))}${unit}`;
}

async function messages({ query }, { from, to }) {
  const [source, ...steps] = query.split(" | ");
  const input = {
    logGroupName: /^SOURCE '(.+)'$/.exec(source)[1],
    queryString: steps.join(" | "),
    startTime: from,
    endTime: to,
  };
  const { queryId } = await aws("StartQuery", input);
  const { results } = await aws("GetQueryResults", { queryId });
  // The account here logs plain text, without a field for the level: the first word of the message is.
  const [, wanted] = /level in \[(.*?)\]/.exec(query);
  const found = results.filter((fields) => {
    const message = fields.find(({ field }) => field === "@message")?.value ?? "";
    return wanted.includes(`'${message.trim().split(" ")[0]}'`);
  });
  const columns = steps[0].replace("fields ", "").split(", ");
  const head = element("tr");
  head.append(...columns.map((name) => element("th", "", name)));
  const body = found.map((fields) => {
    const line = element("tr");
    const value = (name) => fields.find(({ field }) => field === name)?.value ?? "";
    line.append(...columns.map((name) => element("td", "", value(name))));
    return line;
  });
  const made = element("table");
  made.append(head, ...body);
  return (inside) => {
    inside.append(made);
    if (!found.length) {
      inside.append(element("p", "nothing", "No log records found"));
    }
  };
}
