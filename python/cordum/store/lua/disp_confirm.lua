-- disp_confirm  slot={jNN}  KEYS: 1 anchor  ARGV: 1.. pairs of job id, dispatch id
-- returns number of jobs taken off  idempotent: an unconfirmed dispatch that is not the named one stays listed
local tag = string.match(KEYS[1], '{[^}]*}')
local gone = {}
for i = 1, #ARGV, 2 do
  local record = redis.call('HMGET', 'job:meta:' .. tag .. ':' .. ARGV[i], 'state', 'dispatch_id')
  if record[1] ~= 'DISPATCHED' or record[2] == ARGV[i + 1] then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', 'job:disp:' .. tag, unpack(gone))
