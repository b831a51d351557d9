-- Ends a job: writes its Outcome once and sets the expiry of everything that belongs to the job.
--
-- KEYS      outcome, job, audio, vault sizes, vault leaving, vault ended; then each shared label set or vocabulary and
--           its users
-- ARGV      Outcome, milliseconds to keep it, job id, channel to announce it on
-- reads     vault sizes, users
-- writes    outcome, job, audio, vault leaving, vault ended, users, label sets, vocabularies; publishes the id
-- returns   1, or 0 if the job had already ended
local outcome, job, audio, sizes, leaving, ended = unpack(KEYS)
local FIXED = 6  -- keys before the shared ones
local text, keep, id, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not redis.call('SET', outcome, text, 'NX', 'PX', keep) then return 0 end
redis.call('PEXPIRE', job, keep)
redis.call('PEXPIRE', audio, keep)
if redis.call('HEXISTS', sizes, id) == 1 then
  local clock = redis.call('TIME')
  local gone = clock[1] + clock[2] / 1e6 + keep / 1000
  redis.call('ZADD', leaving, gone, id)
  redis.call('ZADD', ended, gone, id)
end
for i = FIXED + 1, #KEYS, 2 do
  local stored, users = KEYS[i], KEYS[i + 1]
  redis.call('SREM', users, id)
  if redis.call('SCARD', users) == 0 then redis.call('PEXPIRE', stored, keep) end
end
redis.call('PUBLISH', channel, id)
return 1
