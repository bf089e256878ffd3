// The list of tasks: what is shown, in which order, and which are chosen.

// By name: the task, its two rows of the table, and its box. Rows stay over a reload, so that what is
// chosen or open there stays too.
const entries = new Map();
let server = { inputs: 32, answers: 32768, writable: true, versions: false, downloads: false };
let order = { by: "name", down: false };

const METRICS = { accuracy: "accuracy", "macro-f1": "f1_macro", "micro-f1": "f1_micro", "binary-f1": "f1_binary", matthews: "matthews", "pearson-spearman": "pearson_spearman" };

// Where the metric that a task is judged by stands among its scores: the F1 of one label is an object that names it.
const metric = (task) => METRICS[typeof task.metric === "string" ? task.metric : Object.keys(task.metric ?? {})[0]];

const COLUMNS = {
  name: (task) => task.name,
  score: (task) => task.metrics[metric(task)] ?? null,
  file_bytes: (task) => task.file_bytes,
  memory_bytes: (task) => (task.loaded === false ? null : task.memory_bytes),
};

function kind({ problem, labels, pairs, version, version_count: count }) {
  const what = { "single-label": `${many(labels.length, "label")}`, "multi-label": `any of ${many(labels.length, "label")}`, regression: "a number" }[problem] ?? problem;
  return [what, pairs && "pairs", version && count > 1 && `v${version} of ${count}`].filter(Boolean).join(" · ");
}

// What names begin with, up to the first - _ . or space, where two or more do.
function groups() {
  const found = new Map();
  for (const name of entries.keys()) {
    const start = name.split(/[-_. ]/)[0];
    found.set(start, (found.get(start) ?? 0) + 1);
  }
  return [...found].filter(([, count]) => count > 1).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
}

const inGroup = (name, group) => name.split(/[-_. ]/)[0] === group;

function newEntry(name) {
  const box = Object.assign(element("input"), { type: "checkbox", value: name });
  const entry = { name, row: element("tr"), box, more: buttonOf("More", "about " + name, () => toggle(entry)) };
  entry.more.ariaExpanded = "false";
  entry.box.addEventListener("change", chose);
  return entry;
}

function fill(entry, task) {
  entry.task = task;
  const score = COLUMNS.score(task), memory = COLUMNS.memory_bytes(task);
  const cell = (text, small, classes = "number") => element("td", [text, ...(small ? [element("small", small)] : [])], classes);
  const name = element("th", [element("label", [entry.box, element("span", [task.name, element("small", kind(task))])])]);
  name.scope = "row";
  entry.row.replaceChildren(
    name,
    cell(score === null ? "" : (100 * score).toFixed(1), score === null ? "" : metric(task).replace("_", " ")),
    cell(bytes(task.file_bytes)),
    memory === null ? cell("", "on first use", "number memory") : cell(bytes(memory), "", "number memory"),
    element("td", [entry.more]));
  entry.panel?.fill();
}

async function load() {
  const [info, list] = await Promise.all([call("info"), call("v1/tasks")]);
  const { tasks, failed } = list;
  // A server of before these fields can change tasks and has no versions.
  server = { ...info.limits, writable: list.writable ?? true, versions: list.versions ?? false, downloads: "writable" in list };
  const first = entries.size === 0;
  const names = new Set(tasks.map((task) => task.name));
  for (const [name, entry] of entries)
    if (!names.has(name)) {
      entry.row.remove();
      entry.panel?.row.remove();
      entries.delete(name);
    }
  for (const task of tasks) {
    const entry = entries.get(task.name) ?? newEntry(task.name);
    if (first) entry.box.checked = tasks.length <= 20 && !task.pairs;
    entries.set(task.name, entry);
    fill(entry, task);
  }
  $("base").textContent = `${many(tasks.length, "task")} on ${info.base.name}`;
  $("failed").hidden = failed.length === 0;
  $("failed").querySelector("ul").replaceChildren(...failed.map(({ name, error }) => {
    const line = element("li", `${name}.cut: ${error}`);
    if (server.writable) line.append(removal(name));
    return line;
  }));
  $("list").hidden = tasks.length + failed.length === 0;
  $("upload").hidden = !server.writable;
  $("read-only").hidden = server.writable;
  fillGroups();
  sort();
  show();
  $("whole").hidden = $("ways").hidden = false;
}

