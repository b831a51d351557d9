-- Included: refuses a system of another wire version before anything is written. None is set on a fresh server, where a
-- producer may be the first.
local function other_wire(key, ours)
  local found = redis.call('GET', key)
  return found and found ~= ours and redis.error_reply('-WIRE ' .. found:sub(1, 100):gsub('[\r\n]', ' '))
end
