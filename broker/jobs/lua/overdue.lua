-- Returns unfinished jobs whose deadline has passed, at most 100, and forgets those that have no record.
--
-- KEYS      deadlines
-- ARGV      prefixes of the keys of jobs and of Outcomes
-- reads     deadlines, jobs, outcomes
-- writes    deadlines
-- returns   the ids
local deadlines = unpack(KEYS)
local jobs, outcomes = unpack(ARGV)
local MOST = 100
if redis.call('TYPE', deadlines).ok ~= 'zset' then
  redis.call('DEL', deadlines)
  return {}
end
local clock, found = redis.call('TIME'), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', clock[1] + clock[2] / 1e6, 'LIMIT', 0, MOST)) do
  local live = #id <= 64 and redis.call('EXISTS', jobs .. id) == 1 and redis.call('EXISTS', outcomes .. id) == 0
  if live then found[#found + 1] = id
  else redis.call('ZREM', deadlines, id) end
end
return found
