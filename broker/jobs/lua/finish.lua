-- Finishes a stage for one message in hand, in one step: stores the answer, publishes the next message or ends the job,
-- and deletes the booking. Who lost the lease changes nothing.
-- include: _strike, _push, _vault, _end
--
-- The answer of a job that has ended meanwhile is dropped. The booking is deleted last, so that an error in between
-- repeats the stage and never loses the job.
--
-- KEYS      unacked, index, holders, deliveries, crashes, queue of the next message, its wake mark; outcome, job, vault
--           sizes, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      tag, node name, number of the delivery, what follows (publish, end, nothing), message or Outcome, placeholder
--           of the time, audio, milliseconds to keep the Outcome, job id, channel to announce it on; then pairs of
--           field and value of the answer
-- reads     unacked, holders, deliveries, job, outcome, vault sizes, users
-- writes    all keys
-- returns   1; 2 if the job had ended or has no record; 0 if the lease was lost
local books, queue, wake, keys = {unpack(KEYS, 1, 5)}, KEYS[6], KEYS[7], {unpack(KEYS, 8)}
local tag, box, delivery, follows, text, mark, audio, keep_ms, id, channel = unpack(ARGV)
local FIXED = 10  -- arguments before the answer
local outcome, job = keys[1], keys[2]
if not leased(books, tag, box, delivery) then return 0 end
local live = redis.call('EXISTS', job) == 1 and redis.call('EXISTS', outcome) == 0
if live then
  if #ARGV > FIXED then redis.call('HSET', job, unpack(ARGV, FIXED + 1)) end
  if follows == 'publish' then push(queue, wake, text, mark) end
  if follows == 'end' then end_job(keys, audio, text, tonumber(keep_ms), id, channel) end
end
strike(books, tag)
return live and 1 or 2
