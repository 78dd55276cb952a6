"""The manuscript itself: renders in each edition, types no result, and shows and mentions every figure and table."""

import html
import re

import pytest
import yaml

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


def test_no_result_is_typed(texts):
    """Decimals, percentages and numbers beside a measure come from files, unless a source is cited for them."""
    typed = re.compile(r"\d\s*%|\d[.,]\d|\b(AUC|accuracy|precision|interval)\b[^.]{0,40}\b\d|\d+ (synapses|neurons)\b")
    for path, text in texts.items():
        for number, line in prose(text):
            cited = re.search(r"\[@[a-z]+\d{4}", line)
            assert cited or not typed.search(line), f"{path.name}:{number}: a typed result? {line}"


def test_there_are_no_code_cells(texts):
    for path, text in texts.items():
        assert not re.search(r"^(```|~~~)|`\{?(python|r)\b", text, re.MULTILINE), path


def test_one_sentence_per_line(texts):
    for path, text in texts.items():
        for number, line in prose(text):
            assert not re.search(r"[a-z)\]][.?!] +[A-Z]", line.split("*", 2)[-1]), f"{path.name}:{number}: {line}"


def test_every_figure_and_table_is_shown_once_and_mentioned_in_the_text(texts):
    whole = "\n".join(texts.values())
    labels = re.findall(r"\{#((?:fig|tbl)-[\w-]+)\}", whole)
    assert len(labels) == len(set(labels)) > 0
    for label in labels:
        assert re.search(rf"@{label}\b", whole), f"{label} is shown and not mentioned"
        kind, name = label.split("-")
        folder = {"fig": "figures", "tbl": "tables"}[kind]
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
    assert "Figure 1: Caption of" in text
    assert "Table 1: Caption of cohort." in text
    assert result.count("Simulated data") == (kind == "simulated")
    notice = re.search(r'<div id="edition"[^>]*>', result).group()
    assert 'role="note"' in notice
    assert ("notice-warning" in notice) == (kind == "simulated")
    subtitle = re.search(r'<p class="subtitle[^>]*>(.*?)</p>', result, re.DOTALL).group(1)
    assert ("Simulated" in subtitle) == (kind == "simulated")
    assert re.search(r'<html[^>]* lang="en"', result)
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", result))
