"use strict";
// Going through single questions. Everything from the data is set as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const VERDICTS = ["anything", "right", "wrong", "open", "truncated", "error"];
const SIGNS = { right: "✓", wrong: "✗", open: "?", truncated: "…", error: "!" };

let block = null; // the family or task on show
let found = []; // places in block.rows that the filters let through
let place = 0; // in found

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function fill(select, labels, chosen) {
  select.replaceChildren(...labels.map((label, i) => new Option(label, i)));
  select.value = chosen;
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
  return samples(model, row).some((sample) => sample.word === verdict);
}

function filter() {
  const group = Number($("group").value) - 1;
  const clauses = ["a", "b"].map((name) => [
    Number($("model-" + name).value),
    VERDICTS[$("verdict-" + name).value],
  ]);
  found = [];
  block.rows.forEach(([, groups], row) => {
    const inside = group < 0 || groups.includes(group);
    if (inside && clauses.every(([model, verdict]) => passes(row, model, verdict))) found.push(row);
  });
  place = 0;
  show();
}

function choose(index) {
  block = data.blocks[index];
  const labels = block.runs.map((run) => run.label);
  fill($("group"), ["all", ...block.groups], 0);
  fill($("model-a"), labels, block.pair[0]);
  fill($("model-b"), labels, block.pair[1]);
  fill($("verdict-a"), VERDICTS, 0);
  fill($("verdict-b"), VERDICTS, 0);
  filter();
}

function prompt(text, pictures) {
  const parts = text.split("<image>");
  const nodes = [];
  parts.forEach((part, i) => {
    if (i > 0) {
      const picture = pictures[i - 1];
      if (picture === undefined) nodes.push(document.createTextNode("<image>"));
      else nodes.push(pictureNode(data.pictures[picture]));
    }
    if (part.trim()) nodes.push(document.createTextNode(i > 0 ? part.trimStart() : part));
  });
  return nodes;
}

function pictureNode(uri) {
  if (!uri.startsWith("data:image/")) return element("p", "empty", "[" + uri + "]");
  const image = new Image();
  image.alt = "picture of the question";
  image.onload = () => image.classList.toggle("tiny", image.naturalWidth < 120);
  image.src = uri;
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

function show() {
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
  if (!found.length) return;
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
  const to = Math.min(Math.max(place + step, 0), found.length - 1);
  if (to === place || to < 0) return;
  place = to;
  show();
}

if (data.blocks.length) {
  $("browser").hidden = false;
  fill($("block"), data.blocks.map((each) => each.title), 0);
  $("block").onchange = () => choose($("block").value);
  for (const id of ["group", "model-a", "verdict-a", "model-b", "verdict-b"]) $(id).onchange = filter;
  $("reset").onclick = () => choose($("block").value);
  $("previous").onclick = () => go(-1);
  $("next").onclick = () => go(1);
  $("position").oninput = () => go(Number($("position").value) - place);
  $("thoughts").onchange = show;
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("select, input, .scroll")) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  choose(0);
}
