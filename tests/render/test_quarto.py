"""The embedded renderer gives Quarto's wording and numbering, and stops where Quarto only warns.

Expected texts are those of Quarto's documentation (quarto.org/docs/authoring: cross-references, cross-references-divs,
variables, includes, callouts).
"""

import html.parser
import re

import pytest
import yaml

from pipeline.render import page
from pipeline.render.pandoc import RenderError, convert

QUARTO_YML = """
bibliography: references.bib
link-citations: true
crossref:
  custom:
    - {kind: float, key: sfig, reference-prefix: "Figure\u00a0S", space-before-numbering: false}
    - {kind: float, key: stbl, reference-prefix: Table S, space-before-numbering: false, caption-location: top}
format:
  html:
    theme: none
    css: []
    toc: true
    toc-depth: 2
    number-sections: true
    html-math-method: {method: mathml}
    embed-resources: true
"""

PAPER = """---
title: "About {{< var a.name >}}"
---

# First {#sec-first}

See @fig-one, @Fig-two, [-@fig-two], [Fig @fig-one], [@fig-one; @tbl-one], @tbl-one, @eq-one, @sec-first and @sec-sub.

::: {#fig-one}
![](dot.svg){fig-alt="A small square"}

{{< include caption.md >}}
:::

## Sub {#sec-sub}

Measured ({{< var a.interval >}}), **{{< var a.name >}}**{{< var a.name >}}'s; see @gray1959 and [@gray1959, p. 3].

$$
x = \\frac{1}{2}
$$ {#eq-one}

# Not counted {.unnumbered}

# Second {#sec-second}

@sec-second follows.

::: {#tbl-one}
| a | b |
|---|--:|
| {{< var a.name >}} | 2 |

A table.
:::

::: {#fig-two}
![](dot.svg){fig-alt="The same square"}

The second.
:::

::: {.callout-note collapse="true" title="Folded *away*"}
As @sfig-extra and [-@stbl-extra] show.

::: {#sfig-extra}
![](dot.svg){fig-alt="A square once more"}

An extra.
:::

::: {#stbl-extra}
| a |
|---|
| 1 |

More.
:::
:::

::: {.callout-note}
Plain.
:::

::: {.callout-warning}
## Take care
Of {{< var a.name >}}.
:::

::: {.callout-tip title="By *hand*"}
Titled by an attribute.
:::

# References {.unnumbered}

::: {#refs}
:::
"""

FILES = {
    "_quarto.yml": QUARTO_YML,
    "_variables.yml": 'a: {name: "*Gray*", interval: "0.87 [0.82, 0.91]"}\n',
    "callouts.lua": (page.PAPER / "callouts.lua").read_text(),
    "caption.md": "A square by {{< var a.name >}}, like @fig-two.\n",
    "dot.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "references.bib": "@article{gray1959, author={Gray, E. G.}, title={Synapses}, journal={J Anat}, year={1959}}",
}


class Text(html.parser.HTMLParser):
    """Visible text with single spaces; `only` keeps that inside elements of one name."""

    def __init__(self, only=None):
        super().__init__()
        self.only, self.depth, self.parts = only, 0, []

    def handle_starttag(self, tag, attributes):
        if tag == self.only:
            self.depth += 1
            self.parts.append("|")

    def handle_endtag(self, tag):
        self.depth -= tag == self.only

    def handle_data(self, data):
        if self.only is None or self.depth:
            self.parts.append(data)


def text_of(html_text, only=None):
    parser = Text(only)
    parser.feed(html_text)
    return " ".join("".join(parser.parts).split())  # str.split also splits at no-break spaces


def rendered(folder, text, changed):
    for name, content in (FILES | {"index.qmd": text} | changed).items():
        (folder / name).write_text(content)
    page.render_embedded(folder, folder / "index.html")
    return (folder / "index.html").read_text()


