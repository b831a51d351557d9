-- Included: claims on a queue. HOLD_S is the lifetime of a claim, seconds.
--
-- Returns how many other boxes claim the queue. `held`: '1' renews the box's own claim and drops expired ones, '0' removes
-- it, nil leaves all as they are.
local function claim(claims, box, held, now)
  local found = redis.call('ZRANGE', claims, 0, -1, 'WITHSCORES')
  local others, ours, stale = 0, false, false
  for i = 1, #found, 2 do
    local fresh = tonumber(found[i + 1]) >= now - HOLD_S
    if found[i] == box then ours = true elseif fresh then others = others + 1 end
    stale = stale or not fresh
  end
  if held == '1' then
    if stale then redis.call('ZREMRANGEBYSCORE', claims, '-inf', string.format('(%.6f', now - HOLD_S)) end
    redis.call('ZADD', claims, now, box)
    redis.call('EXPIRE', claims, HOLD_S)
  elseif held == '0' and ours then
    redis.call('ZREM', claims, box)
  end
  return others
end
