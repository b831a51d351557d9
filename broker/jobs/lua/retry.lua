-- Requeues the job of a dead letter at the stage that failed.
-- include: _push, _vault, _group, _publish
--
-- KEYS      dead, outcome, job, audio, vault leaving, vault ended, queue, its wake mark; then each shared label set or
--           vocabulary and its users
-- ARGV      letter, message, its stage, job id, state that its Outcome must have, placeholder of the time
-- reads     outcome, job
-- writes    all keys, the job's group. A deadline no longer holds
-- returns   1, or 0 if another process retried or dropped the letter first
local dead, outcome, job, audio, leaving, vault_ended, queue, wake = unpack(KEYS)
local FIXED = 8  -- keys before the shared ones
local letter, message, stage, id, state, mark = unpack(ARGV)
local ended = redis.call('GET', outcome)
if not ended or cjson.decode(ended).state ~= state or redis.call('EXISTS', job) == 0 then return 0 end
if redis.call('LREM', dead, 1, letter) == 0 then return 0 end
redis.call('DEL', outcome)
redis.call('PERSIST', job)
redis.call('PERSIST', audio)
stays(leaving, vault_ended, audio_of(id))
for i = FIXED + 1, #KEYS, 2 do
  local stored, users = KEYS[i], KEYS[i + 1]
  if redis.call('PERSIST', stored) == 1 or redis.call('EXISTS', stored) == 1 then
    redis.call('SADD', users, id)
    stays(leaving, vault_ended, name_of(stored))
  end
end
redis.call('HDEL', job, 'expires_at')
local group, ends = group_of(job)
if group then
  redis.pcall('HINCRBY', group, state, -1)
  redis.pcall('PERSIST', group)
  redis.pcall('PERSIST', ends)
end
publish(job, queue, wake, message, mark, stage)
return 1
