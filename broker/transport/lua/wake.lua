-- Sets the wake marks again, for other idle workers: the worker that was woken leaves the work to them.
--
-- KEYS      wake marks
-- ARGV
-- reads
-- writes    wake marks
-- returns   number of marks
for _, wake in ipairs(KEYS) do redis.call('ZADD', wake, 0, 'work') end
return #KEYS
