-- Requeues a message at the head of its queue.
--
-- The holder is kept until another box takes the message, so that a dead letter can name it. It also fences: a box that
-- was suspended longer than its lease cannot requeue a message that another box holds by now.
--
-- KEYS      unacked, index, deliveries, holders; then each queue and its wake mark
-- ARGV      tag, message, 1 if the delivery does not count, node name that must be its holder (empty: any)
-- reads     unacked, holders
-- writes    unacked, index, deliveries, queues, wake marks
-- returns   1, or 0 if it was already requeued, taken by another box or acknowledged
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
