import base64
import gzip
import hashlib
import html
import io
import json
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser

import graded
import pytest
import synthetic

from harness.runs.schema import Image, Question
from reports import load, tables
from reports.page import browser, page
from reports.plots import categories

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
in_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs chromium, which is not installed")

OWNED = (
    "</script><script>document.title='OWNED'</script>",
    "<img src=x onerror=\"document.title='OWNED'\">",
    "<!--<script>document.title='OWNED'",
    "\u2028${alert(1)}\\u003cscript>",
    "<svg/onload=document.title='OWNED'>",
    "</style><style>body { display: none; background: url(//example.org/x) }",
    "[x](javascript:document.title='OWNED') <a href=\"javascript:document.title='OWNED'\">x</a>",
    "' onmouseover='document.title=1' style='position: fixed",
)


def counted_of(material):
    counted = [tables.compare(block) for block in material.blocks]
    return [*counted, *(each for table in counted for each in categories.tables(table))]


def render(*paths, draw=False, **options):
    material = load.collect(list(paths))
    counted = counted_of(material)
    return page.render(material, counted, **options | ({} if draw else {"drawn": {}}))


def block_of(text):
    """The data block of a page, as it stands there."""
    return re.search(r'id="data">(.*?)</script>', text, re.S)[1]


def data_of(text):
    return json.loads(gzip.decompress(base64.b64decode(block_of(text))))


