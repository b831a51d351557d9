-- Included: keeps the books of what is due. `origins` has for each origin when the first of its messages is due.
local function now_s()
  local clock = redis.call('TIME')
  return clock[1] + clock[2] / 1e6
end
local function written(number) return string.format('%.6f', number) end
local function reschedule(origins, queue, origin)
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', origins, first[2], origin) else redis.call('ZREM', origins, origin) end
end
local function bury(dead, prefix, id, most, keep_ms)
  redis.call('LPUSH', dead, id)
  redis.call('PEXPIRE', prefix .. id, keep_ms)
  local over = redis.call('LRANGE', dead, most, -1)
  for _, one in ipairs(over) do redis.call('UNLINK', prefix .. one) end
  if #over > 0 then redis.call('LTRIM', dead, 0, most - 1) end
  while true do  -- those that have expired; the oldest is last
    local last = redis.call('LINDEX', dead, -1)
    if not last or redis.call('EXISTS', prefix .. last) == 1 then break end
    redis.call('RPOP', dead)
  end
  return over
end
