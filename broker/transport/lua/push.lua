-- Publishes a message, stamped with the server's time, and wakes an idle worker.
--
-- The age of a queue's oldest message decides which queue is served: a sender whose clock is wrong must not have a say
-- in it. The stamp replaces a mark in the headers, which are the only place where it can stand: a body is base64.
--
-- The keys are arguments: EVAL asks for the right to read its KEYS, and a producer may write to the queue only.
--
-- KEYS
-- ARGV      queue, its wake mark, message, mark
-- reads
-- writes    queue, wake mark
-- returns   the length of the queue
local queue, wake, message, mark = unpack(ARGV)
local clock = redis.call('TIME')
local first, last = message:find(mark, 1, true)
if first then
  local now = string.format('%.6f', clock[1] + clock[2] / 1e6)
  message = message:sub(1, first - 1) .. now .. message:sub(last + 1)
end
redis.call('ZADD', wake, 0, 'work')
return redis.call('LPUSH', queue, message)
