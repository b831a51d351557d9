-- Acknowledges a message: deletes its booking.
-- include: _strike
--
-- KEYS      unacked, index, holders, deliveries, crashes
-- ARGV      tag, node name, number of the delivery
-- reads     unacked, holders, deliveries
-- writes    all keys
-- returns   1, or 0 if the lease was lost
local books = {unpack(KEYS)}
local tag, box, delivery = unpack(ARGV)
if not leased(books, tag, box, delivery) then return 0 end
strike(books, tag)
return 1
