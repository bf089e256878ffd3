"use strict";
const $ = (id) => document.getElementById(id);

// An element with text and children: nothing from the server is ever read as HTML.
function element(tag, content = "", classes = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...(Array.isArray(content) ? content : [String(content)]));
  return made;
}

function button(text, action, classes = "") {
  const made = Object.assign(element("button", text, classes), { type: "button" });
  made.addEventListener("click", action);
  return made;
}

// A button for one of many rows: the same word for eyes, with what it is about for ears.
function buttonOf(text, about, action, classes = "") {
  const made = button(text, action, classes);
  made.ariaLabel = `${text} ${about}`;
  return made;
}

const live = (role) => Object.assign(element("p"), { role });

function bytes(n) {
  for (const [unit, size] of [["MB", 1e6], ["KB", 1e3]])
    if (n >= size) return (n / size).toPrecision(3) + " " + unit;
  return n + " B";
}

// 2.54 of 2.5353308, and 1,235 of 1234.5.
const number = (x) => x.toLocaleString("en", Math.abs(x) >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 });

// A probability in percent: never 100 or 0 where it is not.
function percent(p) {
  if (p > 0.9995 && p < 1) return "> 99.9%";
  if (p > 0 && p < 0.0005) return "< 0.1%";
  return (100 * p).toFixed(1) + "%";
}

const many = (n, one, more = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;

// "0–2, 5" of [0, 1, 2, 5].
function ranges(numbers) {
  const parts = [];
  for (const n of numbers) {
    const last = parts[parts.length - 1];
    if (last && last[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? a : `${a}–${b}`)).join(", ") || "none";
}

let key = "";

// The server's answer; an error has its message and hint, and the status.
async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key && { authorization: "Bearer " + key }) };
  const answer = await fetch(path, { ...options, headers }).catch(() => {
    throw new Error("the server does not answer\nlook whether it still runs, and whether this machine reaches it");
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ error: `the server answers with status ${answer.status} and says nothing more` }));
  const error = new Error(said.hint ? said.error + "\n" + said.hint : said.error);
  throw Object.assign(error, { status: answer.status });
}

const call = async (path, options) => (await ask(path, options)).json();

const post = (path, body) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

const taskAt = (name, more = "") => "v1/tasks/" + encodeURIComponent(name) + more;

// Runs what a form or another place does, once at a time; its error stands beside it. Its buttons stay
// enabled meanwhile: one that is disabled loses the keyboard's focus.
async function attempt(place, action) {
  if (place.ariaBusy === "true") return;
  const problem = place.querySelector(":scope > [role=alert]");
  problem.textContent = "";
  place.ariaBusy = "true";
  const error = await action().then(() => null, (error) => error);
  place.ariaBusy = "false";
  if (error?.status === 401 && place !== $("key")) askForKey();
  else if (error) problem.textContent = error.message;
}

function askForKey() {
  $("key").hidden = false;
  $("again").hidden = true;
  $("secret").focus();
}

// What a form does when it is sent; `place` has its error.
function submits(form, action, place = form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(place, action);
  });
}
