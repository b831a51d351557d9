-- Ends a try: the message is removed, due again later, given back or dead.
-- include: _due
--
-- What was delivered is removed whoever holds the lease. The rest is for the holder.
--
-- KEYS      message, queue of its origin, origins, dead
-- ARGV      id, take, origin, move (delivered, later, back, dead), delay in seconds, why the try failed, prefix of the
--           messages, number of dead ones to keep, for how many milliseconds
-- reads     message, queue
-- writes    all keys
-- returns   {1, ids of dead messages that were dropped}, or {0} if the lease was lost
local message, queue, origins, dead = unpack(KEYS)
local id, take, origin, move, delay_s, why, prefix, most, keep_ms = unpack(ARGV)
if move ~= 'delivered' and redis.call('HGET', message, 'takes') ~= take then return {0} end
local over = {}
if move == 'delivered' then
  redis.call('UNLINK', message)
  redis.call('ZREM', queue, id)
elseif move == 'dead' then
  redis.call('HINCRBY', message, 'tries', 1)
  redis.call('HSET', message, 'error', why)
  redis.call('ZREM', queue, id)
  over = bury(dead, prefix, id, tonumber(most), keep_ms)
else
  if move == 'later' then
    redis.call('HINCRBY', message, 'tries', 1)
    redis.call('HSET', message, 'error', why)
  end
  redis.call('ZADD', queue, written(now_s() + delay_s), id)
end
reschedule(origins, queue, origin)
return {1, over}
