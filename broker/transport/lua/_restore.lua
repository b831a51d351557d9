-- Included: puts messages in hand back at the head of their lanes, byte for byte. An entry of the unacknowledged hash is
-- the name of its queue, `:interactive` if it came from that lane, a space and the message. What is no such entry becomes a
-- dead letter.
--
-- The holder is kept until another box takes the message, so that a dead letter can name it. `names` are those of the
-- queues, with a space before and after each; `from` and `marks` are the prefixes of their keys and of their wake marks.
local function restore(books, dead, tag, uncounted, names, from, marks)
  local entry = redis.call('HGET', books[1], tag)
  redis.call('ZREM', books[2], tag)
  if not entry then return 0 end
  local lane, message = entry:match('^(%S+) (.*)$')
  local queue = lane and queue_of(lane)
  if not queue or not names:find(' ' .. queue .. ' ', 1, true) then
    local clock = redis.call('TIME')
    redis.call('LPUSH', dead, cjson.encode({raw = entry, why = 'cannot be requeued', queue = '', box = '',
                                            at = clock[1] + clock[2] / 1e6}))
    strike(books, tag)
    return 0
  end
  redis.call('RPUSH', from .. lane, message)
  redis.call('ZADD', marks .. queue, 0, 'work')
  redis.call('HDEL', books[1], tag)
  if uncounted then redis.call('HINCRBY', books[4], tag, -1) end
  return 1
end
