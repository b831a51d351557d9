-- Makes an upload the audio of a registered job: renames it and moves its booking. Where the job was submitted meanwhile,
-- by the same request come twice, the upload is dropped. Repeating it, because an answer was lost, does nothing.
-- include: _vault, _drop
--
-- Uploads and audio are arguments: EVAL requires read permission for KEYS.
--
-- KEYS      job, vault total, vault sizes, vault leaving, vault ended
-- ARGV      upload, its name (the key without the system's prefix), audio, job id, bytes, expiry of an unpublished job in
--           seconds
-- reads     job, vault sizes, lengths of upload and audio
-- writes    upload, audio, vault total, vault sizes, vault leaving, vault ended
-- returns   1; 0 if the job was submitted; -1 if the upload is not there: it has expired, or the server has lost it
local job, total, sizes, leaving, ended = unpack(KEYS)
local upload, name, audio, id, bytes, unclaimed_s = unpack(ARGV)
local clock, size, kept = redis.call('TIME'), tonumber(bytes), audio_of(id)
if redis.call('HEXISTS', job, 'queued') == 1 then
  drop(total, sizes, leaving, ended, upload, name)
  return 0
end
local booked = tonumber(redis.call('HGET', sizes, kept) or 0)
if redis.call('STRLEN', upload) ~= size then
  return booked == size and redis.call('STRLEN', audio) == size and 1 or -1
end
redis.call('RENAME', upload, audio)
redis.call('EXPIRE', audio, unclaimed_s)
redis.call('INCRBY', total, size - booked - (redis.call('HGET', sizes, name) or 0))
redis.call('HDEL', sizes, name)
redis.call('ZREM', leaving, name)
redis.call('HSET', sizes, kept, size)
redis.call('ZREM', ended, kept)
redis.call('ZADD', leaving, clock[1] + unclaimed_s, kept)
return 1
