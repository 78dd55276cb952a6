-- Companion pages: the code of a notebook's cell is folded, its outputs are not.

local function folded(block)
  if not block.classes:includes("python") then return nil end
  return { pandoc.RawBlock("html", "<details><summary>Code</summary>"), block, pandoc.RawBlock("html", "</details>") }
end

return { { CodeBlock = folded } }
