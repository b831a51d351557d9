-- Publishes a message, stamped with the server's time, and wakes an idle worker.
-- include: _stamp
--
-- The scheduler uses the age of a queue's oldest message, which must not depend on the sender's clock.
--
-- The keys are passed as arguments: EVAL requires read permission for KEYS, and a producer may only write to the queue.
--
-- KEYS
-- ARGV      queue, its wake mark, message, placeholder
-- reads
-- writes    queue, wake mark
-- returns   length of the queue
local queue, wake, message, mark = unpack(ARGV)
redis.call('ZADD', wake, 0, 'work')
return redis.call('LPUSH', queue, stamp(message, mark))
