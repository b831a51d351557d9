-- Publishes a message, stamped with the server's time, and wakes an idle worker.
--
-- The scheduler uses the age of a queue's oldest message, which must not depend on the sender's clock. The timestamp
-- replaces a placeholder in the headers; the body cannot contain it, because it is base64.
--
-- The keys are passed as arguments: EVAL requires read permission for KEYS, and a producer may only write to the queue.
--
-- KEYS
-- ARGV      queue, its wake mark, message, placeholder
-- reads
-- writes    queue, wake mark
-- returns   length of the queue
local queue, wake, message, mark = unpack(ARGV)
local clock = redis.call('TIME')
local first, last = message:find(mark, 1, true)
if first then
  local now = string.format('%.6f', clock[1] + clock[2] / 1e6)
  message = message:sub(1, first - 1) .. now .. message:sub(last + 1)
end
redis.call('ZADD', wake, 0, 'work')
return redis.call('LPUSH', queue, message)
