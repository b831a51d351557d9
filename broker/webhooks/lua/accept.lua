-- Moves an entry of the outbox to the messages, due at once, or to the dead ones if it cannot be sent.
-- include: _due
--
-- The outbox is deleted when it is empty: a producer could have given an entry the highest id, after which no other can
-- be added.
--
-- KEYS      outbox, message, queue of its origin, origins, dead
-- ARGV      entry, id of the message (empty: the entry tells nothing, and is dropped), origin, why it cannot be sent (empty: it can), prefix of the messages, number of dead
--           ones to keep, for how many milliseconds; then pairs of field and value of the message
-- reads     outbox, queue
-- writes    all keys
-- returns   1, or 0 if another deliverer was first
local outbox, message, queue, origins, dead = unpack(KEYS)
local entry, id, origin, why, prefix, most, keep_ms = unpack(ARGV)
local FIXED = 7  -- arguments before the message
if redis.call('XDEL', outbox, entry) == 0 then return 0 end
if redis.call('XLEN', outbox) == 0 then redis.call('DEL', outbox) end
if id == '' then return 1 end
local at = written(now_s())
redis.call('HSET', message, 'at', at, 'tries', 0, 'takes', 0, 'origin', origin, 'error', why, unpack(ARGV, FIXED + 1))
if why ~= '' then
  bury(dead, prefix, id, tonumber(most), keep_ms)
  return 1
end
redis.call('ZADD', queue, at, id)
reschedule(origins, queue, origin)
return 1
