-- Included: takes the oldest letters out of a list longer than DEAD_MOST, at most 100 at once, and gives them.
local function forget(dead)
  local gone = {}
  while #gone < 100 and redis.call('LLEN', dead) > DEAD_MOST do gone[#gone + 1] = redis.call('RPOP', dead) end
  return gone
end
