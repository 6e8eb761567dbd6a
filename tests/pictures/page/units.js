// Numbers as Grafana writes them: https://github.com/grafana/grafana/tree/main/packages/grafana-data/src/valueFormats

const SI = ["", " K", " Mil", " Bil"];

const FORMATS = {
  none: (v, d) => plain(v, d),
  short: (v, d) => scaled(v, d, 1000, SI),
  percent: (v, d) => `${plain(v, d)}%`,
  percentunit: (v, d) => `${plain(v * 100, d)}%`,
  celsius: (v, d) => `${plain(v, d)} °C`,
  watt: (v, d) => scaled(v, d, 1000, [" W", " kW", " MW"]),
  bytes: (v, d) => scaled(v, d, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]),
  mbytes: (v, d) => scaled(v, d, 1024, [" MiB", " GiB", " TiB"]),
  Bps: (v, d) => scaled(v, d, 1000, [" B/s", " kB/s", " MB/s", " GB/s", " TB/s"]),
  cps: (v, d) => `${plain(v, d)} c/s`,
  s: (v, d) => seconds(v, d),
  m: (v, d) => seconds(v * 60, d),
  currencyUSD: (v, d) => `$${plain(v, d)}`,
  dateTimeAsIso: (v) => new Date(v).toISOString().replace("T", " ").slice(0, 19),
};

export function format(value, unit = "none", decimals) {
  if (value === null || value === undefined || Number.isNaN(value)) {
    return "";
  }
  const [kind, suffix] = unit.split(": ");
  if (kind === "suffix") {
    return `${plain(value, decimals)} ${suffix}`;
  }
  if (!FORMATS[unit]) {
    throw new Error(`unit ${unit} is not known here`);
  }
  return FORMATS[unit](value, decimals);
}

// What ticks are multiples of.
export function base(unit) {
  return unit === "bytes" || unit === "mbytes" ? 1024 : 10;
}

function plain(value, decimals) {
  // Three digits that count, and no zeros behind them.
  const shown = decimals ?? Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(Math.abs(value) || 1))));
  const text = value.toFixed(shown);
  return decimals === undefined && text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function scaled(value, decimals, base, names) {
  let power = 0;
  while (Math.abs(value) >= base && power + 1 < names.length) {
    value /= base;
    power += 1;
  }
  return plain(value, decimals) + names[power];
}

function seconds(value, decimals) {
  const steps = [[86400, "days"], [3600, "hours"], [60, "mins"], [1, "s"]];
  const [size, name] = steps.find(([size]) => Math.abs(value) >= size) ?? [0.001, "ms"];
  return value === 0 ? "0 s" : `${plain(value / size, decimals)} ${name}`;
}
