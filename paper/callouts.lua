-- Callouts as plain divs with a role: `::: {.callout-warning}` becomes `.notice.notice-warning`, its heading or `title`
-- attribute the `.notice-title`. Both renderers use this filter, Quarto before it reads its own syntax: without
-- Bootstrap it would make every callout a block quotation, without class or role.
-- `::: {.callout-note collapse="true" title="..."}` becomes a `details` that a reader opens.

local NAMES = { note = "Note", tip = "Tip", warning = "Warning", caution = "Caution", important = "Important" }

local function render_callout(div)
  local kind = nil
  for _, class in ipairs(div.classes) do kind = class:match("^callout%-(.+)$") or kind end
  if not NAMES[kind] then return nil end
  local body = div.content:clone()
  local title = pandoc.read(div.attributes.title or NAMES[kind], "markdown").blocks[1].content
  if body[1] and body[1].t == "Header" then title = body:remove(1).content end
  if div.attributes.collapse == "true" then
    body:insert(1, pandoc.RawBlock("html", "<details><summary>"))
    body:insert(2, pandoc.Plain(title))
    body:insert(3, pandoc.RawBlock("html", "</summary>"))
    body:insert(pandoc.RawBlock("html", "</details>"))
    return pandoc.Div(body, pandoc.Attr(div.identifier, { "fold" }))
  end
  return pandoc.Div({
    pandoc.Div(pandoc.Plain(title), pandoc.Attr("", { "notice-title" })),
    pandoc.Div(body, pandoc.Attr("", { "notice-body" })),
  }, pandoc.Attr(div.identifier, { "notice", "notice-" .. kind }, { role = "note" }))
end

return { { Div = render_callout } }
