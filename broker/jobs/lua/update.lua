-- Writes fields of an existing job; an expired job must not be recreated without an expiry.
--
-- KEYS      job
-- ARGV      pairs of field and value
-- reads     job
-- writes    job
-- returns   1, or 0 if the job does not exist
local job = unpack(KEYS)
if redis.call('EXISTS', job) == 0 then return 0 end
redis.call('HSET', job, unpack(ARGV))
return 1
