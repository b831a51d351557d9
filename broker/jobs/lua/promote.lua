-- Moves a waiting job to the head of the interactive lane, without reading its queue: a new message is published there, and
-- the old one is no longer the job's current one.
-- include: _push, _group, _publish
--
-- KEYS      job, outcome
-- ARGV      queue of the stage, its wake mark, message, its stage, placeholder of the time
-- reads     job, outcome
-- writes    job, queue, wake mark
-- returns   1; 0 if the job has ended, was not submitted or waits for another stage
local job, outcome = unpack(KEYS)
local queue, wake, message, stage, mark = unpack(ARGV)
if redis.call('EXISTS', outcome) == 1 or redis.call('HGET', job, 'at') ~= stage then return 0 end
redis.call('HSET', job, 'lane', 'interactive')
publish(job, queue, wake, message, mark, stage, true)
return 1
