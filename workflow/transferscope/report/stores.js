
const contests = JSON.parse(find("data").textContent).contests;
const number = (value) => (value === null ? "" : value.toFixed(3));
const COLUMNS = [
  { key: "backbone", title: "Backbone" },
  { key: "channels", title: "Channels" },
  { key: "mean", title: "Score", show: number },
  { key: "ci_low", title: "Interval", show: (_, row) => (row.ci_low === null ? "" : `${number(row.ci_low)} to ${number(row.ci_high)}`) },
  { key: null, title: "" },
  { key: "may_be_best", title: "May be the best", show: (value) => (value ? "yes" : "ruled out") },
  { key: "at_most_behind", title: "At most behind", show: number },
  { key: "letters", title: "Letters" },
  { key: "operations", title: "Operations per tile", show: (value) => (value === null ? "" : value === 0 ? "no network" : `${(value / 1e9).toPrecision(3)} G`) },
];
const choices = ["dataset", "scheme", "head", "metric"];
let order = { key: "mean", down: true };

// Each choice offers what there is for the choices before it.
function offer() {
  let left = contests;
  for (const key of choices) {
    const select = find(key);
    const values = [...new Set(left.map((contest) => contest[key]))];
    const chosen = values.includes(select.value) ? select.value : values[0];
    select.replaceChildren(...values.map((value) => element("option", { value }, value)));
    if (chosen !== undefined) select.value = chosen;
    left = left.filter((contest) => contest[key] === chosen);
  }
  return left[0] ?? { rows: [] };
}

function compare(one, other) {
  const [a, b] = [one[order.key], other[order.key]];
  if (a === null || b === null) return (a === null) - (b === null);
  const found = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return order.down ? -found : found;
}

function interval(row, low, high) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("class", "interval");
  drawing.setAttribute("viewBox", "0 0 100 10");
  drawing.setAttribute("aria-hidden", "true");
  const place = (value) => 2 + (96 * (value - low)) / (high - low || 1);
  const add = (name, attributes) => {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    drawing.append(made);
  };
  if (row.ci_low !== null) add("line", { x1: place(row.ci_low), x2: place(row.ci_high), y1: 5, y2: 5 });
  add("circle", { cx: place(row.mean), cy: 5, r: 2.4 });
  return drawing;
}

function draw() {
  const contest = offer();
  const wanted = find("filter").value.toLowerCase();
  const rows = contest.rows.filter((row) => `${row.backbone} / ${row.channels}`.toLowerCase().includes(wanted));
  rows.sort(compare);
  const bounds = contest.rows.flatMap((row) => [row.mean, row.ci_low, row.ci_high]).filter((value) => value !== null);
  const [low, high] = [Math.min(...bounds), Math.max(...bounds)];
  const head = element("tr");
  for (const column of COLUMNS) {
    const cell = element("th", { scope: "col" });
    if (column.key) {
      const button = element("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        order = { key: column.key, down: order.key === column.key ? !order.down : column.key === "mean" };
        draw();
        find("leaderboard").querySelectorAll("th button")[COLUMNS.filter((c) => c.key).indexOf(column)].focus();
      });
      cell.append(button);
      cell.setAttribute("aria-sort", order.key !== column.key ? "none" : order.down ? "descending" : "ascending");
    }
    head.append(cell);
  }
  const body = rows.map((row) => {
    const line = element("tr");
    for (const column of COLUMNS) {
      const cell = element("td");
      if (column.key === null) cell.append(interval(row, low, high));
      else {
        const value = row[column.key];
        cell.textContent = column.show ? column.show(value, row) : (value ?? "");
        if (column.key === "may_be_best" && value) cell.className = "best";
      }
      line.append(cell);
    }
    return line;
  });
  find("leaderboard").tHead.replaceChildren(head);
  find("leaderboard").tBodies[0].replaceChildren(...body);
  find("count").textContent = `${rows.length} of ${contest.rows.length} stores`;
}

function download() {
  const contest = offer();
  const keys = ["backbone", "channels", "mean", "ci_low", "ci_high", "may_be_best", "at_most_behind", "letters", "operations"];
  const cell = (value) => (value === null ? "" : /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = [keys.join(","), ...contest.rows.map((row) => keys.map((key) => cell(row[key])).join(","))];
  const link = element("a", { download: `${contest.dataset}-${contest.scheme}-${contest.head}.csv`.replaceAll(/[^\w.-]+/g, "-") });
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const key of choices) find(key).addEventListener("change", draw);
find("filter").addEventListener("input", draw);
find("download").addEventListener("click", download);
draw();
