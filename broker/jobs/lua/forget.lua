-- Undoes a registration: deletes record and audio of a job that was not submitted, as another producer may have done under
-- the same id.
-- include: _vault
--
-- The audio is an argument: EVAL requires read permission for KEYS, and a producer may only write audio.
--
-- KEYS      job, vault leaving
-- ARGV      audio, job id
-- reads     job
-- writes    job, audio, vault leaving
-- returns   1, or 0 if the job was submitted
local job, leaving = unpack(KEYS)
local audio, id = unpack(ARGV)
if redis.call('HEXISTS', job, 'queued') == 1 then return 0 end
redis.call('DEL', job)
redis.call('DEL', audio)
redis.call('ZADD', leaving, 0, audio_of(id))  -- the next reservation corrects the total
return 1
