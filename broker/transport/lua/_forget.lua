-- Included: removes and returns the oldest letters of a list longer than DEAD_MOST, at most 100 at a time.
local function forget(dead)
  local gone = {}
  while #gone < 100 and redis.call('LLEN', dead) > DEAD_MOST do gone[#gone + 1] = redis.call('RPOP', dead) end
  return gone
end
