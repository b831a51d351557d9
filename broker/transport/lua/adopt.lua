-- Moves what a worker of 0.1 had in hand to our own keys; the messages of other Celery apps stay.
--
-- A message of 0.1 has a holder in our hash, another app's has none. A holder that still lives renews its leases under
-- the old names, so its messages stay too, unless it is the caller, whose name nobody else has. Kombu's entries are lists
-- of message, exchange and queue.
--
-- KEYS      old unacked, old index, unacked, index, holders
-- ARGV      the caller's node name, prefix of the boxes' keys, then tags
-- reads     old unacked, old index, holders, boxes
-- writes    old unacked, old index, unacked, index
-- returns   how many messages were moved
local old_unacked, old_index, unacked, index, holders = unpack(KEYS)
local caller, boxes = unpack(ARGV)
local FIXED, moved = 2, 0  -- arguments before the tags
for i, tag in ipairs(ARGV) do
  local holder = i > FIXED and redis.call('HGET', holders, tag)
  local entry = holder and redis.call('HGET', old_unacked, tag)
  if entry and (holder == caller or redis.call('EXISTS', boxes .. holder) == 0) then
    local message, queue = entry:match('^%[(.*), ?"[^"]*", ?"([%w_-]+)"%]$')
    redis.call('ZADD', index, redis.call('ZSCORE', old_index, tag) or 0, tag)
    redis.call('HSET', unacked, tag, queue and queue .. ' ' .. message or entry)
    redis.call('HDEL', old_unacked, tag)
    redis.call('ZREM', old_index, tag)
    moved = moved + 1
  end
end
return moved
