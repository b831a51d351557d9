-- Finishes a stage for one message in hand, in one step: stores the answer, publishes the next message or ends the job,
-- and deletes the booking. Who lost the lease changes nothing.
-- include: _strike, _push, _vault, _group, _publish, _end
--
-- The answer of a job that has ended meanwhile is dropped, and that of a stage that another message of the job has
-- finished (it was moved to the head of the queue while it ran). The booking is deleted last, so that an error in
-- between repeats the stage and never loses the job.
--
-- KEYS      unacked, index, holders, deliveries, crashes, queue of the next message, its wake mark; outcome, job, vault
--           sizes, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      tag, node name, number of the delivery, what follows (publish, end, nothing), message or Outcome, stage of the
--           message or state of the Outcome, placeholder of the time, audio, milliseconds to keep the Outcome, job id,
--           channel to announce it on; then pairs of field and value of the answer
-- reads     unacked, holders, deliveries, job, outcome, vault sizes, users
-- writes    all keys, the job's group and its ends, deadlines, outbox, totals
-- returns   1; 2 if the job had ended, has no record or has passed the stage; 0 if the lease was lost
local books, queue, wake, keys = {unpack(KEYS, 1, 5)}, KEYS[6], KEYS[7], {unpack(KEYS, 8)}
local tag, box, delivery, follows, text, becomes, mark, audio, keep_ms, id, channel = unpack(ARGV)
local FIXED = 11  -- arguments before the answer
local outcome, job = keys[1], keys[2]
if not leased(books, tag, box, delivery) then return 0 end
local stage = redis.call('HGET', books[1], tag):match('^[^%s:]*')
local at = redis.call('HGET', job, 'at')
local live = redis.call('EXISTS', job) == 1 and redis.call('EXISTS', outcome) == 0 and (not at or at == stage)
if live then
  if #ARGV > FIXED then redis.call('HSET', job, unpack(ARGV, FIXED + 1)) end
  if follows == 'publish' then publish(job, queue, wake, text, mark, becomes) end
  if follows == 'end' then end_job(keys, audio, text, becomes, tonumber(keep_ms), id, channel) end
end
strike(books, tag)
return live and 1 or 2
