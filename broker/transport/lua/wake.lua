-- Wakes the next idle worker of each queue: the one that was woken leaves the work to it.
--
-- KEYS      wake marks
-- ARGV
-- reads
-- writes    wake marks
-- returns   how many
for _, wake in ipairs(KEYS) do redis.call('ZADD', wake, 0, 'work') end
return #KEYS
