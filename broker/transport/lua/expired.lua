-- Finds messages whose lease has expired.
--
-- KEYS      index
-- ARGV      length of a lease, seconds
-- reads     index
-- writes
-- returns   their tags, at most 100
local index = unpack(KEYS)
local lease_s = ARGV[1]
local clock = redis.call('TIME')
local before = string.format('%.6f', clock[1] + clock[2] / 1e6 - lease_s)
return redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. before, 'LIMIT', 0, 100)
