import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import synthetic

from harness.records import Image, Question
from reports import browser, collect, page, tables

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
in_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs chromium, which is not installed")

OWNED = (
    "</script><script>document.title='OWNED'</script>",
    "<img src=x onerror=\"document.title='OWNED'\">",
    "<!--<script>document.title='OWNED'",
    "\u2028${alert(1)}\\u003cscript>",
    "<svg/onload=document.title='OWNED'>",
)


def render(*paths):
    material = collect.collect(list(paths))
    return page.render(material, [tables.compare(block) for block in material.blocks])


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def visit(text, tmp_path):
    """Load a page in Chromium and return the document as it then is, and what it logged."""
    file = tmp_path / "page.html"
    file.write_text(text)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--enable-logging=stderr --virtual-time-budget=2000 --dump-dom"
    ).split()
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def hostile(tmp_path):
    """Every string that a model, a benchmark or a file name can bring carries markup."""
    runs = tmp_path / "runs"
    questions = [
        Question("t", f"{i}{bad}", bad, (), {"answer": bad, "groups": (bad,)})
        for i, bad in enumerate(OWNED)
    ]
    answers = {
        (q.task, q.id): [(True, "rule", bad, f"<think>{bad}</think>{bad}")]
        for q, bad in zip(questions, OWNED, strict=True)
    }
    for name in ("plain", '<img src=x onerror="alert(1)">'):
        synthetic.write_run(
            runs / name, questions, answers, checkpoint=OWNED[0], made={"method": OWNED[1]}
        )
    return render(runs)


def test_hostile_text_is_only_text(hostile):
    tags = Tags(hostile)
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert not any(tag == "img" for tag, _ in tags.found)
    assert not any(name.startswith("on") for _, attrs in tags.found for name in attrs)
    block = re.search(r'id="data">(.*?)</script>', hostile, re.S)[1]
    assert "<" not in block
    assert {f"<think>{bad}</think>{bad}" for bad in OWNED} <= set(json.loads(block)["texts"])


@in_chromium
@pytest.mark.parametrize("policy", [True, False])
def test_hostile_text_does_not_run(hostile, tmp_path, policy):
    # Without the policy too: it is the second lock, not the first.
    text = hostile if policy else re.sub(r"<meta http-equiv=.*?>", "", hostile, count=1)
    unfold = "<script>for (const fold of document.querySelectorAll('details')) fold.open = true;"
    for i in range(len(OWNED)):
        unfold += f"place = {i}; show();"
    if not policy:
        text = text.replace("</body>", unfold + "</script></body>")
    document, logged = visit(text, tmp_path)
    assert "<title>OWNED" not in document and "<title>driftbench: " in document
    tags = Tags(document)
    assert not any(tag == "img" for tag, _ in tags.found)
    assert logged == []  # neither an error nor a refusal of our own script and style
    shown = "".join(tags.text)
    assert OWNED[0 if policy else -1] in shown


@in_chromium
def test_the_policy_stops_a_script_that_got_in(hostile, tmp_path):
    text = hostile.replace("</main>", "<script>document.title='OWNED'</script></main>")
    text = text.replace("</header>", "<p onclick='1' style='color: red'></p></header>")
    document, logged = visit(text, tmp_path)
    assert "<title>OWNED" not in document and "<title>driftbench: " in document
    assert any("Content Security Policy" in line for line in logged)


def test_the_policy_admits_this_script_and_style_and_no_network(study):
    text = render(study)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)[1]
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "http" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links and all(link.startswith(("#", "data:")) for link in links)


def test_every_answer_is_in_the_page_once(study):
    material = collect.collect([study])
    data = browser.gather(material)
    assert len(set(data["texts"])) == len(data["texts"])
    for block, shown in zip(material.blocks, data["blocks"], strict=True):
        labels = [run["label"] for run in shown["runs"]]
        assert labels[:5] == [row.label for row in block.rows]
        assert [run["main"] for run in shown["runs"]] == [True] * 5 + [False] * (len(labels) - 5)
        run = next(row.run for row in block.rows if row.label == "DRIFT")
        answers = shown["answers"][labels.index("DRIFT")]
        found = {}
        for (place, groups), (text, answer, code) in zip(shown["rows"], answers, strict=True):
            _, id, prompt, pictures, expected = data["questions"][place]
            read = None if answer < 0 else data["texts"][answer]
            found[data["texts"][id]] = (data["codes"][code].removesuffix(" by rule"), read)
            assert [shown["groups"][g] for g in groups] == [data["texts"][id].rsplit("-", 1)[0]]
            assert len(pictures) == data["texts"][prompt].count("<image>")
            assert data["texts"][expected].isdigit() and text >= 0
        expect = {
            v.id: ({True: "right", False: "wrong"}.get(v.correct, v.how), v.answer)
            for v in run.verdicts["pocket", "all"]
        }
        assert found == expect
    # The families were asked the same, and saw the same pictures.
    assert len(data["questions"]) == 4 * 12 and len(data["pictures"]) == 3 * 12
    reasoner = data["blocks"][0]["answers"][1]
    assert sum(not flat for flat in reasoner) == 3 * 12


def test_sampled_answers_and_failures_are_shown(tmp_path):
    [question] = synthetic.simple_questions(1, "t")
    said = [(True, "judge", "7", "seven"), (None, "error", None, ""), (False, "rule", "8", "8")]
    synthetic.write_run(tmp_path / "r", [question], {("t", "q0"): said})
    data = browser.gather(collect.collect([tmp_path / "r"]))
    [[flat]] = data["blocks"][0]["answers"]
    assert [data["codes"][code] for code in flat[2::3]] == [
        "right by judge",
        "error",
        "wrong by rule",
    ]


