-- Requeues messages in hand at the head of their queues.
-- include: _strike, _restore
--
-- A box that was suspended longer than its lease cannot requeue a message that another box holds by now.
--
-- KEYS      unacked, index, holders, deliveries, crashes, dead
-- ARGV      node name that must be their holder, 1 if the delivery does not count, the error of the worker (empty: none),
--           names of the queues, prefixes of their keys and of their wake marks; then pairs of tag and number of the
--           delivery (empty: any), last in line first
-- reads     unacked, holders, deliveries
-- writes    unacked, index, deliveries, crashes, dead, queues, wake marks
-- returns   how many were requeued
local books, dead = {unpack(KEYS, 1, 5)}, KEYS[6]
local box, uncounted, error, names, from, marks = unpack(ARGV)
local FIXED, back = 6, 0  -- arguments before the tags
for i = FIXED + 1, #ARGV, 2 do
  local tag, delivery = ARGV[i], ARGV[i + 1]
  local ours = redis.call('HGET', books[3], tag) == box
  if delivery ~= '' then ours = leased(books, tag, box, delivery) end
  if ours and restore(books, dead, tag, uncounted == '1', names, from, marks) == 1 then
    if error ~= '' then redis.call('HSET', books[5], tag, error) end
    back = back + 1
  end
end
return back
