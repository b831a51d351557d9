-- Renames audio of 0.1 and 0.2, which had the job's id in its name, to the hash of the id, and books it under its key.
--
-- A booking without a job's record is already renamed, or expires with its job.
--
-- KEYS      vault sizes, vault leaving, vault ended
-- ARGV      prefixes of the keys of jobs and of audio; then booked names
-- reads     all keys, jobs
-- writes    all keys, the audio
-- returns   how many were renamed
local sizes, leaving, ended = unpack(KEYS)
local jobs, audio = unpack(ARGV)
local FIXED, moved = 2, 0  -- arguments before the names
for i = FIXED + 1, #ARGV do
  local id, hash = ARGV[i], redis.sha1hex(ARGV[i])
  local name = 'vault:' .. hash
  if redis.call('EXISTS', jobs .. id) == 1 then
    redis.call('HSET', sizes, name, redis.call('HGET', sizes, id) or 0)
    for _, times in ipairs({leaving, ended}) do
      local at = redis.call('ZSCORE', times, id)
      if at then redis.call('ZADD', times, at, name) end
      redis.call('ZREM', times, id)
    end
    if redis.call('EXISTS', audio .. id) == 1 then redis.call('RENAME', audio .. id, audio .. hash) end
    redis.call('HDEL', sizes, id)
    moved = moved + 1
  end
end
return moved
