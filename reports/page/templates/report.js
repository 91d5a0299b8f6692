"use strict";
// Going through single questions. Everything from the data is set as text, never as markup.

const $ = (id) => document.getElementById(id);
const VERDICTS = ["anything", "right", "not right", "wrong", "unparsed", "truncated", "error", "not asked"];
const FLIPS = ["whatever they say", "they differ", "the first is better", "the second is better"];
const SIGNS = { right: "✓", wrong: "✗", unparsed: "?", truncated: "…", error: "!" };
const PICTURE = /^(data:image\/(png|jpeg);base64,|pictures\/[0-9a-f]{64}\.[a-z]{2,5}$)/;

let data = null;
let block = null; // the family, or the runs, on show
let found = []; // places in block.rows that the filters let through
let place = 0; // in found
const LISTED = 50; // questions of the list at once

// What the address says after `#questions?` → the list in which it is chosen. Values are the words
// that are shown, so that an address holds after the report was made anew.
const CHOICES = {
  task: "task", group: "group", first: "model-a", is: "verdict-a", second: "model-b",
  also: "verdict-b", compare: "flip",
};

// The data is gzip in base64: small, and not one character of it means anything in HTML.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter();
  // Not awaited: writing ends when all has been read. What goes wrong is thrown there.
  writer.write(bytes).catch(() => {});
  writer.close().catch(() => {});
  return JSON.parse(await new Response(stream.readable).text());
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function fill(select, labels, chosen, values) {
  const options = labels.map((label, i) => new Option(label, values ? values[i] : i));
  select.replaceChildren(...options);
  select.value = chosen;
  if (select.parentElement.tagName === "LABEL") select.parentElement.hidden = labels.length < 2;
}

// [text, answer, verdict] of each sample of one run on one question.
function samples(run, row) {
  const flat = block.answers[run][row];
  const list = [];
  for (let i = 0; i < flat.length; i += 3) {
    const code = data.codes[flat[i + 2]];
    list.push({
      text: data.texts[flat[i]],
      answer: flat[i + 1] < 0 ? null : data.texts[flat[i + 1]],
      word: code.split(" ")[0],
      how: code.includes(" ") ? " " + code.slice(code.indexOf(" ") + 1) : "",
    });
  }
  return list;
}

function passes(row, model, verdict) {
  if (verdict === "anything") return true;
  const list = samples(model, row);
  if (verdict === "not asked") return !list.length;
  if (verdict === "not right") return list.length > 0 && !list.some((s) => s.word === "right");
  return list.some((sample) => sample.word === verdict);
}

// The score of one run on one question: the share of its answers that are right.
function share(row, model) {
  const list = samples(model, row);
  return list.length ? list.filter((sample) => sample.word === "right").length / list.length : null;
}

function flipped(row, first, second, flip) {
  if (flip === 0) return true;
  const a = share(row, first);
  const b = share(row, second);
  if (a === null || b === null) return false;
  return flip === 1 ? a !== b : flip === 2 ? a > b : b > a;
}

// Which texts hold the words; the same texts are asked about again and again.
let matches = { words: "", known: new Map() };
function holds(text, words) {
  if (matches.words !== words) matches = { words, known: new Map() };
  if (!matches.known.has(text)) {
    matches.known.set(text, data.texts[text].toLowerCase().includes(words));
  }
  return matches.known.get(text);
}

function says(row, words) {
  if (!words) return true;
  const [, id, prompt, , expected] = data.questions[block.rows[row][0]];
  if ([id, prompt, expected].some((text) => text >= 0 && holds(text, words))) return true;
  return block.answers.some((run) => run[row].some((text, i) => i % 3 === 0 && holds(text, words)));
}

function filter() {
  const task = Number($("task").value);
  const group = Number($("group").value);
  const [first, second] = [Number($("model-a").value), Number($("model-b").value)];
  const [a, b] = [VERDICTS[$("verdict-a").value], VERDICTS[$("verdict-b").value]];
  const flip = Number($("flip").value);
  const words = $("search").value.trim().toLowerCase();
  found = [];
  block.rows.forEach(([question, groups], row) => {
    const inside =
      (task < 0 || data.questions[question][0] === task) && (group < 0 || groups.includes(group));
    if (
      inside &&
      passes(row, first, a) &&
      passes(row, second, b) &&
      flipped(row, first, second, flip) &&
      says(row, words)
    ) {
      found.push(row);
    }
  });
  // Where nothing is asked for, begin where the two differ: that is what one looks for.
  const differs = found.findIndex((row) => flipped(row, first, second, 1));
  place = flip || words ? 0 : Math.max(0, differs);
  show();
}

// The address of what is on show; what is as at the beginning is left out.
function address() {
  const said = new URLSearchParams();
  if (data.blocks.length > 1 || found.length) said.set("in", block.title);
  for (const [name, id] of Object.entries(CHOICES)) {
    const select = $(id);
    if (select.selectedIndex > 0 || name === "first" || name === "second") {
      said.set(name, select.selectedOptions[0].textContent);
    }
  }
  if ($("search").value) said.set("text", $("search").value);
  if ($("list").checked) said.set("list", "1");
  if (found.length) said.set("id", data.texts[data.questions[block.rows[found[place]][0]][1]]);
  return "#questions?" + said;
}

