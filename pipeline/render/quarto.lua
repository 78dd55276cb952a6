-- Quarto's syntax for plain pandoc: the part that the manuscript uses, with the wording and numbering of Quarto.
--
--   {{< include file.md >}}   alone in its paragraph; paths are relative to the main file
--   {{< var a.b >}}           a value of _variables.yml, read as Markdown
--   ::: {#fig-x} / {#tbl-x}   a float: its last paragraph is the caption
--   ::: {#sfig-x}             likewise, of a kind that `crossref: custom:` of _quarto.yml defines
--   $$ ... $$ {#eq-x}         a numbered equation
--   # Heading {#sec-x}        a numbered section
--   @fig-x  [-@fig-x]  [@fig-x; @tbl-y]  [Fig @fig-x]
--   ::: {.callout-note}       by the manuscript's own filter `callouts.lua`, which Quarto runs too
--   ![](file){fig-alt="..."}
--
-- Where Quarto only warns, this filter stops: every problem is collected and reported with its file and line.
-- References: quarto.org/docs/authoring (cross-references, cross-references-divs, includes, variables, callouts).

local NBSP = "\u{a0}"
local PREFIXES = { fig = "Figure" .. NBSP, tbl = "Table" .. NBSP, eq = "Equation" .. NBSP, sec = "Section" .. NBSP }
local FLOATS = { fig = "Image", tbl = "Table" } -- what a float of each kind holds

local sources = pandoc.List(PANDOC_STATE.input_files) -- the main file, then each included one
local problems = pandoc.List()
local numbers = {} -- label -> number, as text
local counts = { fig = 0, tbl = 0, eq = 0 }

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

-- "file:line" of the first place that holds `text` as a whole word.
local function place(text)
  for _, path in ipairs(sources) do
    local number = 0
    for line in ((read(path) or "") .. "\n"):gmatch("(.-)\n") do
      number = number + 1
      local _, last = line:find(text, 1, true)
      while last do
        if not line:sub(last + 1, last + 1):match("[%w_-]") then return path .. ":" .. number end
        _, last = line:find(text, last + 1, true)
      end
    end
  end
  return sources[1]
end

local function report(text, message)
  local line = place(text) .. ": " .. message
  if not problems:includes(line) then problems:insert(line) end
end

-- Kinds of floats -----------------------------------------------------------------------------------------------

local function define_floats(meta)
  for _, custom in ipairs(meta.crossref and meta.crossref.custom or {}) do
    local key = pandoc.utils.stringify(custom.key)
    local space = custom["space-before-numbering"] == false and "" or NBSP
    local location = pandoc.utils.stringify(custom["caption-location"] or "bottom")
    PREFIXES[key] = pandoc.utils.stringify(custom["reference-prefix"]) .. space
    FLOATS[key] = location == "top" and "Table" or "Image" -- tables have their captions above
    counts[key] = 0
  end
end

-- Callouts ------------------------------------------------------------------------------------------------------

local function reject_unknown_callout(div)
  for _, class in ipairs(div.classes) do
    if class:match("^callout%-") then report(class, "unknown callout ." .. class) end
  end
end

-- Numbers -------------------------------------------------------------------------------------------------------

local function label_kind(label)
  local kind = label:match("^(%l+)%-.")
  return PREFIXES[kind] and kind or nil
end

local function next_number(kind)
  counts[kind] = counts[kind] + 1
  return tostring(counts[kind])
end

local function check_identifiers(blocks)
  local seen = {}
  local function check(element)
    local label = element.identifier
    if label ~= "" and seen[label] then report("#" .. label, "duplicate id #" .. label) end
    seen[label] = true
  end
  blocks:walk { Div = check, Header = check, Span = check, Image = check, Link = check,
    Table = check, Figure = check, CodeBlock = check }
end

-- Sections are numbered as pandoc's --number-sections does: the highest level in use is 1.
local function number_sections(blocks)
  local top = 6
  blocks:walk { Header = function(header) top = math.min(top, header.level) end }
  local current = pandoc.List()
  blocks:walk { Header = function(header)
    if header.classes:includes("unnumbered") then return end
    local depth = header.level - top + 1
    while #current < depth do current:insert(0) end
    while #current > depth do current:remove() end
    current[depth] = current[depth] + 1
    numbers[header.identifier] = table.concat(current, ".")
  end }
end

local function number_equations(paragraph)
  local content = pandoc.List()
  for _, inline in ipairs(paragraph.content) do
    local label = inline.t == "Str" and inline.text:match("^{#(eq%-[^ }]+)}$")
    local last = content[#content]
    if last and last.t == "Space" then last = content[#content - 1] end
    if label and last and last.t == "Math" and last.mathtype == "DisplayMath" then
      while content[#content] ~= last do content:remove() end
      content:remove()
      local number = next_number("eq")
      numbers[label] = number
      last.text = last.text .. " \\qquad(" .. number .. ")"
      content:insert(pandoc.Span(last, pandoc.Attr(label)))
    else
      content:insert(inline)
    end
  end
  paragraph.content = content
  return paragraph
end

-- Floats --------------------------------------------------------------------------------------------------------

local function holds(blocks, tag)
  local found = false
  blocks:walk { [tag] = function() found = true end }
  return found
end

local function html(text)
  return pandoc.RawBlock("html", text)
end

local function render_float(div)
  local kind = label_kind(div.identifier)
  local held = FLOATS[kind]
  if not held then return nil end
  local content = div.content:clone()
  local caption = content:remove()
  if not caption or caption.t ~= "Para" or holds(pandoc.Blocks { caption }, "Image") then
    report("#" .. div.identifier, div.identifier .. " has no caption: the last paragraph of the div must be one")
    return {}
  end
  if not holds(content, held) then
    report("#" .. div.identifier, div.identifier .. " holds no " .. held:lower())
  end
  local number = next_number(kind)
  numbers[div.identifier] = number
  local name = PREFIXES[kind] .. number
  local words = pandoc.Plain(pandoc.Inlines { pandoc.Str(name .. ":"), pandoc.Space() } .. caption.content)
  if not FORMAT:match("html") then
    if held == "Image" then content = content:map(function(block) return pandoc.Plain(block.content) end) end
    return pandoc.Figure(content, pandoc.Caption { words }, pandoc.Attr(div.identifier))
  end
  local figcaption = pandoc.Blocks { html("<figcaption>"), words, html("</figcaption>") }
  local blocks = pandoc.Blocks { html('<figure id="' .. div.identifier .. '" class="quarto-float-' .. kind .. '">') }
  if held == "Table" then -- the caption above, the table in a box that scrolls sideways on a narrow screen
    blocks:extend(figcaption)
    blocks:insert(html('<div role="region" tabindex="0" aria-label="' .. name .. '">'))
    blocks:extend(content)
    blocks:insert(html("</div>"))
  else
    blocks:insert(html("<div>"))
    blocks:extend(content)
    blocks:insert(html("</div>"))
    blocks:extend(figcaption)
  end
  blocks:insert(html("</figure>"))
  return blocks
end

local function reject_implicit_float(element)
  if label_kind(element.identifier) then
    report("#" .. element.identifier, "write " .. element.identifier .. " as a div: ::: {#" .. element.identifier .. "}")
  end
end

local function render_image(image)
  reject_implicit_float(image)
  if image.src:match("^%a+://") or image.src:match("^//") then
    report(image.src, "image " .. image.src .. " is remote; the page must load nothing from outside")
  elseif not image.src:match("^data:") and not read(image.src) then
    report(image.src, "image file " .. image.src .. " does not exist")
  end
  local alt = image.attributes["fig-alt"]
  if not alt or alt == "" then report(image.src, "image " .. image.src .. " needs a fig-alt text") end
  image.attributes["fig-alt"] = nil
  image.caption = pandoc.Inlines(pandoc.Str(alt or ""))
  return image
end

-- References ----------------------------------------------------------------------------------------------------

local function render_reference(cite)
  local resolved = pandoc.List()
  for index, citation in ipairs(cite.citations) do
    local label = citation.id:sub(1, 1):lower() .. citation.id:sub(2)
    local kind = label_kind(label)
    if kind and numbers[label] then
      local text = pandoc.List()
      if #citation.prefix > 0 then
        text:extend(citation.prefix)
        text:insert(pandoc.Str(NBSP))
      elseif citation.mode ~= "SuppressAuthor" then
        text:insert(pandoc.Str(PREFIXES[kind]))
      end
      text:insert(pandoc.Str(numbers[label]))
      if index > 1 then resolved:extend { pandoc.Str(","), pandoc.Space() } end
      resolved:insert(pandoc.Link(text, "#" .. label, "", pandoc.Attr("", { "quarto-xref" })))
    elseif kind then
      report("@" .. citation.id, "unknown cross-reference @" .. citation.id)
    end
  end
  if #resolved > 0 then return resolved end
end

local function check_citations(doc)
  local known = {}
  for _, reference in ipairs(pandoc.utils.references(doc)) do known[reference.id] = true end
  doc:walk { Cite = function(cite)
    for _, citation in ipairs(cite.citations) do
      if not known[citation.id] and not label_kind(citation.id) then
        report("@" .. citation.id, "unknown citation key @" .. citation.id .. " (not in the bibliography)")
      end
    end
  end }
end

-- The pandoc template prints the title as h1, so the manuscript's sections begin at h2.
local function lower_heading(header)
  header.level = math.min(header.level + 1, 6)
  return header
end

local function reject_leftover(element)
  local text = element.text or element.target or element.src
  if text:find("{{<", 1, true) or text:find("%7B%7B%3C", 1, true) then
    report(text, "a shortcode inside code, mathematics or an address is not supported: " .. text)
  end
end

function Pandoc(doc)
  define_floats(doc.meta)
  local shortcodes = dofile(pandoc.path.join { pandoc.path.directory(PANDOC_SCRIPT_FILE), "shortcodes.lua" })(
    read, report, sources)
  doc.blocks = shortcodes.expand_includes(doc.blocks)
  doc = doc:walk { Inlines = shortcodes.expand_variables() }
  doc.blocks = doc.blocks:walk(dofile("callouts.lua")[1]):walk { Div = reject_unknown_callout }
  number_sections(doc.blocks)
  doc.blocks = doc.blocks:walk { Para = number_equations, Figure = reject_implicit_float,
    Table = reject_implicit_float }
  check_identifiers(doc.blocks)
  doc.blocks = doc.blocks:walk { Div = render_float, Image = render_image }
  doc = doc:walk { Cite = render_reference }
  check_citations(doc)
  doc:walk { Code = reject_leftover, Math = reject_leftover, Link = reject_leftover, CodeBlock = reject_leftover }
  if #problems > 0 then error(table.concat(problems, "\n"), 0) end
  doc.blocks = doc.blocks:walk { Header = lower_heading }
  return doc
end
