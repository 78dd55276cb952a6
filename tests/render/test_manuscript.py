"""The manuscript itself: renders in each edition, types no result, and shows and mentions every figure and table."""

import ast
import html
import re

import pytest
import yaml

from pipeline import config, scripts
from pipeline.artefacts import REPOSITORY
from pipeline.render import page

KINDS = sorted(path.parent.name for path in (page.PAPER / "editions").glob("*/words.yml"))


@pytest.fixture(params=KINDS)
def texts(request, manuscript_of):
    return manuscript_of(request.param)


def prose(text):
    """Numbered lines of text: no front matter, mathematics, code, shortcodes, attributes or addresses."""
    text = re.sub(r"\A---\n.*?\n---\n", lambda front: "\n" * front.group().count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", lambda math: "\n" * math.group().count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]+\$|`[^`\n]+`|\{\{<.*?>\}\}|\]\([^)]*\)|\{[^}]*\}", "", text)
    text = text.replace("2.5D", "")  # a kind of network
    return list(enumerate(text.splitlines(), start=1))


def typed_results(text):
    """`(line number, line)` of decimals, percentages and numbers beside a measure or a unit without a cited source."""
    measures = "AUC|F1|accuracy|precision|recall|interval|confidence"
    units = "synapses|neurons|clefts|models|networks|sections|nm|µm"
    typed = re.compile(rf"\d\s*%|\d[.,]\d|\b({measures})\b[^.]{{0,40}}\s\d|(?<![\w-])\d+ ({units})\b")
    return [
        (number, line) for number, line in prose(text) if typed.search(line) and not re.search(r"\[@[a-z]+\d{4}", line)
    ]


def test_no_result_is_typed(texts):
    for path, text in texts.items():
        found = [f"{path.name}:{number}: a typed result? {line}" for number, line in typed_results(text)]
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "Its AUC was 0.95.",
        "It missed 12% of them.",
        "The test set has 343 synapses.",
        "Of 181 clefts, most were found.",
        "The F1 of edges was 1.",
        "Boxes of 128 nm were hidden.",
    ],
)
def test_a_typed_result_is_found_with_its_line(line):
    text = f"---\ntitle: A\n---\n\nA sentence.\n$$\nx = 0.5\n$$\n{line}\nIn flies it is 87% [@eckstein2024].\n"
    assert typed_results(text) == [(9, line)]


def test_every_superlative_names_its_set(texts):
    """What is best on validation need not be so on the test neurons, so a sentence says which it means."""
    superlative = re.compile(r"\b(best|highest|lowest|strongest|weakest)\b")
    compared = re.compile(r"\b(models?|networks?|controls?|representations?|AUC|F1|accuracy)\b")
    named = re.compile(r"\b(validation|test (neurons|AUC|set|tissue)|same neurons|properties that were drawn)\b")
    for path, text in texts.items():
        for number, line in prose(text):
            claims = superlative.search(line) and compared.search(line)
            assert not claims or named.search(line), f"{path.name}:{number}: of which set? {line}"


def test_the_main_text_is_short_and_begins_with_the_answer(texts, rendered, request):
    """With made-up results, each of which is one word."""
    whole = "\n".join(texts.values())
    assert len(re.findall(r"::: \{#fig-", whole)) <= 6
    assert len(re.findall(r"::: \{#tbl-", whole)) <= 3
    result = rendered(request.node.callspec.params["texts"]).read_text(encoding="utf-8")
    main = result[result.index("<main>") : result.index('id="data-and-code-availability"')]
    main = re.sub(r"<(nav|figure|annotation|script)\b.*?</\1>", "", main, flags=re.DOTALL)
    assert len(html.unescape(re.sub(r"<[^>]+>", " ", main)).split()) <= 3200
    assert main.index('id="answer"') < main.index('id="edition"') < main.index('id="abstract"')


#: Words of what scripts write into captions; of everything else, one.
PHRASES = {"study.data_phrase": 2, "study.interval_phrase": 4}