@pytest.fixture
def render(tmp_path):
    """Render a manuscript of the given text and files; returns the page as a string."""
    return lambda text, **changed: rendered(tmp_path, text, changed)


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The page of PAPER."""
    return rendered(tmp_path_factory.mktemp("paper"), PAPER, {})


def test_references_and_numbers_read_as_in_quarto(paper):
    text = text_of(paper)
    assert (
        "See Figure 1, Figure 2, 2, Fig 1, Figure 1, Table 1, Table 1, Equation 1, Section 1 and Section 1.1." in text
    )
    assert "Section 2 follows." in text
    assert "1 First" in text
    assert "1.1 Sub" in text
    assert "2 Second" in text
    assert "Not counted" in text
    assert not re.search(r"\d Not counted", text)


def test_captions_are_numbered_and_take_included_text_and_variables(paper):
    captions = text_of(paper, "figcaption")
    assert captions.split("|")[1:] == [
        " Figure 1: A square by Gray, like Figure 2. ",
        " Table 1: A table. ",
        " Figure 2: The second. ",
        " Figure S1: An extra. ",
        " Table S1: More.",
    ]


def test_every_reference_leads_to_an_element_of_the_page(paper):
    targets = re.findall(r'href="#([^"]+)"', paper)
    identifiers = re.findall(r' id="([^"]+)"', paper)
    assert {"fig-one", "fig-two", "tbl-one", "eq-one", "sec-first", "sec-sub", "ref-gray1959"} <= set(targets)
    assert set(targets) <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))


def test_variables_are_markdown_and_keep_their_surroundings(paper):
    assert "(0.87 [0.82, 0.91])" in text_of(paper)
    assert "<strong><em>Gray</em></strong><em>Gray</em>’s" in paper
    assert "<title>About Gray</title>" in paper


def test_mathematics_is_mathml_with_its_number(paper):
    equation = re.search(r'<span id="eq-one".*?</span>', paper, re.DOTALL).group()
    assert "<math" in equation
    assert "<mfrac>" in equation
    assert re.search(r"\\qquad\(1\)</annotation>", equation)  # as Quarto writes it where there is no MathJax


def test_citations_and_references(paper):
    text = text_of(paper)
    assert "see Gray (1959) and (Gray 1959, 3)" in text
    assert "Gray, E. G. 1959. “Synapses.” J Anat." in text


def test_a_folded_callout_is_a_details_element(paper):
    fold = re.search(r'<div class="fold">.*?</details>', paper, re.DOTALL).group()
    assert "<summary>\nFolded <em>away</em>" in fold
    assert "As Figure S1 and 1 show." in text_of(fold)
    assert fold.count("<figure") == 2


NOTICE = r'<div class="notice notice-(\w+)" role="note">\s*<div class="notice-title">\s*(.*?)\s*</div>'


def test_callouts_have_a_title_and_a_role(paper):
    assert re.findall(NOTICE, paper) == [("note", "Note"), ("warning", "Take care"), ("tip", "By <em>hand</em>")]
    assert "Take care" not in paper.split('role="doc-toc"')[1].split("</nav>")[0]  # a title, not a section


def test_quarto_is_given_the_same_callouts(paper, tmp_path):
    """As Quarto runs the manuscript's filter: on what pandoc read, before anything else."""
    settings = yaml.safe_load((page.PAPER / "_quarto.yml").read_text())
    (entry,) = settings["filters"]
    assert entry["at"] == "pre-ast"
    callouts = PAPER[PAPER.index("::: {.callout-note}") : PAPER.index("# References")]
    (tmp_path / "callouts.md").write_text("---\ntitle: Callouts\n---\n\n" + callouts)
    convert("callouts.md", tmp_path / "page.html", tmp_path, {"filters": [str(page.PAPER / entry["path"])]})
    assert re.findall(NOTICE, (tmp_path / "page.html").read_text()) == re.findall(NOTICE, paper)


def test_an_included_table_is_read_as_in_the_main_file(render):
    """Pandoc gives relative widths to the columns of a table with lines longer than 72; `pandoc.read`, than 80."""
    table = f"| {'a ' * 18}| {'b ' * 18}|\n|---|---|\n| c | d |\n"
    assert 72 < len(table.splitlines()[0]) < 80
    written = render(table)
    assert "<colgroup>" in written
    assert render("{{< include table.md >}}\n", **{"table.md": table}) == written


def test_an_image_carries_its_alternative_text_and_its_bytes(paper):
    assert re.search(r'<img[^>]*src="data:image/svg\+xml;base64,[^>]*alt="A small square"', paper)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("Line.\n\nIt is {{< var a.nmae >}}.", "index.qmd:3: unknown variable a.nmae (not in _variables.yml)"),
        ("It is {{< var a >}}.", "index.qmd:1: unknown variable a (not in _variables.yml)"),
        ("{{< include no.md >}}", "index.qmd:1: included file no.md does not exist"),
        ("{{< include self.md >}}", "file self.md includes itself"),
        ("See {{< include caption.md >}} here.", "{{< include caption.md >}} must be alone in its paragraph"),
        ("{{< pagebreak >}}", "index.qmd:1: unknown shortcode {{< pagebreak >}}"),
        ("It is {{< var a.name.", "index.qmd:1: a shortcode is not closed by >}}"),
        ("`{{< var a.name >}}`", "index.qmd:1: a shortcode inside code"),
        ('![](no.svg){fig-alt="x"}', "index.qmd:1: image file no.svg does not exist"),
        ("![](dot.svg)", "index.qmd:1: image dot.svg needs a fig-alt text"),
        ('![](https://example.org/a.png){fig-alt="x"}', "is remote; the page must load nothing from outside"),
        ("See @fig-none.", "index.qmd:1: unknown cross-reference @fig-none"),
        ("A\n\nB @sec-none.", "index.qmd:3: unknown cross-reference @sec-none"),
        ("See [@gray1960].", "index.qmd:1: unknown citation key @gray1960 (not in the bibliography)"),
        ("# A {#sec-a}\n\n# B {#sec-a}", "index.qmd:1: duplicate id #sec-a"),
        ('::: {#fig-x}\n![](dot.svg){fig-alt="x"}\n:::', "index.qmd:1: fig-x has no caption"),
        ("::: {#tbl-x}\nNo table.\n\nCaption.\n:::", "index.qmd:1: tbl-x holds no table"),
        ('![Cap](dot.svg){#fig-x fig-alt="x"}', "index.qmd:1: write fig-x as a div: ::: {#fig-x}"),
        ("::: {.callout-danger}\nA\n:::", "index.qmd:1: unknown callout .callout-danger"),
        ("{{< include bad.md >}}", "bad.md:2: unknown variable b.c"),
    ],
)
def test_what_is_unresolved_is_an_error_that_names_its_place(render, wrong, message):
    files = {"self.md": "{{< include self.md >}}", "bad.md": "Text\nand {{< var b.c >}}.\n"}
    with pytest.raises(RenderError) as error:
        render(wrong, **files)
    assert message in str(error.value)
    assert "stack traceback" not in str(error.value)


def test_all_problems_are_reported_at_once(render):
    with pytest.raises(RenderError) as error:
        render("{{< var a.x >}}\n\n{{< include no.md >}}\n\n@fig-none and @nobody.")
    assert [line.split(":")[1] for line in str(error.value).splitlines()[1:]] == ["3", "1", "5", "5"]
