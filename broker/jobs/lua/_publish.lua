-- Included: publishes the message of a job's stage in the job's lane, `first` at its head. The message becomes the job's
-- current one: an older one of the same job is dropped when it is taken.
--
-- `queue` is the key of the bulk lane. The message is one of ours: a tag of another form makes it the only current one
-- until the next is published.
local function publish(job, queue, wake, message, mark, stage, first)
  local tag = message:match('"delivery_tag": "([%w_.-]+)"') or ''
  local lane = redis.call('HGET', job, 'lane') == 'interactive' and queue .. ':interactive' or queue
  push(lane, wake, message, mark, first)
  redis.call('HSET', job, 'tag', tag)
  moves(job, stage)
end
