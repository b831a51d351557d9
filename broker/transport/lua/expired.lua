-- Requeues messages whose lease has expired, at most 100.
-- include: _strike, _restore
--
-- KEYS      unacked, index, holders, deliveries, crashes, dead
-- ARGV      length of a lease in seconds, names of the queues, prefixes of their keys and of their wake marks; then the
--           caller's own tags, of which only the renewal is late
-- reads     unacked, index
-- writes    unacked, index, dead, queues, wake marks
-- returns   the tags
local books, dead = {unpack(KEYS, 1, 5)}, KEYS[6]
local lease_s, names, from, marks = unpack(ARGV)
local FIXED, MOST = 4, 100  -- arguments before the tags; messages of one call
local ours, back = {}, {}
for i = FIXED + 1, #ARGV do ours[ARGV[i]] = true end
local clock = redis.call('TIME')
local before = string.format('(%.6f', clock[1] + clock[2] / 1e6 - lease_s)
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', books[2], '-inf', before, 'LIMIT', 0, MOST)) do
  if not ours[tag] then
    restore(books, dead, tag, false, names, from, marks)
    back[#back + 1] = tag
  end
end
return back
