-- wheel_drop  slot={jNN}  KEYS: 1 job:retry  ARGV: 1.. job ids
-- returns number of entries removed  idempotent: a job that waits for its next attempt meanwhile stays
local WAITING = {PENDING = true, SCHEDULED = true, RETRYING = true}
local meta = 'job:meta:' .. string.match(KEYS[1], '{[^}]*}') .. ':'
local gone = {}
for i = 1, #ARGV do
  if not WAITING[redis.call('HGET', meta .. ARGV[i], 'state')] then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', KEYS[1], unpack(gone))
