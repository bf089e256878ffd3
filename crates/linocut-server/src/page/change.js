// What stands under a task's row: all about it, and changing it.

function toggle(entry) {
  if (entry.panel && !entry.panel.row.hidden) return entry.panel.close();
  if (!entry.panel) {
    entry.panel = panel(entry);
    entry.row.after(entry.panel.row);
  }
  entry.panel.row.hidden = false;
  entry.more.ariaExpanded = "true";
  entry.panel.fill();
}

function panel(entry) {
  const { name } = entry;
  const facts = element("dl"), actions = element("div", "", "line"), changing = element("div");
  const status = live("status"), problem = live("alert"), versions = element("div");
  const all = element("div", [facts, actions, changing, status, problem, versions]);
  const cell = element("td", [all]);
  cell.colSpan = 5;
  const row = element("tr", [cell], "panel");

  if (server.downloads)
    actions.append(buttonOf("Download", "the cut of " + name, () => attempt(all, () => download(name))));
  if (server.writable) {
    const file = Object.assign(element("input"), { type: "file", accept: ".cut", required: true });
    const form = element("form", [element("label", ["Replace it by another cut", file]), element("button", "Replace")], "line");
    submits(form, async () => {
      status.textContent = "";
      const task = await put(name, file.files[0]);
      form.reset();
      await load();
      status.textContent = `${name} is replaced, ${bytes(task.file_bytes)}`;
    }, all);
    changing.append(form);
    actions.append(removal(name));
  }

  async function fillVersions() {
    const { current, versions: known } = await call(taskAt(name, "/versions"));
    versions.replaceChildren(versionTable(known, current, server.writable && ((version) => attempt(all, async () => {
      status.textContent = "";
      await post(taskAt(name, "/rollback"), { version });
      await load();
      status.textContent = `${name} is version ${version} again`;
    }))));
  }

  return {
    row,
    fill() {
      facts.replaceChildren(...about(entry.task).flatMap(([what, value]) => [element("dt", what, "note"), element("dd", value)]));
      if (server.versions && !row.hidden) fillVersions().catch((error) => { problem.textContent = error.message; });
    },
    close() {
      row.hidden = true;
      entry.more.ariaExpanded = "false";
    },
  };
}

function about(task) {
  const one = (name, value) => `${name.replace("_", " ")} ${(100 * value).toFixed(1)}`;
  return [
    ["Kind", task.problem + (task.pairs ? ", on pairs of texts" : "")],
    task.labels.length && [many(task.labels.length, "label"), task.labels.join(", ")],
    ["Reads", many(task.max_length, "token") + (task.long ? `, of longer texts ${task.long}` : "")],
    ["Scores", Object.entries(task.metrics).map(([name, value]) => one(name, value)).join(", ") || "none"],
    ["Memory", task.loaded === false ? "not loaded yet: its first request loads it" : bytes(task.memory_bytes)],
    ["Zeros", task.zeros.toLocaleString("en")],
    ["Changed of the base", (100 * task.changed_share).toFixed(2) + "%"],
    task.edited_layers && ["Layers edited", ranges(task.edited_layers)],
  ].filter(Boolean);
}

function versionTable(known, current, rollBack) {
  const head = ["Version", "Pushed", "Score", ""].map((text) => Object.assign(element("th", text), { scope: "col" }));
  const rows = known.map(({ version, bytes: size, pushed, metric: name, score }) => {
    const time = element("time", pushed ? new Date(pushed).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "");
    if (pushed) time.dateTime = pushed;
    const last = version === current ? "served" : rollBack ? buttonOf("Roll back", "to version " + version, () => rollBack(version)) : "";
    const first = Object.assign(element("th", version), { scope: "row" });
    const points = score == null ? "" : [number(score), element("small", (name ?? "").replace("_", " "))];
    return element("tr", [first, element("td", [time, element("small", bytes(size))]), element("td", points), element("td", [last])]);
  });
  return element("table", [element("caption", "Versions"), element("thead", [element("tr", head)]), element("tbody", rows)]);
}

// A link cannot send a key, so the page fetches the file and hands it on.
async function download(name) {
  const file = URL.createObjectURL(await (await ask(taskAt(name, "/cut"))).blob());
  Object.assign(element("a"), { href: file, download: name + ".cut" }).click();
  setTimeout(() => URL.revokeObjectURL(file), 60_000);
}

const put = async (name, file) => call(taskAt(name), { method: "PUT", body: await file.arrayBuffer() });

// A button that asks once more in its place, with its error beside it.
function removal(name) {
  const problem = live("alert");
  const place = element("div", [], "line");
  const first = buttonOf("Remove …", name, () => {
    place.replaceChildren(element("span", `Remove ${name} and its file?`), sure, keep, problem);
    keep.focus();
  });
  const keep = button("Keep", () => {
    problem.textContent = "";
    place.replaceChildren(first);
    first.focus();
  });
  const sure = buttonOf("Remove", name, () => attempt(place, async () => {
    await ask(taskAt(name), { method: "DELETE" });
    await load();
    $("uploaded").textContent = `${name} is removed`;
    $("filter").focus();
  }));
  place.append(first);
  return place;
}

// The name of the file is the task's, unless one was typed.
let fromFile = "";
$("file").addEventListener("change", () => {
  if ($("name").value !== fromFile) return;
  fromFile = $("file").files[0]?.name.replace(/\.cut$/, "") ?? "";
  $("name").value = fromFile;
  named();
});
$("name").addEventListener("input", named);

function named() {
  $("upload").querySelector("button").textContent = entries.has($("name").value) ? "Replace" : "Add";
}

submits($("upload"), async () => {
  $("uploaded").textContent = "";
  const task = await put($("name").value, $("file").files[0]);
  await load();
  // The next file must not take the place of this one.
  $("upload").reset();
  fromFile = "";
  named();
  $("uploaded").textContent = `${task.name} is served, ${bytes(task.file_bytes)}`;
});
