-- Makes a dead letter of a message in hand.
-- include: _strike, _forget
--
-- KEYS      unacked, index, holders, deliveries, crashes, dead, dying
-- ARGV      tag, node name, number of the delivery, why
-- reads     unacked, holders, deliveries
-- writes    all keys
-- returns   the letters dropped from the full list, or nothing if the lease was lost
local books, dead, dying = {unpack(KEYS, 1, 5)}, KEYS[6], KEYS[7]
local tag, box, delivery, why = unpack(ARGV)
if not leased(books, tag, box, delivery) then return false end
local lane, message = redis.call('HGET', books[1], tag):match('^(%S+) (.*)$')
local clock = redis.call('TIME')
local letter = cjson.encode({raw = message, why = why, queue = queue_of(lane), at = clock[1] + clock[2] / 1e6, box = box,
                             deliveries = tonumber(delivery), error = why})
redis.call('LPUSH', dead, letter)
redis.call('LPUSH', dying, letter)
strike(books, tag)
return forget(dead)
