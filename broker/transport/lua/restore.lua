-- Puts a message back to where it is taken next.
--
-- The holder stays written until another box takes it, so that a dead letter can name it. A box that slept longer than
-- its lease must not take away what another works on by now.
--
-- KEYS      unacked, index, deliveries, holders; then each queue and its wake mark
-- ARGV      tag, message, 1 where the delivery shall not count, the box that must hold it (empty: any)
-- reads     unacked, holders
-- writes    unacked, index, deliveries, queues, wake marks
-- returns   1, or 0 where somebody else put it back, took it or ended it already
local unacked, index, deliveries, holders = unpack(KEYS)
local FIXED = 4  -- keys before the queues
local tag, message, uncounted, box = unpack(ARGV)
if box ~= '' and redis.call('HGET', holders, tag) ~= box then return 0 end
redis.call('ZREM', index, tag)
if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
for i = FIXED + 1, #KEYS, 2 do
  local queue, wake = KEYS[i], KEYS[i + 1]
  redis.call('RPUSH', queue, message)
  redis.call('ZADD', wake, 0, 'work')
end
redis.call('HDEL', unacked, tag)
if uncounted == '1' then redis.call('HINCRBY', deliveries, tag, -1) end
return 1