function remember() {
  history.replaceState(null, "", address());
}

// Show what an address asks for; what it names and is not there stays as it is.
function follow() {
  if (!location.hash.startsWith("#questions?")) return;
  const wanted = new URLSearchParams(location.hash.slice("#questions?".length));
  const index = data.blocks.findIndex((each) => each.title === wanted.get("in"));
  $("block").value = Math.max(0, index);
  set($("block").value);
  for (const [name, id] of Object.entries(CHOICES)) {
    const options = [...$(id).options];
    const at = options.findIndex((option) => option.textContent === wanted.get(name));
    if (at >= 0) $(id).selectedIndex = at;
    if (name === "task") offer(); // its groups
  }
  $("search").value = wanted.get("text") || "";
  $("list").checked = wanted.get("list") === "1";
  filter();
  const id = wanted.get("id");
  const at = found.findIndex((row) => data.texts[data.questions[block.rows[row][0]][1]] === id);
  if (id !== null && at >= 0) place = at;
  show();
  document.activeElement.blur(); // arrow keys go through the questions, not through a table
  $("questions").scrollIntoView();
}

// The groups that questions of the chosen task have.
function offer() {
  const task = Number($("task").value);
  const places = new Set();
  for (const [question, groups] of block.rows) {
    if (task < 0 || data.questions[question][0] === task) groups.forEach((g) => places.add(g));
  }
  const sorted = [...places].sort((a, b) =>
    block.groups[a].localeCompare(block.groups[b], "en", { numeric: true }),
  );
  fill($("group"), ["all", ...sorted.map((g) => block.groups[g])], -1, [-1, ...sorted]);
}

function choose(index) {
  set(index);
  filter();
}

function set(index) {
  block = data.blocks[index];
  const labels = block.runs.map((run) => run.label);
  const tasks = [...new Set(block.rows.map(([question]) => data.questions[question][0]))];
  const names = tasks.map((task) => data.texts[task]);
  if (tasks.length > 1) fill($("task"), ["all", ...names], -1, [-1, ...tasks]);
  else fill($("task"), names, tasks[0], tasks);
  offer();
  fill($("model-a"), labels, block.pair[0]);
  fill($("model-b"), labels, block.pair[1]);
  fill($("verdict-a"), VERDICTS, 0);
  fill($("verdict-b"), VERDICTS, 0);
  fill($("flip"), FLIPS, 0);
  $("search").value = "";
}

function prompt(text, pictures) {
  const parts = text.split("<image>");
  const nodes = [];
  parts.forEach((part, i) => {
    if (i > 0) {
      const picture = pictures[i - 1];
      if (picture === undefined) nodes.push(element("span", "empty", "[picture not on disk] "));
      else nodes.push(pictureNode(data.pictures[picture]));
    }
    if (part.trim()) nodes.push(document.createTextNode(i > 0 ? part.trimStart() : part));
  });
  return nodes;
}

function pictureNode(address) {
  if (!PICTURE.test(address)) return element("p", "empty", "[" + address + "]");
  const image = new Image();
  image.alt = "picture of the question";
  image.onload = () => image.classList.toggle("tiny", image.naturalWidth < 120);
  image.src = address;
  return image;
}

function answerNode(run, row) {
  const node = element("div", "answer");
  const left = node.appendChild(element("div"));
  const right = node.appendChild(element("div"));
  left.append(element("div", "model", block.runs[run].label));
  for (const sample of samples(run, row)) {
    const sign = element("b", { right: "up", wrong: "down" }[sample.word] || "");
    sign.textContent = SIGNS[sample.word] + " " + sample.word;
    const verdict = element("div", "verdict");
    verdict.append(sign, sample.how);
    if (sample.answer !== null) verdict.append(", read as “" + sample.answer + "”");
    left.append(verdict);
    right.append(...textNodes(sample.text));
  }
  if (!right.childNodes.length) right.append(element("p", "empty", "not asked"));
  return node;
}

// The thought is folded; a thought that never closes is all there is.
function textNodes(text) {
  const end = text.lastIndexOf("</think>");
  const split = end >= 0 ? end + 8 : text.trimStart().startsWith("<think>") ? text.length : 0;
  const nodes = [];
  if (split) {
    const thought = text.slice(0, split).replace(/^\s*<think>|<\/think>$/g, "").trim();
    const words = thought ? thought.split(/\s+/).length : 0;
    const fold = element("details", "thought");
    fold.open = $("thoughts").checked;
    const label = "thought, " + words + (words === 1 ? " word" : " words");
    fold.append(element("summary", "", label + (end < 0 ? ", not finished" : "")));
    fold.append(element("pre", "text", thought));
    nodes.push(fold);
  }
  const rest = text.slice(split).trim();
  if (rest) nodes.push(element("pre", "text", rest));
  else nodes.push(element("p", "empty", split ? "nothing after the thought" : "empty"));
  return nodes;
}

