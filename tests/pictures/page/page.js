// One dashboard, drawn from its JSON. The address says which and how, as Grafana's does:
//   ?dashboard=gpu-node&var-node=i-0123&theme=dark&from=<seconds>&to=<seconds>

import { cloudWatch } from "./cloudwatch.js";
import { grafana } from "./grafana.js";
import { element } from "./chart.js";

const REFRESH_SECONDS = 15;

const address = new URLSearchParams(location.search);
const page = await (await fetch("page.json")).json();
const dashboard =
  page.dashboards.find(({ id }) => id === address.get("dashboard")) ?? page.dashboards[0];

document.documentElement.dataset.theme = theme();
document.documentElement.dataset.kind = dashboard.kind;
document.title = dashboard.title;
document.querySelector("h1").textContent = dashboard.title;
document.querySelector("nav").append(...page.dashboards.map(link));
document.querySelector("footer").append(...page.notes.map((note) => element("pre", "note", note)));
await draw();
// What waits for the picture looks for this.
document.documentElement.dataset.height = document.documentElement.scrollHeight;

// A range that ends now moves on.
if (!address.has("to")) {
  setInterval(draw, REFRESH_SECONDS * 1000);
}

async function draw() {
  const to = Number(address.get("to") ?? Math.floor(Date.now() / 1000));
  const range = { from: Number(address.get("from") ?? to - page.seconds), to };
  const render = dashboard.kind === "cloudwatch" ? cloudWatch : grafana;
  const { variables, panels } = await render(dashboard.body, range, chosen());
  document.querySelector("form").replaceChildren(...variables.map(picker), stretch(range));
  const old = document.querySelector("main");
  const main = element("main");
  main.append(...panels.map(({ box }) => box));
  old.replaceWith(main);
  // A chart takes the size of the place where it stands.
  panels.forEach(({ fill }) => fill());
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return address.get("theme") ?? (dark ? "dark" : "light");
}

function link({ id, title }) {
  const there = element("a", id === dashboard.id ? "here" : "", title);
  const to = new URLSearchParams(address);
  to.set("dashboard", id);
  [...to.keys()].filter((key) => key.startsWith("var-")).forEach((key) => to.delete(key));
  there.href = `?${to}`;
  return there;
}

function chosen() {
  const variables = [...address].filter(([key]) => key.startsWith("var-"));
  return Object.fromEntries(variables.map(([key, value]) => [key.slice(4), value]));
}

function picker({ name, label, options, value }) {
  const select = element("select");
  select.append(...["All", ...options].map((option) => new Option(option)));
  select.value = value ?? "All";
  // The mark that a dump of the page shows.
  select.selectedOptions[0].setAttribute("selected", "");
  select.addEventListener("change", () => {
    const to = new URLSearchParams(address);
    select.value === "All" ? to.delete(`var-${name}`) : to.set(`var-${name}`, select.value);
    location.search = to;
  });
  const box = element("label", "", label);
  box.append(select);
  return box;
}

function stretch({ from, to }) {
  const minutes = Math.round((to - from) / 60);
  const hours = minutes / 60;
  const text = Number.isInteger(hours) ? `${hours} hours` : `${minutes} minutes`;
  return element("span", "range", address.has("to") ? text : `Last ${text}, live`);
}
