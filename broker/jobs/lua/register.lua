-- Writes a job down before anything is sent.
--
-- KEYS      job, outcome
-- ARGV      digest of what was asked, record, seconds until a job goes whose message was not sent
-- reads     job, outcome
-- writes    job
-- returns   the digest of the first request under this id, and 1 where its message was sent or it has ended
local job, outcome = unpack(KEYS)
local digest, record, unclaimed_s = unpack(ARGV)
if redis.call('HSETNX', job, 'digest', digest) == 1 then
  redis.call('HSET', job, 'job', record)
  redis.call('EXPIRE', job, unclaimed_s)
end
local sent = redis.call('HEXISTS', job, 'queued') == 1 or redis.call('EXISTS', outcome) == 1
return {redis.call('HGET', job, 'digest'), sent and 1 or 0}
