-- Renews the leases that still exist.
--
-- KEYS      index
-- ARGV      tags
-- reads     index
-- writes    index
-- returns   how many were renewed
local index = unpack(KEYS)
local clock = redis.call('TIME')
local now, stand = clock[1] + clock[2] / 1e6, 0
for _, tag in ipairs(ARGV) do
  if redis.call('ZSCORE', index, tag) then
    redis.call('ZADD', index, 'XX', now, tag)
    stand = stand + 1
  end
end
return stand
