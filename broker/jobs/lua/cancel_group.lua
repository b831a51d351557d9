-- Cancels a group: no job of it is submitted any more, and workers end those that are under way.
--
-- KEYS      group
-- ARGV
-- reads     group
-- writes    group
-- returns   1, or 0 if there is no such group
local group = unpack(KEYS)
if redis.call('EXISTS', group) == 0 then return 0 end
redis.call('HSETNX', group, 'cancelled_at', redis.call('TIME')[1])
return 1
