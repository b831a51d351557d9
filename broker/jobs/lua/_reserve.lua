-- Included: reserves vault space. Drops what has expired and, if space is short, what belongs to ended jobs: at most 100
-- entries in one call. What is in use stays as it is. Returns 1; 0 if there is no space; -1 if there may be space once more
-- entries are dropped: call again.
local function reserve(total, sizes, leaving, ended, name, need, limit, unclaimed_s, prefix)
  local MOST = 100  -- entries dropped by one call
  local clock = redis.call('TIME')
  local now = clock[1] + clock[2] / 1e6
  local booked = tonumber(redis.call('HGET', sizes, name) or 0)  -- by an earlier try under this name: its bytes stay
  if booked == need and not redis.call('ZSCORE', leaving, name) then return 1 end
  redis.call('ZREM', ended, name)
  local function drop(one)
    redis.call('DECRBY', total, redis.call('HGET', sizes, one) or 0)
    redis.call('HDEL', sizes, one)
    redis.call('ZREM', leaving, one)
    redis.call('ZREM', ended, one)
    redis.call('UNLINK', prefix .. one)
  end
  local expired = redis.call('ZRANGEBYSCORE', leaving, '-inf', now, 'LIMIT', 0, MOST)
  for _, one in ipairs(expired) do drop(one) end
  booked = tonumber(redis.call('HGET', sizes, name) or 0)
  local room = MOST - #expired  -- for more drops
  while tonumber(redis.call('GET', total) or 0) + need - booked > limit do
    if room == 0 then return -1 end
    local oldest = redis.call('ZRANGE', ended, 0, 0)[1]
    if not oldest then return 0 end
    drop(oldest)
    room = room - 1
  end
  redis.call('INCRBY', total, need - booked)
  redis.call('HSET', sizes, name, need)
  redis.call('ZADD', leaving, now + unclaimed_s, name)
  return 1
end