// Length of what all texts begin with, whole words: the instructions of a benchmark, in a list.
function alike(texts) {
  let length = texts.length > 1 ? texts[0].length : 0;
  for (const text of texts) while (!text.startsWith(texts[0].slice(0, length))) length -= 1;
  return texts.length ? texts[0].slice(0, length).search(/\S*$/) : 0;
}

// The questions found, one a line: what each run made of it, and how it begins.
function showList() {
  const first = Math.floor(place / LISTED) * LISTED;
  const runs = [...block.runs.keys()].filter((run) => block.runs[run].main);
  const head = element("tr");
  const names = ["question", ...runs.map((run) => block.runs[run].label), "text"];
  head.append(...names.map((name) => element("th", "", name)));
  const here = found.slice(first, first + LISTED);
  const asked = here.map((row) => {
    const prompt = data.questions[block.rows[row][0]][2];
    return data.texts[prompt].replaceAll("<image>", "▣ ").trim();
  });
  const same = alike(asked);
  const from = same > 40 ? same : 0;
  const lines = here.map((row, i) => {
    const [, id] = data.questions[block.rows[row][0]];
    const line = element("tr");
    const name = line.appendChild(element("th"));
    name.scope = "row";
    const open = name.appendChild(element("button", "plainly", data.texts[id]));
    open.type = "button";
    open.onclick = () => {
      $("list").checked = false;
      place = first + i;
      show();
      remember();
    };
    for (const run of runs) {
      const signs = samples(run, row).map((sample) => SIGNS[sample.word]).join("");
      const name = { "✓": "up", "✗": "down" }[signs] || "";
      line.append(element("td", name, signs.length > 12 ? signs.slice(0, 12) + "…" : signs));
    }
    const text = (from ? "… " : "") + asked[i].slice(from);
    line.append(element("td", "prose", text.length > 160 ? text.slice(0, 160) + "…" : text));
    return line;
  });
  $("lines").replaceChildren(head, ...lines);
  const last = Math.min(first + LISTED, found.length);
  if (found.length) $("count").textContent = first + 1 + "–" + last + " of " + found.length;
}

function show() {
  const listed = $("list").checked;
  $("listed").hidden = !listed;
  $("single").hidden = listed;
  const slider = $("position");
  slider.max = Math.max(0, found.length - 1);
  slider.value = place;
  $("previous").disabled = place <= 0;
  $("next").disabled = place >= found.length - 1;
  $("count").textContent = found.length ? place + 1 + " of " + found.length : "no question";
  for (const id of ["prompt", "answers"]) $(id).replaceChildren();
  $("others").lastElementChild.replaceChildren();
  $("name").textContent = $("expected").textContent = "";
  $("others").hidden = true;
  if (listed) showList();
  if (listed || !found.length) return;
  const row = found[place];
  const [question, groups] = block.rows[row];
  const [task, id, text, pictures, expected] = data.questions[question];
  const inside = groups.map((group) => block.groups[group]).join(", ");
  $("name").textContent = [data.texts[task], data.texts[id], inside].filter(Boolean).join(" · ");
  $("prompt").append(...prompt(data.texts[text], pictures));
  if (expected >= 0) $("expected").textContent = "expected: " + data.texts[expected];
  const others = [];
  block.runs.forEach((run, i) => {
    if (run.main) $("answers").append(answerNode(i, row));
    else others.push(i);
  });
  $("others").hidden = !others.length;
  $("others").firstElementChild.textContent = others.length + " other runs";
  $("others").lastElementChild.append(...others.map((i) => answerNode(i, row)));
}

function go(step) {
  if ($("list").checked) step *= LISTED;
  to(Math.min(Math.max(place + step, 0), found.length - 1));
}

function to(other) {
  if (other === place || other < 0) return;
  place = other;
  show();
  remember();
}

function begin() {
  $("reading").hidden = true;
  if (!data.blocks.length) return;
  $("browser").hidden = false;
  fill($("block"), data.blocks.map((each) => each.title), 0);
  const chosen = (act) => () => {
    act();
    remember();
  };
  const anew = chosen(() => choose($("block").value));
  $("block").onchange = anew;
  $("task").onchange = chosen(() => {
    offer();
    filter();
  });
  for (const id of ["group", "model-a", "verdict-a", "model-b", "verdict-b", "flip"]) {
    $(id).onchange = chosen(filter);
  }
  $("list").onchange = chosen(show);
  let waiting = 0;
  $("search").oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(chosen(filter), 200); // not at every letter
  };
  $("reset").onclick = anew;
  $("previous").onclick = () => go(-1);
  $("next").onclick = () => go(1);
  $("position").oninput = () => to(Number($("position").value));
  $("thoughts").onchange = show;
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("select, input, .scroll")) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  choose(0);
  follow();
  window.addEventListener("hashchange", follow);
}

const ready = (async () => {
  $("reading").hidden = false;
  try {
    data = await unpacked($("data").textContent);
  } catch (error) {
    $("reading").textContent =
      "This browser cannot unpack the answers (" + error + "); a newer one can. comparison.csv has the scores.";
    return;
  }
  $("data").textContent = "";
  begin();
})();
