-- Stores a job's record before anything is published.
-- include: _wire
--
-- KEYS      job, outcome
-- ARGV      digest of the request, record, expiry of an unpublished job in seconds, key of the wire version, ours
-- reads     job, outcome, wire version
-- writes    job
-- returns   {digest of the first request with this id, 1 if its message was published or it has ended, else 0}; the error
--           WIRE if the system has another wire version
local job, outcome = unpack(KEYS)
local digest, record, unclaimed_s, wire, ours = unpack(ARGV)
local other = other_wire(wire, ours)
if other then return other end
if redis.call('HSETNX', job, 'digest', digest) == 1 then
  redis.call('HSET', job, 'job', record)
  redis.call('EXPIRE', job, unclaimed_s)
end
local sent = redis.call('HEXISTS', job, 'queued') == 1 or redis.call('EXISTS', outcome) == 1
return {redis.call('HGET', job, 'digest'), sent and 1 or 0}
