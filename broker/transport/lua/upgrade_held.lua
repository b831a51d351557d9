-- Puts messages that workers of 0.1 or 0.2 had in hand at the head of our queues. The number of deliveries is kept, and the
-- holder until another worker takes the message, so that a dead letter can name it.
--
-- Kombu's entries are lists of message, exchange and queue. What is no such entry becomes a dead letter.
--
-- KEYS      old unacked, old index, dead
-- ARGV      names of the queues, with a space before and after each; prefixes of their keys and of their wake marks; then
--           the tags, last in line first
-- reads     old unacked
-- writes    old unacked, old index, queues, wake marks, dead
-- returns   how many were moved
local unacked, index, dead = unpack(KEYS)
local names, from, marks = unpack(ARGV)
local FIXED, moved = 3, 0  -- arguments before the tags
for i = FIXED + 1, #ARGV do
  local tag = ARGV[i]
  local entry = redis.call('HGET', unacked, tag)
  if entry then
    local message, queue = entry:match('^%[(.*), *"[^"]*", *"([%w_-]+)"%]$')
    if queue and names:find(' ' .. queue .. ' ', 1, true) then
      redis.call('RPUSH', from .. queue, message)
      redis.call('ZADD', marks .. queue, 0, 'work')
    else
      local clock = redis.call('TIME')
      redis.call('LPUSH', dead, cjson.encode({raw = entry, why = 'cannot be requeued', queue = '', box = '',
                                              at = clock[1] + clock[2] / 1e6}))
    end
    redis.call('HDEL', unacked, tag)
    redis.call('ZREM', index, tag)
    moved = moved + 1
  end
end
return moved
