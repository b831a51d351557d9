-- Writes fields of a job that is there; one that was forgotten meanwhile must not come back without an expiry.
--
-- KEYS      job
-- ARGV      field, value, and so on in pairs
-- reads     job
-- writes    job
-- returns   1, or 0 where there is no such job
local job = unpack(KEYS)
if redis.call('EXISTS', job) == 0 then return 0 end
redis.call('HSET', job, unpack(ARGV))
return 1
