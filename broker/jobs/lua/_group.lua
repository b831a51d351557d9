-- Included: where a job is, and the counters of its group.
--
-- Producers may write the hashes of jobs and groups: whatever is in them, `pcall` keeps the counting of one group from
-- stopping a job. A record of an older release has no `at`.
local STATES = {'done', 'failed', 'cancelled', 'expired'}
local function group_of(job)  -- the keys of the job's group and of its ends, nil if it has none
  local name = redis.call('HGET', job, 'group')
  if not name or #name > 64 or name:find('[^%w_.-]') then return nil end
  local system = job:match('^[^:]*')
  return system .. ':group:' .. name, system .. ':group-ends:' .. name
end
local function moves(job, stage)  -- the job waits for another stage; nil: for none
  local from, group = redis.call('HGET', job, 'at'), group_of(job)
  if from == stage then return end
  if stage then redis.call('HSET', job, 'at', stage) else redis.call('HDEL', job, 'at') end
  if not group then return end
  if from then redis.pcall('HINCRBY', group, 'at:' .. from, -1) end
  if stage then redis.pcall('HINCRBY', group, 'at:' .. stage, 1) end
end
local function counts_end(job, id, state, keep_ms)  -- the group expires with the Outcome of its last job
  local group, ends = group_of(job)
  if not group then return end
  redis.pcall('HINCRBY', group, state, 1)
  redis.pcall('XADD', ends, '*', 'job', id, 'state', state)
  local counts = redis.pcall('HMGET', group, 'jobs', unpack(STATES))
  if counts.err then return end
  local left = tonumber(counts[1] or 0) or 0
  for i = 2, #counts do left = left - (tonumber(counts[i] or 0) or 0) end
  if left <= 0 then
    redis.pcall('PEXPIRE', group, keep_ms)
    redis.pcall('PEXPIRE', ends, keep_ms)
  end
end
