-- Submits a job in one step: writes its record if there is none, keeps its data until the Outcome, publishes its first
-- message. Repeating it under the same id does nothing.
-- include: _push, _wire, _vault, _group, _publish
--
-- All but KEYS are arguments: EVAL requires permission to read and write KEYS. A producer may only write audio, queue,
-- wake mark and deadlines, and only read the wire version.
--
-- KEYS      job, outcome, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      digest of the request, record, job id, audio, queue, its wake mark, message, its stage, placeholder of the
--           time, key of the wire version, ours, lane, group (empty: none), URL of the webhook (empty: none), deadlines,
--           seconds until the job's (0: none), jobs of the submitter, how many of them are kept, for how many seconds, hash of
--           the submitter
-- reads     job, outcome, wire version, group
-- writes    job, audio, vault leaving, vault ended, users, label sets, vocabularies, queue, wake mark, group, deadlines,
--           jobs of the submitter, totals
-- returns   1; 0 if the job was submitted before; -1 if the id belongs to another request; -2 if the group is cancelled;
--           the error WIRE if the system has another wire version
local job, outcome, leaving, ended = unpack(KEYS)
local FIXED = 4  -- keys before the shared ones
local digest, record, id, audio, queue, wake, message, stage, mark, wire, ours, lane, group, webhook, deadlines, expires_s,
      owner, owned_most, owned_s, whose = unpack(ARGV)
local other = other_wire(wire, ours)
if other then return other end
if redis.call('HSETNX', job, 'digest', digest) == 0 then
  if redis.call('HGET', job, 'digest') ~= digest then return -1 end
  if redis.call('EXISTS', outcome) == 1 then return 0 end
  if redis.call('HEXISTS', job, 'queued') == 1 then  -- another producer may have stored the audio once more
    redis.call('PERSIST', audio)
    stays(leaving, ended, audio_of(id))
    return 0
  end
end
redis.call('HSET', job, 'job', record, 'lane', lane, 'owner', whose)
if group ~= '' then redis.call('HSET', job, 'group', group) end
local counters, ends = group_of(job)
if counters and redis.pcall('HEXISTS', counters, 'cancelled_at') == 1 then
  redis.call('DEL', job)
  redis.call('DEL', audio)
  redis.call('ZADD', leaving, 0, audio_of(id))  -- the next reservation corrects the total
  return -2
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
redis.call('HSET', job, 'queued', '1')
redis.call('PERSIST', job)
stays(leaving, ended, audio_of(id))
redis.call('PERSIST', audio)
for i = FIXED + 1, #KEYS, 2 do
  local stored, users = KEYS[i], KEYS[i + 1]
  redis.call('SADD', users, id)
  stays(leaving, ended, name_of(stored))
  redis.call('PERSIST', stored)
end
if webhook ~= '' then redis.call('HSET', job, 'webhook', webhook) end
if tonumber(expires_s) > 0 then
  local at = string.format('%.6f', now + expires_s)
  redis.call('HSET', job, 'expires_at', at)
  redis.pcall('ZADD', deadlines, at, id)
end
if counters then
  redis.pcall('HINCRBY', counters, 'jobs', 1)
  redis.pcall('PERSIST', counters)
  redis.pcall('PERSIST', ends)
end
redis.pcall('HINCRBY', job:match('^[^:]*') .. ':totals', 'submitted', 1)
redis.pcall('ZADD', owner, string.format('%.6f', now), id)
redis.pcall('ZREMRANGEBYRANK', owner, 0, -1 - owned_most)
redis.pcall('EXPIRE', owner, owned_s)
publish(job, queue, wake, message, mark, stage)
return 1
