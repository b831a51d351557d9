-- Appends a part to an upload, and reserves space for it first: for all that is expected before the first part, so that of
-- many uploads some find space and the others none at all. Repeating it, because an answer was lost, does nothing.
-- include: _reserve
--
-- The key of the upload is an argument: EVAL requires read permission for KEYS, and uploads are never read.
--
-- KEYS      vault total, vault sizes, vault leaving, vault ended
-- ARGV      upload, its name (the key without the system's prefix), bytes before the part, the part, bytes expected in
--           all, limit, expiry of what nobody has claimed in seconds, the system's prefix
-- reads     all keys, length of the upload
-- writes    all keys, the upload, and what is dropped
-- returns   1; 0 if there is no space; -1 if there may be space once more entries are dropped: call again; -2 if the upload
--           has not the bytes before: it has expired, or the server has lost it
local total, sizes, leaving, ended = unpack(KEYS)
local upload, name, offset, part, expected, limit, unclaimed_s, prefix = unpack(ARGV)
local before, after = tonumber(offset), tonumber(offset) + #part
local length = redis.call('STRLEN', upload)
if length == after then return 1 end
if length ~= before then return -2 end
local clock = redis.call('TIME')
local booked = tonumber(redis.call('HGET', sizes, name) or 0)
if booked < before then return -2 end
if booked > 0 then redis.call('ZADD', leaving, clock[1] + unclaimed_s, name) end  -- before others that have expired go
if booked < after then
  local need = math.max(tonumber(expected), after)
  local answer = reserve(total, sizes, leaving, ended, name, need, tonumber(limit), unclaimed_s, prefix)
  if answer ~= 1 then return answer end
end
redis.call('APPEND', upload, part)
redis.call('EXPIRE', upload, unclaimed_s)
return 1