def most_words(node, assigned):
    """The most words that an expression of a caption can have, with one for each value."""
    if isinstance(node, ast.Constant):
        return len(str(node.value).split())
    if isinstance(node, ast.JoinedStr):
        return sum(most_words(part, assigned) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return most_words(node.value, assigned)
    if isinstance(node, ast.IfExp):
        return max(most_words(node.body, assigned), most_words(node.orelse, assigned))
    if isinstance(node, ast.Name) and isinstance(assigned.get(node.id), ast.Constant | ast.JoinedStr | ast.IfExp):
        return most_words(assigned[node.id], assigned)
    return PHRASES.get(ast.unparse(node), 1)


def caption_words(source):
    """The most words that the caption in the source of a figure or table can have."""
    tree = ast.parse(source)
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and hasattr(node.targets[0], "id")
    }
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("study.save_")
    ]
    return most_words(call.args[1], assigned)


@pytest.mark.parametrize("folder", ["figures", "tables"])
def test_captions_are_short(folder):
    """Methods and results belong in the text. Captions of tables that no paper shows stand alone and may be longer."""
    shown = set().union(*(scripts.shown(config.load(name))[folder] for name in ("demo", "study", "minnie65")))
    words = {name: caption_words((REPOSITORY / folder / f"{name}.py").read_text(encoding="utf-8")) for name in shown}
    assert {name: n for name, n in words.items() if n > 60} == {}
    assert len(words) > 10


def test_words_of_captions_are_counted_with_their_longest_parts():
    source = 'more = "two words"\nstudy.save_table(x, f"""A {study.interval_phrase} b {more if x else ""} {n} c""")'
    assert caption_words(source) == 3 + 4 + 2 + 1


def test_there_are_no_code_cells(texts):
    for path, text in texts.items():
        assert not re.search(r"^(```|~~~)|`\{?(python|r)\b", text, re.MULTILINE), path


def test_one_sentence_per_line(texts):
    for path, text in texts.items():
        for number, line in prose(text):
            assert not re.search(r"[a-z)\]][.?!] +[A-Z]", line.split("*", 2)[-1]), f"{path.name}:{number}: {line}"


def test_every_figure_and_table_is_shown_once_and_mentioned_in_the_text(texts):
    whole = "\n".join(texts.values())
    labels = re.findall(r"\{#(s?(?:fig|tbl)-[\w-]+)\}", whole)
    assert len(labels) == len(set(labels)) > 0
    for label in labels:
        assert re.search(rf"@{label}\b", whole), f"{label} is shown and not mentioned"
        kind, name = label.split("-")
        folder = {"fig": "figures", "tbl": "tables"}[kind.removeprefix("s")]
        assert f"{folder}/{name}." in whole
        assert f"{{{{< include {folder}/{name}.caption.md >}}}}" in whole


def test_every_equation_and_section_label_exists_once(texts):
    whole = "\n".join(texts.values())
    labels = re.findall(r"\{#((?:eq|sec)-[\w-]+)\}", whole)
    assert len(labels) == len(set(labels))


def test_every_reference_is_cited_in_some_edition(manuscript_of):
    keys = re.findall(r"^@\w+\{(\w+),", (page.PAPER / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    whole = "\n".join(text for kind in KINDS for text in manuscript_of(kind).values())
    assert [key for key in keys if not re.search(rf"@{key}\b", whole)] == []
    assert len(keys) == len(set(keys)) >= 15


def test_editions_offer_the_same_words_and_files():
    words = {kind: yaml.safe_load((page.PAPER / "editions" / kind / "words.yml").read_text()) for kind in KINDS}
    files = {kind: {path.name for path in (page.PAPER / "editions" / kind).iterdir()} for kind in KINDS}
    assert len({frozenset(entries) for entries in words.values()}) == 1
    assert len({frozenset(names) for names in files.values()}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_each_edition(rendered, kind):
    """Whichever renderer made it."""
    result = rendered(kind).read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", result)))
    assert "⟨performance.best_roc_auc⟩" in text
    assert "{{<" not in result
    assert "Figure 1: Caption of question." in text
    assert "Figure S1: Caption of" in text
    assert "Table S1: Caption of" in text
    assert "Table 1: Caption of cohort." in text
    assert result.count("Simulated data") == (kind == "simulated")
    notice = re.search(r'<div id="edition"[^>]*>', result).group()
    assert 'role="note"' in notice
    assert ("notice-warning" in notice) == (kind == "simulated")
    subtitle = re.search(r'<p class="subtitle[^>]*>(.*?)</p>', result, re.DOTALL).group(1)
    assert ("Simulated" in subtitle) == (kind == "simulated")
    assert re.search(r'<html[^>]* lang="en"', result)
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", result))
