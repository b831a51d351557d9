-- Included: the boxes that serve a queue.
-- HOLD_S is how long what a box says that it holds is believed, seconds.
--
-- claim     writes or removes a box's claim on a queue
-- servers   counts the other boxes that have one
local function claim(claims, box, held, now)
  if held == '1' then
    redis.call('ZADD', claims, now, box)
    redis.call('EXPIRE', claims, HOLD_S)
  else
    redis.call('ZREM', claims, box)
  end
end
local function servers(claims, box, now)
  local count = redis.call('ZCOUNT', claims, now - HOLD_S, '+inf')
  if tonumber(redis.call('ZSCORE', claims, box) or 0) >= now - HOLD_S then count = count - 1 end
  return count
end
