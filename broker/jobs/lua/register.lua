-- Stores a job's record before anything is published.
--
-- KEYS      job, outcome
-- ARGV      digest of the request, record, expiry of an unpublished job in seconds
-- reads     job, outcome
-- writes    job
-- returns   {digest of the first request with this id, 1 if its message was published or it has ended, else 0}
local job, outcome = unpack(KEYS)
local digest, record, unclaimed_s = unpack(ARGV)
if redis.call('HSETNX', job, 'digest', digest) == 1 then
  redis.call('HSET', job, 'job', record)
  redis.call('EXPIRE', job, unclaimed_s)
end
local sent = redis.call('HEXISTS', job, 'queued') == 1 or redis.call('EXISTS', outcome) == 1
return {redis.call('HGET', job, 'digest'), sent and 1 or 0}
