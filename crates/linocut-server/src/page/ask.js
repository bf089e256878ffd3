// Texts in, answers out.

const MOST_LABELS = 5;

// Bodies of requests: texts for the tasks on single texts, pairs for those on pairs, as many a request as may be.
function requests(texts, tasks) {
  const bodies = [];
  for (const pairs of [false, true]) {
    const asked = tasks.filter((task) => task.pairs === pairs).map((task) => task.name);
    if (asked.length === 0) continue;
    const all = [...entries.values()].filter((entry) => entry.task.pairs === pairs).length;
    const most = Math.max(1, Math.min(server.inputs, Math.floor(server.answers / asked.length)));
    for (let start = 0; start < texts.length; start += most) {
      const inputs = texts.slice(start, start + most).map(([text, second]) => (pairs ? [text, second] : text));
      // The short word where it says the same: the line to copy stays short, too.
      const body = { inputs, tasks: asked.length === all && all > 1 ? "all" : asked, top_k: MOST_LABELS };
      bodies.push({ start, body });
    }
  }
  return bodies;
}

// [text] or [text, second] of every line.
function written(pairs) {
  const lines = (id) => $(id).value.trimEnd().split("\n");
  const texts = lines("texts");
  if (!pairs) return texts.filter((line) => line.trim()).map((line) => [line]);
  const seconds = lines("seconds");
  const paired = Array.from({ length: Math.max(texts.length, seconds.length) }, (_, i) => [texts[i] ?? "", seconds[i] ?? ""]);
  const alone = paired.findIndex(([text, second]) => !text.trim() !== !second.trim());
  if (alone >= 0)
    throw new Error(`line ${alone + 1} has ${paired[alone][0].trim() ? "no second text" : "no first text"}, and tasks on pairs are chosen\nwrite one, or choose no tasks on pairs`);
  return paired.filter(([text]) => text.trim());
}

async function predict() {
  $("answered").textContent = "";
  const tasks = chosen();
  if (tasks.length === 0) throw new Error("no task is chosen\nchoose some in the list of tasks");
  const texts = written(tasks.some((task) => task.pairs));
  if (texts.length === 0) throw new Error("no text\nwrite at least one");
  const start = performance.now(), answers = texts.map(() => []), asked = requests(texts, tasks);
  showLines(asked.filter(({ start }) => start === 0).map(({ body }) => body), asked.length);
  for (const { start, body } of asked) {
    const { results } = await post("v1/predict", body);
    results.forEach((result, i) => answers[start + i].push(...result.answers));
  }
  // In the list's order, whichever order they came in.
  const place = new Map(tasks.map((task, i) => [task.name, i]));
  for (const those of answers) those.sort((a, b) => place.get(a.task) - place.get(b.task));
  const wide = answers[0].length <= 3;
  $("results").replaceChildren(...texts.map((text, i) =>
    element("article", [element("h3", text.join(" | ")), answered(answers[i], text, wide)])));
  // The count is read out, and not hundreds of answers.
  const seconds = (performance.now() - start) / 1000;
  $("answered").textContent = `${many(texts.length, "text")}, ${many(answers.flat().length, "answer")} in ${seconds < 1 ? Math.round(1000 * seconds) + " ms" : number(seconds) + " s"}`;
  const { top } = $("results").getBoundingClientRect();
  if (top < 0 || top > innerHeight - 120) $("answers").scrollIntoView();
}

// The same request for a terminal and for a program: with the name of the key's variable, never with the key.
function showLines(bodies, count) {
  const at = new URL("v1/predict", document.baseURI).href;
  const spaced = (body) => JSON.stringify(body, null, 1).replace(/\n */g, " ");
  const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
  const curl = bodies.map((body) => `curl ${at} -H 'content-type: application/json'`
    + (key ? ' -H "authorization: Bearer $LINOCUT_KEY"' : "") + ` -d ${quoted(spaced(body))}`).join("\n");
  const headers = key ? '{"content-type": "application/json", "authorization": "Bearer " + os.environ["LINOCUT_KEY"]}' : '{"content-type": "application/json"}';
  const python = `import json, ${key ? "os, " : ""}urllib.request\n` + bodies.map((body) =>
    `body = ${spaced(body)}\nrequest = urllib.request.Request("${at}", json.dumps(body).encode(), ${headers})\nprint(json.load(urllib.request.urlopen(request)))`).join("\n");
  const line = (name, text) => {
    const said = Object.assign(element("span"), { role: "status" });
    const copy = buttonOf("Copy", "the line for " + name, async () => { said.textContent = (await copied(code)) ? "copied" : "press Ctrl-C"; });
    const code = element("pre", text);
    return element("div", [element("div", [element("strong", name), copy, said], "line"), code]);
  };
  $("lines").lastElementChild.replaceChildren(line("curl", curl), line("Python", python),
    ...(count > bodies.length ? [element("p", "Of the texts only the first, as many as one request takes.", "note")] : []));
  $("lines").hidden = false;
}

// Selects the text, so that a page that may not copy leaves but one key to press.
async function copied(code) {
  getSelection().selectAllChildren(code);
  if (!navigator.clipboard) return document.execCommand("copy");
  return navigator.clipboard.writeText(code.textContent).then(() => true, () => false);
}

submits($("ask"), predict);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.target.closest("form:not(#ask)")) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
