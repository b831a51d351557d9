-- Included: publishes a message and wakes an idle worker. The server's time takes the place of the placeholder in the
-- message's headers: the scheduler uses the age of a queue's oldest message, which must not depend on the sender's clock.
-- The body cannot contain the placeholder, because it is base64. Both are bounded: a producer chooses them when it calls
-- the function, and the search takes as long as the product of their lengths.
local function push(queue, wake, message, mark, at_head)
  assert(#message <= 65536 and #mark <= 64, 'the message is too long')
  local first, last = message:find(mark, 1, true)
  if first then
    local clock = redis.call('TIME')
    message = message:sub(1, first - 1) .. string.format('%.6f', clock[1] + clock[2] / 1e6) .. message:sub(last + 1)
  end
  redis.call('ZADD', wake, 0, 'work')
  return redis.call(at_head and 'RPUSH' or 'LPUSH', queue, message)
end