def visit(text, tmp_path):
    """Load a page in Chromium and return the document as it then is, and what it logged."""
    file = tmp_path / "page.html"
    file.write_text(text)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--enable-logging=stderr --virtual-time-budget=10000 --dump-dom"
    ).split()
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
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


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Every string that a model, a benchmark or a file name can bring carries markup."""
    runs = tmp_path_factory.mktemp("hostile") / "runs"
    questions = [
        Question(
            task=OWNED[i % 2],
            id=f"{i}{bad}",
            prompt=bad,
            row={"answer": bad, "groups": (f"kind: {OWNED[i - 2]}",)},
        )
        for i, bad in enumerate(OWNED)
    ]
    answers = {
        (q.task, q.id): [(True, "rule", bad, f"<think>{bad}</think>{bad}")]
        for q, bad in zip(questions, OWNED, strict=True)
    }
    for name in ("plain", '<img src=x onerror="alert(1)">', "' onload='alert(1)"):
        graded.write_run(
            runs / name,
            questions,
            answers,
            checkpoint=OWNED[0],
            made={"method": OWNED[1], "cost": {"seconds": len(name), "device": OWNED[4]}},
            engine=OWNED[5],
            device=OWNED[6],
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categories, "SMALL", 1)
        material = load.collect([runs])
        text = page.render(material, counted_of(material))
    assert text.count("<figure") >= 2  # their names are in drawings too
    return text


def test_hostile_text_is_only_text(hostile):
    tags = Tags(hostile)
    names = [tag for tag, _ in tags.found]
    assert names.count("script") == 2 and names.count("style") == 1
    assert not {"img", "iframe", "object", "base", "form", "link"} & set(names)
    for tag, attrs in tags.found:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        if tag == "a":
            assert attrs["href"].startswith("#")
    assert re.fullmatch("[A-Za-z0-9+/=]+", block_of(hostile))
    assert {f"<think>{bad}</think>{bad}" for bad in OWNED} <= set(data_of(hostile)["texts"])


@in_chromium
@pytest.mark.parametrize("policy", [True, False])
def test_hostile_text_does_not_run(hostile, tmp_path, policy):
    # Without the policy too: it is the second lock, not the first.
    text = hostile if policy else re.sub(r"<meta http-equiv=.*?>", "", hostile, count=1)
    if not policy:
        walk = """<script>ready.then(() => {
          for (const fold of document.querySelectorAll("details")) fold.open = true;
          for (let i = 0; i < data.blocks.length; i++) {
            choose(i);
            for (place = 0; place < found.length; place++) show();
          }
          place = 0; choose(0);
          const over = (node) => node.dispatchEvent(new Event("mouseover"));
          document.querySelectorAll("*").forEach(over);
        });</script></body>"""
        text = text.replace("</body>", walk)
    document, logged = visit(text, tmp_path)
    assert "<title>OWNED" not in document and "<title>driftbench: " in document
    tags = Tags(document)
    names = [tag for tag, _ in tags.found]
    assert "img" not in names and names.count("style") == 1
    assert all(attrs["href"].startswith("#") for tag, attrs in tags.found if tag == "a")
    assert logged == []  # neither an error nor a refusal of our own script and style
    assert OWNED[0] in "".join(tags.text)


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
    assert policy.startswith("default-src 'none';") and "img-src data:;" in policy
    assert "unsafe" not in policy and "http" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links and all(link.startswith(("#", "data:")) for link in links)


def test_every_answer_is_in_the_page_once(study):
    material = load.collect([study])
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
    [question] = graded.simple_questions(1, "t")
    said = [(True, "judge", "7", "seven"), (None, "error", None, ""), (False, "rule", "8", "8")]
    graded.write_run(tmp_path / "r", [question], {("t", "q0"): said})
    data = browser.gather(load.collect([tmp_path / "r"]))
    [[flat]] = data["blocks"][0]["answers"]
    assert [data["codes"][code] for code in flat[2::3]] == [
        "right by judge",
        "error",
        "wrong by rule",
    ]


def with_picture(folder, data, suffix=".png"):
    image = Image(hashlib.sha256(data).hexdigest(), suffix, data)
    question = Question(
        task="t", id="q", prompt="<image> ?", images=(image,), row={"answer": "7", "groups": ()}
    )
    answers = graded.simple_answers([question], [1])
    graded.write_run(folder / "r", [question], answers)
    return folder / "r", folder / "images" / f"{image.sha256}{suffix}"


def picture_in(run):
    [uri] = browser.gather(load.collect([run]))["pictures"]
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
    run, path = with_picture(tmp_path / "b", synthetic.picture([1, 2, 3, 4], random).data)
    assert "left out to keep this page small" in picture_in(run)


@in_chromium
def test_pictures_without_room_lie_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "PICTURE_BYTES", 10)
    drawn = synthetic.picture([1, 2, 3, 4], random)
    run, path = with_picture(tmp_path, drawn.data)
    text = render(run, beside=tmp_path / "pictures")
    beside = tmp_path / "pictures" / path.name
    assert beside.read_bytes() == drawn.data
    document, logged = visit(text, tmp_path)
    assert logged == [] and f'src="pictures/{path.name}"' in document
    assert 'class="tiny"' in document  # set when it has been loaded


def test_a_picture_of_an_improper_name_is_not_read(tmp_path):
    run, _ = with_picture(tmp_path, synthetic.picture([1, 2, 3, 4], random).data)
    (tmp_path / "secret.png").write_bytes(b"secret")
    lines = (run / "questions.jsonl").read_text()
    sha = re.search(r'"sha256": "([0-9a-f]{64})"', lines)[1]
    (run / "questions.jsonl").write_text(lines.replace(sha, "../secret"))
    assert picture_in(run) == "picture without a proper name"


def test_long_answers_lose_their_middle_only_where_there_is_no_room(tmp_path, monkeypatch):
    generator = random.Random(0)
    questions = graded.simple_questions(20, "t")
    said = {
        (q.task, q.id): [(True, "rule", "b", f"{generator.getrandbits(40_000):x}")]
        for q in questions
    }
    graded.write_run(tmp_path / "r", questions, said)
    whole = {text for [(_, _, _, text)] in said.values()}
    texts = browser.gather(load.collect([tmp_path / "r"]))["texts"]
    assert whole <= set(texts)
    monkeypatch.setattr(browser, "PAGE_BYTES", 60_000)
    data = browser.gather(load.collect([tmp_path / "r"]))
    assert len(browser.packed(data)) <= 60_000
    cut = [text for text in data["texts"] if "characters left out; responses.jsonl" in text]
    [limit] = {len(text.split("\n[…")[0]) * 2 for text in cut}
    assert len(cut) == 20 and limit in browser.LIMITS
    for text in cut:
        first, left, last = text.split("\n")
        [origin] = [answer for answer in whole if answer.startswith(first)]
        assert origin.endswith(last)
        assert left.startswith(f"[… {len(origin) - limit:,} characters left out")
    larger = browser.LIMITS[browser.LIMITS.index(limit) - 1]
    assert 20 * larger * 4 / 8 * 4 / 3 > 60_000  # hexadecimal packs to half, base64 adds a third


def test_the_page_is_the_same_each_time_and_says_what_matters(study):
    text = render(study, draw=True)
    assert text == render(study, draw=True)
    for part in ("guess floor", "The prior of DRIFT covers 28 tensors", "97.4 %", "2.4 TFLOP"):
        assert part in text
    assert "4 merges" in text and "1.00 GiB" in text


DRIVE = """<script>ready.then(() => {
const said = [];
const note = (name) => said.push([name, $("count").textContent, $("name").textContent]);
const set = (id, text) => {
  const select = $(id);
  select.selectedIndex = [...select.options].findIndex((option) => option.text === text);
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
});</script></body>"""


@in_chromium
def test_going_through_the_questions(study, tmp_path):
    text = re.sub(r"<meta http-equiv=.*?>", "", render(study), count=1)
    document, logged = visit(text.replace("</body>", DRIVE), tmp_path)
    assert logged == []
    said = json.loads(re.search(r'<pre id="said">(.*?)</pre>', document)[1].replace("&amp;", "&"))
    steps = {name: rest for name, *rest in said}
    blocks = load.collect([study]).blocks
    first = differing(blocks[0])
    ids = [id for task, id in blocks[0].questions if task == "pocket"]
    assert steps["start"][0] == f"{ids.index(first[0]) + 1} of 48"
    assert steps["start"][1].startswith(f"pocket · {first[0]} · "), "where the two differ"
    assert steps["right"][0] == f"{ids.index(first[0]) + 2} of 48"
    assert steps["left"][0] == steps["in a list"][0] == f"{max(1, ids.index(first[0]))} of 48"

    block = blocks[1]
    own = [one for one in differing(block) if one.startswith("reasoning-image")]
    number = int(own[0].rsplit("-", 1)[1]) + 1
    assert steps["group"] == [f"{number} of 12", f"pocket · {own[0]} · reasoning-image"]
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
    assert steps["reset"][0].endswith(" of 48")


def differing(block):
    """Ids of the questions on which SFT and DRIFT do not score alike."""
    right = {
        row.run.name: {v.id for v in row.run.verdicts["pocket", "all"] if v.correct}
        for row in block.rows[3:]
    }
    ids = [id for task, id in block.questions if task == "pocket"]
    return [id for id in ids if (id in right["sft"]) != (id in right["drift"])]


@in_chromium
def test_an_address_holds_what_is_on_show(study, tmp_path):
    """Every number leads to its questions, and what is chosen can be sent to others."""
    text = render(study)
    [link] = set(
        re.findall(r'href="(#questions\?in=LLaVA-NeXT&amp;[^"]*first=DRIFT[^"]*differ)"', text)
    ) & set(
        re.findall(r'href="(#[^"]*group=reasoning-image&amp;first=DRIFT&amp;second[^"]*)"', text)
    )
    link = html.unescape(link)
    own = [id for id in differing(load.collect([study]).blocks[1]) if "reasoning-image" in id]
    head = f"location.hash = {json.dumps(link)}; follow();"
    list_ = (
        "$('list').click(); said.push(['lines', $('lines').childElementCount, $('single').hidden]);"
        "said.push(['alike', alike(['Look: one two', 'Look: one six']), alike(['alone'])]);"
    )
    back = "$('reset').click(); location.hash = kept; follow();"
    steps = [
        ("linked", head),
        ("next", "press('ArrowRight'); const kept = location.hash; said.push(['hash', kept, '']);"),
        ("listed", list_),
        ("back", back),
        (
            "nothing of the kind",
            "location.hash = '#questions?in=x&group=<b>&first=y&id=z'; follow();",
        ),
    ]
    said = made_to_say(text, steps, tmp_path)
    assert said["linked"] == (f"1 of {len(own)}", f"pocket · {own[0]} · reasoning-image")
    assert said["next"] == (f"2 of {len(own)}", f"pocket · {own[1]} · reasoning-image")
    kept = said["hash"][0]
    assert kept.startswith("#questions?in=LLaVA-NeXT&") and kept.endswith(f"&id={own[1]}")
    assert said["lines"] == (len(own) + 1, True)
    assert said["alike"] == (len("Look: one "), 0), "whole words that all texts begin with"
    assert said["listed"][0] == f"1–{len(own)} of {len(own)}"
    assert said["back"] == said["next"]
    assert said["nothing of the kind"][0].endswith(" of 48")


def test_what_is_as_broad_as_a_column_is_not_blown_up(study, tmp_path):
    text = render(study, draw=True)
    assert text.count('<figure class="wide">') == 1, "the differences of two families"
    runs = study / "llava_next" / "runs"
    text = render(runs / "sft", runs / "drift", draw=True)
    assert 'id="headline"' in text and 'class="wide"' not in text


def test_counts_lead_to_their_questions_and_files_are_offered(pair):
    text = html.unescape(render(pair, files=["scores.csv", "plots/x.png", "comparison.tex"]))
    assert '<a href="scores.csv" download>' in text and '<a href="comparison.tex" download>' in text
    assert "plots/x.png" not in text, "it stands beside its plot"
    where = "#questions?in=LLaVA-NeXT&first=DRIFT"
    assert f'<td class="count some"><a href="{where}&is=unparsed">1</a>' in text
    assert f'<td class="count some"><a href="{where}&is=truncated">1</a>' in text
    assert f'<td class="count "><a href="{where}">8</a>' in text


def made_to_say(text, steps, tmp_path):
    """Do some steps in the page; a step is a pair of a name and JavaScript before it is noted."""
    acts = "".join(f"{code}\nnote({json.dumps(name)});\n" for name, code in steps)
    head, tail = DRIVE.split('note("start");')[0], DRIVE[DRIVE.index("const out = document") :]
    bare = re.sub(r"<meta http-equiv=.*?>", "", text, count=1)
    document, logged = visit(bare.replace("</body>", head + acts + tail), tmp_path)
    assert logged == []
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', document)[1]))
    return {name: (count, shown) for name, count, shown in said}


@in_chromium
def test_filters_find_what_counting_finds(tmp_path):
    generator = random.Random(1)
    questions = [
        Question(
            task=task,
            id=f"{task}{i}",
            prompt=f"What is {i} ?",
            row={"answer": "7", "groups": (f"kind: {i % 3}",)},
        )
        for task in ("see", "think")
        for i in range(40)
    ]
    kinds = [
        (True, "rule"),
        (False, "rule"),
        (None, "unparsed"),
        (None, "truncated"),
        (None, "error"),
    ]
    runs = {}
    for name in ("a", "b", "c"):
        runs[name] = {
            (q.task, q.id): [
                (*generator.choice(kinds), "7", f"<think>Hm, {word}</think> so {word}")
                for word in generator.choices(["Apple", "pear", "plum", "fig"], k=2)
            ]
            for q in questions
        }
        graded.write_run(tmp_path / "runs" / name, questions, runs[name])

    def count(keep):
        return sum(
            keep(q, {name: said[q.task, q.id] for name, said in runs.items()}) for q in questions
        )

    def score(samples):
        return sum(correct is True for correct, *_ in samples)

    def how(samples, *wanted):
        return any((correct, how) in wanted for correct, how, *_ in samples)

    expected = {
        "all": count(lambda q, said: True),
        "task": count(lambda q, said: q.task == "think"),
        "group": count(lambda q, said: q.task == "think" and int(q.id[5:]) % 3 == 0),
        "words": count(lambda q, said: any("Apple" in s[3] for r in said.values() for s in r)),
        "prompt": count(lambda q, said: "is 17 ?" in q.prompt),
        "nowhere": 0,
        "first": count(lambda q, said: score(said["a"]) > score(said["c"])),
        "second": count(lambda q, said: score(said["a"]) < score(said["c"])),
        "differ": count(lambda q, said: score(said["a"]) != score(said["c"])),
        "not right": count(lambda q, said: not score(said["a"])),
        "unparsed": count(lambda q, said: how(said["a"], (None, "unparsed"))),
        "both": count(
            lambda q, said: how(said["a"], (None, "truncated")) and how(said["c"], (False, "rule"))
        ),
    }  # fmt: skip
    find = "$('search').value = {}; filter();"
    pair = "$('reset').click(); set('model-a', 'a'); set('model-b', 'c');"
    steps = [
        ("all", ""),
        ("task", "set('task', 'think');"),
        ("group", "set('group', 'kind: 0');"),
        ("words", "$('reset').click();" + find.format("'aPPle '")),
        ("prompt", find.format("'is 17 ?'")),
        ("nowhere", find.format("'<b>'")),
        ("first", pair + "set('flip', 'the first is better');"),
        ("second", "set('flip', 'the second is better');"),
        ("differ", "set('flip', 'they differ');"),
        ("not right", pair + "set('verdict-a', 'not right');"),
        ("unparsed", "set('verdict-a', 'unparsed');"),
        ("both", "set('verdict-a', 'truncated'); set('verdict-b', 'wrong');"),
    ]
    said = made_to_say(render(tmp_path / "runs"), steps, tmp_path)
    shown = {
        name: int(count.split(" of ")[1]) if " of " in count else 0
        for name, (count, _) in said.items()
    }
    assert shown == expected
    assert min(value for name, value in expected.items() if name != "nowhere") > 0


def test_the_lead_stands_under_the_title_and_numbers_are_those_of_the_cells(pair):
    lead = '<p class="said">What is <b>supported</b>.</p>'
    text = render(pair, lead=lead)
    assert text.index("</header>") < text.index(lead) < text.index('id="scores"')
    assert "<h1>" in text[: text.index(lead)]
    scores = text[text.index('id="scores"') : text.index('id="cost"')]
    cells = re.findall(r"<td>(?:<a[^>]*>)?([\d.]+ ± [\d.]+|–)", scores)
    # The table worked out by hand in test_tables.
    assert cells == [
        "50.0 ± 18.9", "25.0 ± 25.0", "75.0 ± 25.0", "62.5 ± 18.3", "75.0 ± 25.0", "50.0 ± 28.9",
    ]  # fmt: skip


def test_without_a_lead_there_is_no_room_for_it(pair):
    assert 'id="lead"' not in render(pair)
