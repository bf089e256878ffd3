// Answers to one text, a line a task, and why.

function answered(answers, text, wide) {
  const list = element("ul", answers.map((answer) => line(answer, text, wide)), "answers");
  list.ariaLabel = "Answers to " + text.join(" | ").slice(0, 100);
  return list;
}

// What is answered, and the labels that are not: of each a label, and a probability where it has one.
function said(answer) {
  if ("error" in answer) return { heads: [{ label: answer.error }], rest: [] };
  if ("value" in answer) return { heads: [{ label: number(answer.value), exact: answer.value }], rest: [] };
  const { scores } = answer;
  if ("labels" in answer) {
    const heads = answer.labels.map((label) => scores.find((one) => one.label === label) ?? { label });
    return { heads: heads.length ? heads : [{ label: "none of its labels" }], rest: scores.filter(({ label }) => !answer.labels.includes(label)) };
  }
  if (answer.abstained) return { heads: [{ label: "not sure enough to answer" }], rest: scores };
  return { heads: scores.slice(0, 1), rest: scores.slice(1) };
}

function line(answer, text, wide) {
  const { heads, rest } = said(answer);
  const task = element("span", answer.task, "task");
  if (answer.text_cut) task.append(" ", element("small", `read ${answer.tokens} tokens, and not the rest`, "note"));
  const buttons = element("span", "", "buttons");
  const others = rest.flatMap((one) => scored(one, "other"));
  for (const other of others) other.hidden = !wide;
  const [first, ...more] = heads.map((one) => scored(one));
  const made = element("li", [task, ...first, buttons, ...more.flat(), ...others]);
  if (!("error" in answer)) {
    const why = buttonOf("Why?", answer.task, () => explained(why, answer.task, text), "why");
    buttons.append(why);
  }
  if (rest.length > 0 && !wide) {
    const show = button("+" + rest.length, () => {
      for (const other of others) other.hidden = !other.hidden;
      show.ariaExpanded = String(!others[0].hidden);
    });
    show.ariaLabel = `+${rest.length} more labels of ${answer.task}`;
    show.ariaExpanded = "false";
    buttons.append(show);
  }
  return made;
}

function scored({ label, score, exact }, other = "") {
  const name = element("span", label, "label " + other);
  if (exact !== undefined) name.title = exact;
  if (score === undefined) return [name, element("span"), element("span")];
  const bar = element("span", [element("i")], "bar");
  bar.ariaHidden = "true";
  bar.firstChild.style.width = 100 * score + "%";
  const value = Object.assign(element("span", percent(score), "score " + other), { title: String(score) });
  return [name, bar, value];
}

// The text with its words marked by what they add: an offset counts bytes of UTF-8.
function marked(text, words, most) {
  const read = new TextEncoder().encode(text), part = (from, to) => new TextDecoder().decode(read.slice(from, to));
  const parts = [];
  let end = 0;
  for (const { start, end: until, change } of words) {
    const word = element("mark", part(start, until), change < 0 ? "against" : "");
    word.style.setProperty("--much", (most > 0 ? 70 * Math.abs(change ?? 0) / most : 0) + "%");
    word.title = change === null ? "nothing is left to read without it" : change.toFixed(4);
    if (Math.abs(change ?? 0) < 0.05 * most) word.style.textDecoration = "none";
    parts.push(part(end, start), word);
    end = until;
  }
  return element("p", [...parts, part(end)]);
}

let explaining = Promise.resolve();

// What each word of a text adds to an answer, under it; a second click hides it again.
function explained(why, task, text) {
  const line = why.closest("li"), told = line.querySelector(".told");
  if (why.ariaBusy === "true") return;
  if (told && told.role !== "alert") {
    told.hidden = !told.hidden;
    why.ariaExpanded = String(!told.hidden);
    return;
  }
  told?.remove();
  why.ariaBusy = "true";
  why.textContent = "…";
  // The server explains one text at a time: clicks wait for their turn here.
  explaining = explaining.then(() => explain(task, text)).then((told) => {
    why.ariaExpanded = "true";
    line.append(told);
  }, (error) => {
    const problem = Object.assign(element("div", "", "told"), { role: "alert" });
    line.append(problem);
    problem.textContent = error.message;
  }).then(() => {
    why.ariaBusy = "false";
    why.textContent = "Why?";
  });
}

async function explain(task, text) {
  const { label, words, untried } = await post("v1/explain", { input: text.length === 2 ? text : text[0], task });
  const most = Math.max(...words.map((word) => Math.abs(word.change ?? 0)));
  const parts = text.map((one, i) => marked(one, words.filter((word) => (word.in ?? "text") === ["text", "pair"][i]), most));
  const what = label ?? "a greater number";
  const note = most > 0 ? `green speaks for ${what}, underlined against` : `no word alone changes ${what}`;
  parts.push(element("p", note + (untried ? `; ${untried} more words were not tried` : ""), "note"));
  return Object.assign(element("div", parts, "told"), { role: "status" });
}