function fillGroups() {
  const select = $("group"), before = select.value;
  const option = (value, text) => Object.assign(element("option", text), { value });
  const starts = groups().map(([start, count]) => option("group:" + start, `${start} (${count})`));
  const together = Object.assign(element("optgroup", starts), { label: "Names that begin with" });
  select.replaceChildren(option("all", "all tasks"), option("chosen", "the chosen"), ...(starts.length ? [together] : []));
  select.value = before;
  if (!select.value) select.value = "all"; // a group that is gone
}

// Tasks without a score, or not yet in memory, come last in either direction.
function sort() {
  const of = COLUMNS[order.by], sign = order.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const sorted = [...entries.values()].sort((one, other) => {
    const [a, b] = [of(one.task), of(other.task)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b) || compare(one.name, other.name);
  });
  entries.clear();
  for (const entry of sorted) entries.set(entry.name, entry);
  $("tasks").append(...sorted.flatMap(({ row, panel }) => (panel ? [row, panel.row] : [row])));
  for (const { dataset, parentElement: header } of document.querySelectorAll("[data-by]"))
    header.ariaSort = dataset.by !== order.by ? null : order.down ? "descending" : "ascending";
}

function show() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean), group = $("group").value;
  for (const entry of entries.values()) {
    const text = [entry.name, ...entry.task.labels].join("\n").toLowerCase();
    const within = group === "all" || (group === "chosen" ? entry.box.checked : inGroup(entry.name, group.slice("group:".length)));
    entry.row.hidden = !(within && words.every((word) => text.includes(word)));
    if (entry.panel && entry.row.hidden) entry.panel.close();
  }
  chose();
}

const chosen = () => [...entries.values()].filter((entry) => entry.box.checked).map((entry) => entry.task);

// Says everywhere what is chosen now. Rows stay where they are: one that vanished while it is being
// unticked could not be ticked again.
function chose() {
  const all = [...entries.values()], shown = all.filter((entry) => !entry.row.hidden), asked = chosen();
  const ticked = shown.filter((entry) => entry.box.checked).length;
  $("every").checked = shown.length > 0 && ticked === shown.length;
  $("every").indeterminate = ticked > 0 && ticked < shown.length;
  $("every").disabled = shown.length === 0;
  const unseen = asked.length - ticked;
  $("count").textContent = all.length === 0
    ? "No task yet. " + (server.writable ? "Add a cut below, or put files into the folder of cuts and start the server again." : "")
    : `${shown.length} of ${many(all.length, "task")} shown, ${asked.length} chosen` + (unseen ? ` (${unseen} of them not shown)` : "");
  $("pairs").hidden = !asked.some((task) => task.pairs);
  const names = asked.slice(0, 3).map((task) => task.name).join(", ");
  $("asked").textContent = asked.length === 0 ? "No task is chosen."
    : `Asks ${names}` + (asked.length > 3 ? ` and ${asked.length - 3} more.` : ".");
}

function choose(those, checked) {
  for (const entry of those) entry.box.checked = checked;
  chose();
}

$("filter").addEventListener("input", show);
$("group").addEventListener("change", show);
$("every").addEventListener("change", () =>
  choose([...entries.values()].filter((entry) => !entry.row.hidden), $("every").checked));
$("none").addEventListener("click", () => choose(entries.values(), false));
$("reload").addEventListener("click", () => attempt($("reload").closest("section"), load));
for (const header of document.querySelectorAll("[data-by]"))
  header.addEventListener("click", () => {
    const { by } = header.dataset;
    // Numbers begin with the largest: the best, and what costs most.
    order = { by, down: order.by === by ? !order.down : by !== "name" };
    sort();
  });
