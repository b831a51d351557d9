-- Renews the leases that the caller still has.
-- include: _strike
--
-- KEYS      unacked, index, holders, deliveries, crashes
-- ARGV      node name; then pairs of tag and number of the delivery
-- reads     unacked, holders, deliveries
-- writes    index
-- returns   how many were renewed
local books = {unpack(KEYS)}
local box = ARGV[1]
local clock = redis.call('TIME')
local now, stand = clock[1] + clock[2] / 1e6, 0
for i = 2, #ARGV, 2 do
  if leased(books, ARGV[i], box, ARGV[i + 1]) then
    redis.call('ZADD', books[2], now, ARGV[i])
    stand = stand + 1
  end
end
return stand
