-- Included: the bookings of messages in hand. A lease is the tag of a message, the node name of its holder and the number
-- of the delivery: whoever lost it has another number, or another holder, and can end nothing.
--
-- `books` are the keys unacked, index, holders, deliveries, crashes, in this order.
local function leased(books, tag, box, delivery)
  return redis.call('HEXISTS', books[1], tag) == 1 and redis.call('HGET', books[3], tag) == box
    and redis.call('HGET', books[4], tag) == delivery
end
local function strike(books, tag)
  redis.call('ZREM', books[2], tag)
  for _, book in ipairs({books[1], books[3], books[4], books[5]}) do redis.call('HDEL', book, tag) end
end
-- The queue of a lane as an entry of the unacknowledged hash names it.
local function queue_of(lane) return lane:match('^(.+):interactive$') or lane end
