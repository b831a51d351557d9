-- Submits a job in one step: writes its record if there is none, keeps its data until the Outcome, publishes its first
-- message. Repeating it under the same id does nothing.
-- include: _push, _wire, _vault
--
-- Audio, queue, wake mark and wire version are arguments: EVAL requires permission to read and write KEYS. A producer may
-- only write the first three, and only read the version.
--
-- KEYS      job, outcome, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      digest of the request, record, job id, audio, queue, its wake mark, message, placeholder of the time, key of
--           the wire version, ours
-- reads     job, outcome, wire version
-- writes    job, audio, vault leaving, vault ended, users, label sets, vocabularies, queue, wake mark
-- returns   1; 0 if the job was submitted before; -1 if the id belongs to another request; the error WIRE if the system
--           has another wire version
local job, outcome, leaving, ended = unpack(KEYS)
local FIXED = 4  -- keys before the shared ones
local digest, record, id, audio, queue, wake, message, mark, wire, ours = unpack(ARGV)
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
redis.call('HSET', job, 'job', record, 'queued', '1')
redis.call('PERSIST', job)
stays(leaving, ended, audio_of(id))
redis.call('PERSIST', audio)
for i = FIXED + 1, #KEYS, 2 do
  local stored, users = KEYS[i], KEYS[i + 1]
  redis.call('SADD', users, id)
  stays(leaving, ended, name_of(stored))
  redis.call('PERSIST', stored)
end
push(queue, wake, message, mark)
return 1
