-- Keeps the data of a job until its Outcome, once its message is published.
--
-- A worker may have been faster: a job that has ended or expired keeps the expiry that was set then.
--
-- KEYS      job, outcome, audio, vault leaving; then each shared label set or vocabulary and its users
-- ARGV      job id
-- reads     job, outcome
-- writes    job, audio, vault leaving, users, label sets, vocabularies
-- returns   1, or 0 if the job has ended
local job, outcome, audio, leaving = unpack(KEYS)
local FIXED = 4  -- keys before the shared ones
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
