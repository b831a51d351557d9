-- Makes a dead message due at once, with all its tries.
-- include: _due
--
-- KEYS      dead, message, queue of its origin, origins
-- ARGV      id, origin
-- reads     message
-- writes    all keys
-- returns   1, or 0 if the message is not dead or has expired
local dead, message, queue, origins = unpack(KEYS)
local id, origin = unpack(ARGV)
if redis.call('EXISTS', message) == 0 or redis.call('LREM', dead, 1, id) == 0 then return 0 end
redis.call('PERSIST', message)
redis.call('HSET', message, 'tries', 0)
redis.call('ZADD', queue, written(now_s()), id)
reschedule(origins, queue, origin)
return 1
