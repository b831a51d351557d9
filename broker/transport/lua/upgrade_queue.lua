-- Moves waiting messages from the list that 0.1 and 0.2 used to our queue, newest first: the oldest stays the next one, and
-- all of them come before what is queued already. Other apps' messages in a list of the same name stay, in their order.
--
-- A message is stored before it is removed, so that an error in between duplicates it and never loses it.
--
-- KEYS      old list, queue, its wake mark
-- ARGV      how many of the newest were looked at and stay, task of the stage, maximum of messages to look at
-- reads     old list
-- writes    old list, queue, wake mark
-- returns   how many were moved, how many were looked at and stay
local old, queue, wake = unpack(KEYS)
local skip, task, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local moved, stay = 0, 0
if redis.call('TYPE', old).ok ~= 'list' then return {moved, stay} end
local function ours(raw) return cjson.decode(raw).headers.task == task end
for _, raw in ipairs(redis.call('LRANGE', old, skip, skip + most - 1)) do
  local ok, is = pcall(ours, raw)
  if ok and is then
    redis.call('RPUSH', queue, raw)
    redis.call('LREM', old, 1, raw)
    moved = moved + 1
  else
    stay = stay + 1
  end
end
if moved > 0 then redis.call('ZADD', wake, 0, 'work') end
return {moved, stay}
