-- The manuscript for print, after `quarto.lua` and citeproc: pictures in formats that each writer knows, and for Typst,
-- whose PDF is the main text, without what is folded on the page and the headings that would stay empty.

local PICTURES = { typst = { webp = "png" }, docx = { webp = "png", svg = "png" }, jats = { webp = "png", svg = "png" } }

local function picture(image)
  local stem, suffix = image.src:match("^(.*)%.(%w+)$")
  image.src = stem .. "." .. (PICTURES[FORMAT][suffix] or suffix)
  return image
end

local function without_empty_sections(blocks)
  local kept = pandoc.Blocks {}
  for i = #blocks, 1, -1 do
    local block, after = blocks[i], kept[1]
    local empty = block.t == "Header" and (not after or (after.t == "Header" and after.level <= block.level))
    if not empty then kept:insert(1, block) end
  end
  return kept
end

function Pandoc(doc)
  doc = doc:walk { Image = picture }
  if FORMAT ~= "typst" then return doc end
  doc.blocks = without_empty_sections(doc.blocks:walk {
    Div = function(div) if div.classes:includes("fold") then return {} end end,
  })
  local known = {}
  local function remember(element) known["#" .. element.identifier] = true end
  doc:walk { Div = remember, Header = remember, Span = remember, Figure = remember }
  return doc:walk { Link = function(link)
    if link.target:match("^#") and not known[link.target] then return link.content end
  end }
end
