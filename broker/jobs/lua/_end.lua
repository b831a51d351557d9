-- Included: ends a job: writes its Outcome once and sets the expiry of everything that belongs to the job.
--
-- `keys` are outcome, job, vault sizes, vault leaving, vault ended; then each shared label set or vocabulary and its
-- users. The key of the audio is no part of them: EVAL requires read permission for KEYS, and a producer may only write
-- audio. A job without a record was never submitted, or has expired: it gets no Outcome. Who knows a job's id can
-- read it, so that the end is announced, and the audio booked, by a hash of the id.
--
-- What producers may write beside jobs (deadlines, groups, the outbox, totals) is touched by `pcall`: it stops no end.
local function end_job(keys, audio, text, state, keep_ms, id, channel)
  local outcome, job, sizes, leaving, ended = unpack(keys)
  if redis.call('EXISTS', job) == 0 then return 0 end
  if not redis.call('SET', outcome, text, 'NX', 'PX', keep_ms) then return 0 end
  local clock = redis.call('TIME')
  redis.call('HSET', job, 'ended_at', string.format('%.6f', clock[1] + clock[2] / 1e6))
  redis.call('PEXPIRE', job, keep_ms)
  redis.call('PEXPIRE', audio, keep_ms)
  leaves(sizes, leaving, ended, audio_of(id), keep_ms)
  for i = 6, #keys, 2 do
    local stored, users = keys[i], keys[i + 1]
    redis.call('SREM', users, id)
    if redis.call('SCARD', users) == 0 then
      redis.call('PEXPIRE', stored, keep_ms)
      leaves(sizes, leaving, ended, name_of(stored), keep_ms)
    end
  end
  moves(job, nil)
  counts_end(job, id, state, keep_ms)
  local system, url = job:match('^[^:]*'), redis.call('HGET', job, 'webhook')
  redis.pcall('ZREM', system .. ':expiring', id)
  redis.pcall('HINCRBY', system .. ':totals', state, 1)
  if url then redis.pcall('XADD', system .. ':outbox', '*', 'job', id, 'url', url, 'outcome', text) end
  redis.call('PUBLISH', channel, redis.sha1hex(id))
  return 1
end
