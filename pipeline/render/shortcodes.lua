-- Shortcodes of Quarto for plain pandoc: `{{< include file.md >}}` and `{{< var a.b >}}`, for `quarto.lua`.
--
-- Returns a function of `read(path)`, `report(text, message)` and the list `sources`, to which it adds what it includes.

return function(read, report, sources)

-- Includes ------------------------------------------------------------------------------------------------------

local function included_path(paragraph)
  return pandoc.utils.stringify(paragraph):match("^{{<%s*include%s+(%S+)%s*>}}$")
end

local function expand_includes(blocks, chain)
  return blocks:walk {
    Para = function(paragraph)
      local path = included_path(paragraph)
      if not path then return nil end
      if chain:includes(path) then
        report("include " .. path, "file " .. path .. " includes itself")
        return {}
      end
      local text = read(path)
      if not text then
        report("include " .. path, "included file " .. path .. " does not exist")
        return {}
      end
      sources:insert(path)
      local included = pandoc.read(text, "markdown", PANDOC_READER_OPTIONS)
      return expand_includes(included.blocks, chain .. { path })
    end,
  }
end

-- Variables -----------------------------------------------------------------------------------------------------

local function read_variables()
  local text = read("_variables.yml")
  return text and pandoc.read("---\n" .. text .. "\n---\n", "markdown").meta or {}
end

local function variable(variables, name)
  local value = variables
  for key in name:gmatch("[^.]+") do
    local kind = pandoc.utils.type(value)
    value = (kind == "table" or kind == "Meta") and value[key] or nil
  end
  local kind = pandoc.utils.type(value)
  if kind == "Inlines" then return value end
  if kind == "Blocks" then return pandoc.utils.blocks_to_inlines(value) end
  if kind == "string" then return pandoc.Inlines(value) end
  return nil -- a group of variables, not one
end

-- The same inlines with every `{{<` and `>}}` in a Str of its own.
local function split_braces(inlines)
  local split = pandoc.List()
  for _, inline in ipairs(inlines) do
    if inline.t == "Str" then
      local text = inline.text:gsub("{{<", "\n{{<\n"):gsub(">}}", "\n>}}\n")
      for part in text:gmatch("[^\n]+") do split:insert(pandoc.Str(part)) end
    else
      split:insert(inline)
    end
  end
  return split
end

local function expand_variables(variables)
  return function(inlines)
    local expanded = pandoc.List()
    local shortcode = nil -- its inlines so far, while inside one
    for _, inline in ipairs(split_braces(inlines)) do
      if inline.t == "Str" and inline.text == "{{<" then
        shortcode = pandoc.List()
      elseif shortcode and inline.t == "Str" and inline.text == ">}}" then
        local words = pandoc.List()
        for word in pandoc.utils.stringify(pandoc.Inlines(shortcode)):gmatch("%S+") do words:insert(word) end
        local text = table.concat(words, " ")
        if words[1] == "var" and #words == 2 then
          local value = variable(variables, words[2])
          if value then
            expanded:extend(value)
          else
            report("var " .. words[2], "unknown variable " .. words[2] .. " (not in _variables.yml)")
          end
        elseif words[1] == "include" then
          report(text, "{{< " .. text .. " >}} must be alone in its paragraph")
        else
          report(text, "unknown shortcode {{< " .. text .. " >}}")
        end
        shortcode = nil
      elseif shortcode then
        shortcode:insert(inline)
      else
        expanded:insert(inline)
      end
    end
    if shortcode then report("{{<", "a shortcode is not closed by >}}") end
    return expanded
  end
end

return {
  expand_includes = function(blocks) return expand_includes(blocks, pandoc.List()) end,
  expand_variables = function() return expand_variables(read_variables()) end,
}

end
