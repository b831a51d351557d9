-- Included: claims on a queue. HOLD_S is the lifetime of a claim, seconds.
--
-- claim     renews or removes a box's claim; a renewal drops claims that have expired
-- servers   counts the claims of other boxes
local function claim(claims, box, held, now)
  if held == '1' then
    redis.call('ZREMRANGEBYSCORE', claims, '-inf', string.format('(%.6f', now - HOLD_S))
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