def with_picture(folder, data, suffix=".png"):
    image = Image(hashlib.sha256(data).hexdigest(), suffix, data)
    question = Question("t", "q", "<image> ?", (image,), {"answer": "7", "groups": ()})
    answers = synthetic.simple_answers([question], [1])
    synthetic.write_run(folder / "r", [question], answers)
    return folder / "r", folder / "images" / f"{image.sha256}{suffix}"


def picture_in(run):
    [uri] = browser.gather(collect.collect([run]))["pictures"]
    return uri


def test_small_pictures_stay_and_large_ones_shrink(tmp_path):
    from PIL import Image as Pillow

    for size, mode in ((90, "L"), (1200, "RGBA")):
        file = io.BytesIO()
        Pillow.new(mode, (size, size // 2)).save(file, "PNG")
        run, _ = with_picture(tmp_path / str(size), file.getvalue())
        kind, data = picture_in(run).removeprefix("data:image/").split(";base64,")
        if size == 90:
            assert (kind, base64.b64decode(data)) == ("png", file.getvalue())
        else:
            with Pillow.open(io.BytesIO(base64.b64decode(data))) as small:
                assert (kind, small.size) == ("jpeg", (300, 150))
                assert small.getpixel((9, 9)) == (255, 255, 255)  # clear, not black


def test_a_picture_that_is_not_there_is_said(tmp_path, monkeypatch):
    run, path = with_picture(tmp_path / "a", b"no picture")
    assert picture_in(run) == f"picture {path.name} cannot be read"
    path.unlink()
    assert picture_in(run) == f"picture {path.name} cannot be read"
    monkeypatch.setattr(browser, "PICTURE_BYTES", 10)
    run, path = with_picture(
        tmp_path / "b", synthetic.picture([1, 2, 3, 4], __import__("random")).data
    )
    assert "left out to keep this page small" in picture_in(run)


def test_a_very_long_answer_loses_its_middle(tmp_path):
    [question] = synthetic.simple_questions(1, "t")
    text = "a" * 5000 + "b" * 5000
    synthetic.write_run(tmp_path / "r", [question], {("t", "q0"): [(True, "rule", "b", text)]})
    texts = browser.gather(collect.collect([tmp_path / "r"]))["texts"]
    [long] = [t for t in texts if len(t) > 100]  # one answer: there is room for LONGEST
    assert long.startswith("a" * 3000 + "\n[… 4,000 characters left out")
    assert long.endswith("b" * 3000)


def test_the_page_is_the_same_each_time_and_says_what_matters(study):
    text = render(study)
    assert text == render(study)
    for part in ("guess floor", "The prior of DRIFT covers 28 tensors", "97.4 %", "2.4 TFLOP"):
        assert part in text
    assert "4 merges" in text and "1.00 GiB" in text


DRIVE = """<script>
const said = [];
const note = (name) => said.push([name, $("count").textContent, $("name").textContent]);
const set = (id, text) => {
  const select = $(id);
  select.value = [...select.options].findIndex((option) => option.text === text);
  select.dispatchEvent(new Event("change"));
};
const press = (key, target) =>
  (target || document.body).dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
note("start");
press("ArrowRight"); note("right");
press("ArrowLeft"); press("ArrowLeft"); note("left");
press("ArrowRight", $("group")); note("in a list");
set("block", "LLaVA-NeXT"); set("group", "reasoning-image"); note("group");
set("verdict-a", "right"); set("verdict-b", "wrong"); note("flips");
$("position").value = 2; $("position").dispatchEvent(new Event("input")); note("slider");
$("thoughts").click(); said.push(["open", $("answers").querySelector("details").open]);
said.push(["answers", $("answers").childElementCount, $("prompt").querySelectorAll("img").length]);
$("reset").click(); note("reset");
const out = document.createElement("pre");
out.id = "said";
out.textContent = JSON.stringify(said);
document.body.append(out);
</script></body>"""


@in_chromium
def test_going_through_the_questions(study, tmp_path):
    text = re.sub(r"<meta http-equiv=.*?>", "", render(study), count=1)
    document, logged = visit(text.replace("</body>", DRIVE), tmp_path)
    assert logged == []
    said = json.loads(re.search(r'<pre id="said">(.*?)</pre>', document)[1].replace("&amp;", "&"))
    steps = {name: rest for name, *rest in said}
    assert steps["start"] == ["1 of 48", "pocket · perception-0000 · perception"]
    assert steps["right"][0] == "2 of 48" and steps["left"][0] == "1 of 48"
    assert steps["in a list"][0] == "1 of 48"
    assert steps["group"] == ["1 of 12", "pocket · reasoning-image-0000 · reasoning-image"]

    block = collect.collect([study]).blocks[1]
    right = {
        row.run.name: {v.id for v in row.run.verdicts["pocket", "reasoning-image"] if v.correct}
        for row in block.rows[3:]
    }
    wrong = {
        v.id for v in block.baseline.run.verdicts["pocket", "reasoning-image"] if v.correct is False
    }
    flips = sorted(right["drift"] & wrong)
    assert len(flips) > 2
    assert steps["flips"] == [f"1 of {len(flips)}", f"pocket · {flips[0]} · reasoning-image"]
    assert steps["slider"] == [f"3 of {len(flips)}", f"pocket · {flips[2]} · reasoning-image"]
    assert steps["open"] == [True] and steps["answers"] == [5, 1]
    assert steps["reset"][0] == "1 of 48"
