-- due_drop  slot={jNN}  KEYS: 1 job:due  ARGV: 1.. job ids
-- returns number of entries removed  idempotent: a job that was dispatched meanwhile keeps its time-out
local TIMED = {DISPATCHED = true, RUNNING = true, RETRYING = true}
local meta = 'job:meta:' .. string.match(KEYS[1], '{[^}]*}') .. ':'
local gone = {}
for i = 1, #ARGV do
  if not TIMED[redis.call('HGET', meta .. ARGV[i], 'state')] then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', KEYS[1], unpack(gone))
