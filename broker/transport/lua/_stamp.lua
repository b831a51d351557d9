-- Included: writes the server's time in place of the placeholder in a message's headers. The body cannot contain it,
-- because it is base64.
local function stamp(message, mark)
  local first, last = message:find(mark, 1, true)
  if not first then return message end
  local clock = redis.call('TIME')
  return message:sub(1, first - 1) .. string.format('%.6f', clock[1] + clock[2] / 1e6) .. message:sub(last + 1)
end
