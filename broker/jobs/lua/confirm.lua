-- Keeps a job and all that belongs to it until its Outcome, now that its message is sent.
--
-- A worker may have been quicker: a job that has ended, or is gone already, keeps the expiry that its end gave it.
--
-- KEYS      job, outcome, audio, vault leaving; then each label set or vocabulary that the job shares with others, and
--           its users
-- ARGV      id
-- reads     job, outcome
-- writes    job, audio, vault leaving, users, label sets, vocabularies
-- returns   1, or 0 where the job has ended
local job, outcome, audio, leaving = unpack(KEYS)
local FIXED = 4  -- keys before those that the job shares
local id = ARGV[1]
if redis.call('EXISTS', job) == 0 or redis.call('EXISTS', outcome) == 1 then return 0 end
redis.call('HSET', job, 'queued', '1')
redis.call('PERSIST', job)
redis.call('ZREM', leaving, id)
redis.call('PERSIST', audio)
for i = FIXED + 1, #KEYS, 2 do
  local stored, users = KEYS[i], KEYS[i + 1]
  redis.call('SADD', users, id)
  redis.call('PERSIST', stored)
end
return 1
